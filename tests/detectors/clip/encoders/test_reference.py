"""The encoder computes what open_clip computes, on the device that was asked for, within the memory there is."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transformer import QuickGELU
from PIL import Image
from support.clip.checkpoints import random_clip, register_tiny, save_safetensors
from support.clip.pictures import sample_pictures

from lemmy_safety.detectors.clip import device
from lemmy_safety.detectors.clip.encoders import reference as reference_encoder
from lemmy_safety.detectors.clip.encoders.preparation import PicturePreparation, middle, preprocessing
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder, load_text_encoder
from lemmy_safety.errors import DetectorError, DeviceError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clip")


@pytest.fixture(scope="module")
def tiny(folder):
    """A tiny architecture, open_clip's own model of it, and its checkpoint."""
    name = register_tiny(folder, "tiny-encoder")
    clip = random_clip(name, seed=1)
    return name, clip, save_safetensors(clip, folder / "tiny.safetensors")


def reference_features(clip, pictures):
    """Features as clip_interrogator computes them: open_clip's own transform, one picture at a time."""
    transform = open_clip.image_transform(clip.visual.image_size, is_train=False)
    with torch.no_grad():
        rows = [clip.encode_image(transform(Image.fromarray(picture)).unsqueeze(0)) for picture in pictures]
        return torch.cat([row / row.norm(dim=-1, keepdim=True) for row in rows])


def activations(clip):
    return {type(part) for name, part in clip.named_modules() if name.endswith("gelu")}


@pytest.mark.parametrize(
    ("model", "activation"),
    [("ViT-L-14", QuickGELU), ("ViT-L-14-quickgelu", QuickGELU), ("ViT-H-14", torch.nn.GELU)],
)
def test_each_model_is_built_with_the_activation_it_was_trained_with(model, activation):
    """ViT-L-14 of OpenAI computes QuickGELU in both towers, although open_clip's ViT-L-14 has GELU; ViT-H-14 GELU."""
    assert activations(reference_encoder._build(model)) == {activation}


def test_the_wrong_activation_is_noticed(monkeypatch):
    """An open_clip that ignored the configuration would be refused instead of judging with wrong features."""
    monkeypatch.setattr(open_clip.CLIP, "__init__", _without_quick_gelu(open_clip.CLIP.__init__))

    with pytest.raises(DetectorError, match="wrong activation in 36 layers"):
        reference_encoder._build("ViT-L-14")


def _without_quick_gelu(init):
    def changed(self, **config):
        init(self, **{**config, "quick_gelu": False})

    return changed


def test_pictures_are_prepared_as_open_clip_prepares_them_for_those_weights():
    """Size, crop, interpolation and colour statistics are open_clip's own for ViT-L-14/openai and ViT-H-14/laion2b, and
    a whole batch is prepared to the same bits."""
    for model, tag in (("ViT-L-14", "openai"), ("ViT-H-14", "laion2b_s32b_b79k")):
        config = open_clip.get_pretrained_cfg(model, tag)
        reference = open_clip.image_transform(
            224, is_train=False, mean=config["mean"], std=config["std"], interpolation=config["interpolation"]
        )
        visual = reference_encoder._build(model).visual
        ours = preprocessing(visual, model)
        preparation = PicturePreparation(visual, model, device="cpu")
        pictures = list(sample_pictures(5, seed=2))
        expected = torch.stack([reference(Image.fromarray(picture)) for picture in pictures])
        assert torch.equal(torch.stack([ours(Image.fromarray(picture)) for picture in pictures]), expected)
        assert torch.equal(preparation.numbers(preparation.prepare(pictures).squares(range(5))), expected)
        preparation.close()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_features_are_those_of_open_clip(tiny, batch_size):
    """Whatever the batch size, every picture's unit feature equals open_clip's, apart from fp32 rounding."""
    name, clip, path = tiny
    pictures = list(sample_pictures(10, seed=3))
    encoder = load_image_encoder(name, path, device="cpu", batch_size=batch_size)

    features = encoder.encode_images(pictures)

    assert features.shape == (10, 32)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, reference_features(clip, pictures), rtol=0, atol=1e-6)


def test_no_pictures_give_no_features(tiny):
    """An empty batch is no error."""
    name, _, path = tiny
    assert len(load_image_encoder(name, path, device="cpu").encode_images([])) == 0


def test_text_features_are_those_of_open_clip(tiny):
    """Words go through open_clip's tokenizer and text tower, and come back as unit vectors."""
    name, clip, path = tiny
    words = ["a photo of a cat", "teapot", "Κατσαρόλα ☕ " * 40]
    with torch.no_grad():
        expected = clip.encode_text(open_clip.tokenize(words))
        expected /= expected.norm(dim=-1, keepdim=True)

    features = load_text_encoder(name, path, device="cpu").encode_texts(words)

    assert torch.equal(features, expected)


def test_nothing_random_is_left_in_the_model(tiny):
    """Two loads of one checkpoint are equal to the last bit: no tensor is drawn, none stays empty."""
    name, _, path = tiny
    pictures = list(sample_pictures(3, seed=4))

    first, second = (load_image_encoder(name, path, device="cpu").encode_images(pictures) for _ in range(2))

    assert torch.equal(first, second)


def test_an_unknown_model_is_refused(tiny):
    """A name that open_clip does not know is one clear error."""
    with pytest.raises(DetectorError, match="knows no model 'ViT-Z-99'"):
        load_image_encoder("ViT-Z-99", tiny[2], device="cpu")


def starve(encoder, room):
    """Let the model run out of memory for batches of more than ``room`` pictures, as CUDA says it."""
    seen = []

    def refuse(module, inputs):
        seen.append(len(inputs[0]))
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    encoder.visual.register_forward_pre_hook(refuse)
    return seen


def test_out_of_device_memory_halves_the_batch_and_goes_on(tiny, caplog):
    """Every picture is still encoded, with the batch halved until it fits, and kept so for the next call."""
    name, clip, path = tiny
    pictures = list(sample_pictures(11, seed=5))
    encoder = load_image_encoder(name, path, device="cpu", batch_size=8)
    seen = starve(encoder, room=3)

    features = encoder.encode_images(pictures)

    torch.testing.assert_close(features, reference_features(clip, pictures), rtol=0, atol=1e-6)
    assert encoder.batch_size == 2
    assert seen == [8, 4, 2, 2, 2, 2, 2, 1]
    assert "going on with 4" in caplog.text
    assert "going on with 2" in caplog.text


def test_a_device_without_room_for_one_picture_is_an_error(tiny):
    """At a batch of one there is nothing left to halve."""
    name, _, path = tiny
    encoder = load_image_encoder(name, path, device="cpu", batch_size=4)
    starve(encoder, room=0)

    with pytest.raises(DeviceError, match="One picture is too much") as caught:
        encoder.encode_images(list(sample_pictures(4, seed=6)))
    assert "--device cpu" in caught.value.hint


def test_other_failures_of_the_model_are_detector_errors(tiny):
    """A driver error is ours to report, not a traceback of torch, and not mistaken for a lack of memory."""
    name, _, path = tiny
    encoder = load_image_encoder(name, path, device="cpu", batch_size=4)

    def fail(module, inputs):
        raise RuntimeError("CUDA error: device-side assert triggered\nmore")

    encoder.visual.register_forward_pre_hook(fail)
    with pytest.raises(DetectorError, match="failed on cpu: CUDA error: device-side assert triggered"):
        encoder.encode_images(list(sample_pictures(2, seed=6)))


def test_features_that_are_not_numbers_are_an_error(tiny):
    """NaN compares as 'not similar' to everything; such a picture must not pass as clear."""
    name, _, path = tiny
    encoder = load_image_encoder(name, path, device="cpu")

    def spoil(module, inputs, output):
        return output * float("nan")

    encoder.visual.register_forward_hook(spoil)
    with pytest.raises(DetectorError, match="not numbers"):
        encoder.encode_images(list(sample_pictures(2, seed=6)))


def test_an_absent_device_is_named_with_those_that_are_there():
    """Asking for a device that this machine lacks says which ones it has."""
    absent = next(name for name in device.DEVICES if name not in device.present_devices())

    with pytest.raises(DeviceError, match=f"'{absent}' is not available.*available: .*cpu"):
        device.choose_device(absent)


def test_auto_takes_the_best_device_and_cpu_is_always_there():
    """``auto`` picks the first device present, in the order CUDA, MPS, XPU, CPU."""
    present = device.present_devices()

    assert device.choose_device("auto") == present[0]
    assert device.choose_device("cpu") == present[-1] == "cpu"
    assert device.default_batch_size("cpu") < device.default_batch_size("cuda")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_failures(error, expected):
    """Only errors that a smaller batch can cure count as lack of memory, in the words of each device."""
    assert device.is_out_of_memory(error) is expected


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_only_extremely_long_pictures_are_cut_and_evenly(height, width):
    """Up to 256:1 the picture stays as it is; beyond, as much is cut from one end as from the other."""
    rows = np.broadcast_to(np.arange(height)[:, None, None], (height, width, 3))
    columns = np.broadcast_to(np.arange(width)[None, :, None], (height, width, 3))

    for ramp, side in ((rows, height), (columns, width)):
        cut = middle(ramp)
        assert max(cut.shape[:2]) <= min(height, width) * 256 + 1
        if max(height, width) <= 256 * min(height, width):
            assert cut.shape == ramp.shape
        assert cut[0, 0, 0] + cut[-1, -1, 0] == side - 1


def test_an_extremely_long_picture_is_encoded_within_memory(tiny):
    """60,000 x 2 pixels would become 960,000 x 32 in the transform; the features are those of its middle."""
    name, _, path = tiny
    encoder = load_image_encoder(name, path, device="cpu")
    pixels = np.zeros((2, 60_000, 3), dtype=np.uint8)
    pixels[:, 29_000:31_000] = 200
    bright = np.full((2, 2_000, 3), 200, dtype=np.uint8)

    long, short = encoder.encode_images([pixels, bright])

    torch.testing.assert_close(long, short, rtol=0, atol=1e-6)
