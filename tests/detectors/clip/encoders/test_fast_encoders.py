"""The fast encoders: near the reference within the measured bound, made once, and left out where they do not work."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from support.clip_checkpoints import random_clip, register_tiny, save_safetensors
from support.clip_pictures import sample_pictures

from lemmy_safety.detectors.clip.encoders import half, openvino, openvino_build
from lemmy_safety.detectors.clip.encoders.half import HalfEncoder
from lemmy_safety.detectors.clip.encoders.openvino import load_openvino_encoder, make_openvino_model
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder
from lemmy_safety.detectors.clip.screen import choice
from lemmy_safety.detectors.clip.screen.choice import (
    StageRequest,
    automatic_stages,
    check_choice,
    open_stages,
    ready_stages,
)
from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound, ErrorBoundFile, measure
from lemmy_safety.detectors.generated_pictures import calibration_pictures
from lemmy_safety.errors import DetectorError, DeviceError, MissingExtra

DIGEST = "d" * 64


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model with its reference encoder, and unit text features that mean nothing."""
    folder = tmp_path_factory.mktemp("fast")
    model = register_tiny(folder, "tiny-fast")
    weights = save_safetensors(random_clip(model, seed=3), folder / "weights.safetensors")
    reference = load_image_encoder(model, weights, device="cpu")
    words = torch.randn(60, 32, generator=torch.Generator().manual_seed(1))
    yield SimpleNamespace(
        model=model,
        weights=weights,
        reference=reference,
        text=torch.nn.functional.normalize(words, dim=-1),
        cache=folder / "cache",
    )
    reference.close()


def needs_openvino():
    if not all(importlib.util.find_spec(name) for name in ("openvino", "nncf")):
        reason = "the extra 'openvino' is not installed: the OpenVINO encoders are NOT tested"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def request_for(tiny, cache, **changes):
    parts = {
        "model": tiny.model,
        "weights": tiny.weights,
        "weights_digest": DIGEST,
        "directions_digest": "w" * 64,
        "directions": tiny.text,
        "cache_dir": cache,
        **changes,
    }
    return StageRequest(**parts)


def errors_beyond(encoder, tiny, bound):
    """Similarities of pictures that were not measured and that are further off than the bound."""
    pictures = list(sample_pictures(120, seed=44))
    difference = encoder.encode_images(pictures) - tiny.reference.encode_images(pictures)
    return int(((difference @ tiny.text.T).abs() > bound).sum())


@pytest.mark.parametrize(("precision", "digits"), [("bf16", 1), ("fp16", 2)])
def test_half_precision_stays_within_its_measured_bound(tiny, precision, digits):
    """On 120 other pictures no similarity is off by more than the bound that 16 generated pictures gave."""
    encoder = HalfEncoder(tiny.reference.visual, tiny.reference.preparation, precision=precision, device="cpu")

    bound = measure(encoder, tiny.reference, tiny.text)

    assert 0 < bound.largest < 10**-digits
    assert bound.checked == 0
    assert errors_beyond(encoder, tiny, bound.value) == 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_openvino_stays_within_its_measured_bound(tiny, precision, monkeypatch, tmp_path):
    """The model is made in a process of its own, then taken from the folder; its errors keep to the measured bound.
    Nothing is left beside it, and nothing is told to anybody."""
    needs_openvino()
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = {"precision": precision, "weights_digest": DIGEST, "cache_dir": tiny.cache}
    folder = make_openvino_model(tiny.model, tiny.weights, **asked)
    encoder = load_openvino_encoder(folder, tiny.reference.preparation, precision=precision)

    bound = measure(encoder, tiny.reference, tiny.text)

    assert errors_beyond(encoder, tiny, bound.value) == 0
    assert encoder.name == f"openvino-{precision}"
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin"}
    assert not list(tiny.cache.glob(".clip-openvino-*"))
    assert sys.modules["openvino_telemetry"] is None
    # Where the package that reports to its maker keeps the number that it gives a user.
    assert not (tmp_path / "intel").exists()
    monkeypatch.setattr(openvino, "_run", lambda *_: pytest.fail("made a second time"))
    assert make_openvino_model(tiny.model, tiny.weights, **asked) == folder


@pytest.mark.slow
def test_a_damaged_openvino_model_is_removed_and_told(tiny, tmp_path):
    """Half a file is an error of the detector, and the next start makes the model anew."""
    needs_openvino()
    folder = tmp_path / "clip-int8-broken"
    folder.mkdir()
    (folder / "model.xml").write_text("<net", encoding="utf-8")

    with pytest.raises(DetectorError, match="cannot load"):
        load_openvino_encoder(folder, tiny.reference.preparation, precision="int8")
    assert not folder.exists()


def program(monkeypatch, code):
    """Let the making of a model run another program instead; it gets the order on its standard input."""
    command = [sys.executable, "-c", code]
    real = openvino.subprocess.Popen
    monkeypatch.setattr(openvino.importlib.metadata, "version", lambda _: "1")
    monkeypatch.setattr(openvino.subprocess, "Popen", lambda _, **how: real(command, **how))


def make(tiny, cache, **changes):
    return make_openvino_model(
        tiny.model, tiny.weights, precision="int8", weights_digest=DIGEST, cache_dir=cache, **changes
    )


def test_a_model_that_cannot_be_made_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    """The last line that the program said is the reason; no half-made folder stays."""
    program(monkeypatch, "import sys; sys.exit('traceback\\nRuntimeError: no memory left.')")

    with pytest.raises(DetectorError, match="RuntimeError: no memory left"):
        make(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_ends_the_making_of_a_model(tiny, tmp_path, monkeypatch):
    """A model takes minutes to make; a stop does not wait for it, and the program is gone."""
    program(monkeypatch, "import time; time.sleep(600)")
    stop = threading.Event()
    stop.set()

    with pytest.raises(DetectorError, match="stopped"):
        make(tiny, tmp_path, stop=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_made_for_a_program_that_is_gone(tiny, tmp_path):
    """Whoever asked was killed: its end of the pipe is closed, the maker ends at once and leaves no model."""
    needs_openvino()
    order = {
        "model": tiny.model,
        "config": open_clip.get_model_config(tiny.model),
        "weights": str(tiny.weights),
        "folder": str(tmp_path),
        "precision": "int8",
    }
    maker = subprocess.run(
        [sys.executable, "-m", "lemmy_safety.detectors.clip.encoders.openvino_build"],
        input=f"{json.dumps(order)}\n",
        text=True,
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert maker.returncode == 1
    assert maker.stderr == ""
    assert not list(tmp_path.glob("*.xml"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_maker_that_is_in_native_code_ends_with_its_program(tmp_path):
    """Most of its time is spent in libraries, which may hold the interpreter."""
    code = (
        "import ctypes, sys; from lemmy_safety.detectors.clip.encoders import openvino_build as recipe\n"
        "def build(*order): print('making', flush=True); ctypes.PyDLL(None).sleep(3600)\n"
        "recipe.build = build; recipe.main()"
    )
    order = {"model": "any", "config": {}, "weights": "any", "folder": str(tmp_path), "precision": "int8"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        maker.stdin.write(f"{json.dumps(order)}\n")
        maker.stdin.flush()
        assert maker.stdout.readline() == "making\n"
        maker.stdin.close()
        assert maker.wait(20) != 0


def test_of_two_starts_that_make_the_same_model_both_get_it(tiny, tmp_path, monkeypatch):
    """Whoever is second finds the folder of the first and takes that."""
    code = (
        "import json, pathlib, sys; folder = pathlib.Path(json.loads(sys.stdin.readline())['folder']); "
        "other = folder.parent / sys.argv[1] if len(sys.argv) > 1 else None; "
        "(folder / 'model.xml').write_text('made')"
    )
    program(monkeypatch, code)
    first = make(tiny, tmp_path)
    (first / "model.xml").write_text("the first one's", encoding="utf-8")
    made = iter([False, True])
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: next(made) if path.name == "model.xml" else is_file(path))

    assert make(tiny, tmp_path) == first
    assert (first / "model.xml").read_text("utf-8") == "the first one's"
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_old_half_made_models_are_cleared_away(tiny, tmp_path, monkeypatch):
    """What a killed start left is removed a day later; what may still be in the making is not."""
    program(monkeypatch, "import sys; sys.exit('no')")
    old, new = tmp_path / ".clip-openvino-old", tmp_path / ".clip-openvino-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"weights")
    os.utime(old, (0, 0))

    with pytest.raises(DetectorError):
        make(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


def test_a_cache_that_cannot_be_written_is_named(tiny, tmp_path, monkeypatch):
    """The error says which setting helps."""
    program(monkeypatch, "")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(DetectorError) as caught:
        make(tiny, tmp_path / "file" / "below")
    assert "CACHE_DIR" in caught.value.hint


def test_the_recipe_refuses_a_machine_with_too_little_memory(monkeypatch):
    """Quantising needs several times the tower; better said than killed."""
    needs_openvino()
    openvino_build._check_memory(1)
    with pytest.raises(DetectorError, match="GB are free"):
        openvino_build._check_memory(10**15)


def test_without_the_packages_openvino_names_its_extra(tiny, tmp_path, monkeypatch):
    """Asked for by name it is an error; ``auto`` does without."""
    monkeypatch.setattr(choice, "has_openvino", lambda: False)

    with pytest.raises(MissingExtra, match="OpenVINO"):
        check_choice("openvino-int8", "cpu")
    assert "openvino-int8" not in ready_stages("auto", "cpu", request_for(tiny, tmp_path))
    with pytest.raises(DeviceError, match="CPUs"):
        check_choice("openvino-int8", "cuda")
    for name in ("auto", "off", "torch-fp16"):
        check_choice(name, "cuda")


def test_a_model_that_cannot_be_made_is_left_out_and_told(tiny, tmp_path, monkeypatch, caplog):
    """Too little memory for quantising costs speed only."""
    program(monkeypatch, "import sys; sys.exit('4 GB are free')")
    monkeypatch.setattr(choice, "has_openvino", lambda: True)

    assert "openvino-int8" not in ready_stages("auto", "cpu", request_for(tiny, tmp_path))
    assert ready_stages("openvino-int8", "cpu", request_for(tiny, tmp_path)) == ()
    assert "4 GB are free" in caplog.text


def test_a_device_without_room_for_a_second_copy_does_without_it(tiny, tmp_path, monkeypatch, caplog):
    """The reference alone is slower, and no error."""

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(choice, "HalfEncoder", fail)
    assert open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path)) == []
    assert "No room for torch-bf16" in caplog.text


def test_auto_knows_what_each_machine_has(monkeypatch):
    """int8 before bf16 on CPUs, as far as they have them; half precision on accelerators."""
    for has_openvino, has_bf16, expected in (
        (True, True, ("openvino-int8", "torch-bf16")),
        (False, True, ("torch-bf16",)),
        (True, False, ("openvino-int8",)),
        (False, False, ()),
    ):
        monkeypatch.setattr(choice, "has_openvino", lambda answer=has_openvino: answer)
        monkeypatch.setattr(choice, "cpu_has_bf16", lambda answer=has_bf16: answer)
        assert automatic_stages("cpu") == expected
    assert {automatic_stages(device) for device in ("cuda", "mps", "xpu")} == {("torch-fp16",)}
    assert isinstance(half.cpu_has_bf16(), bool)
    assert {"auto", "off", *automatic_stages("cpu"), *automatic_stages("cuda")} <= set(choice.SCREENS)


def bounds(monkeypatch, **by_name):
    """Let the measurement say what a test wants."""
    monkeypatch.setattr(
        choice,
        "measure",
        lambda encoder, *_: ErrorBound(largest=by_name[encoder.name][0], checked=0, cost=by_name[encoder.name][1]),
    )


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        ({"torch-bf16": (0.001, 0.2), "torch-fp16": (0.0002, 0.5)}, ["torch-bf16", "torch-fp16"]),
        ({"torch-bf16": (0.001, 0.45), "torch-fp16": (0.0002, 0.5)}, ["torch-fp16"]),
        ({"torch-bf16": (0.001, 0.2), "torch-fp16": (0.0002, 0.9)}, ["torch-bf16"]),
        ({"torch-bf16": (0.05, 0.2), "torch-fp16": (0.0002, 0.5)}, ["torch-fp16"]),
        ({"torch-bf16": (0.001, 1.5), "torch-fp16": (0.0002, 1.5)}, []),
    ],
    ids=["both", "hardly faster", "second useless", "errs too much", "slower than the reference"],
)
def test_only_encoders_that_save_time_are_taken(tiny, tmp_path, monkeypatch, measured, kept):
    """Each must be clearly faster than what comes after it, and near enough to clear anything."""
    bounds(monkeypatch, **measured)
    stages = open_stages(("torch-bf16", "torch-fp16"), tiny.reference, request_for(tiny, tmp_path))
    assert [stage.encoder.name for stage in stages] == kept


def test_what_an_earlier_start_found_useless_is_not_even_loaded(tiny, tmp_path, monkeypatch):
    """The next start of such a machine spends neither the seconds nor the memory; who asks for it by name gets it."""
    bounds(monkeypatch, **{"torch-bf16": (0.001, 0.9)})
    request = request_for(tiny, tmp_path)
    assert open_stages(("torch-bf16",), tiny.reference, request) == []
    with monkeypatch.context() as patched:
        patched.setattr(choice, "_encoder", lambda *_: pytest.fail("loaded again"))
        assert open_stages(("torch-bf16",), tiny.reference, request) == []
    assert len(open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)) == 1


def test_an_encoder_asked_for_by_name_is_taken_whatever_it_saves(tiny, tmp_path, monkeypatch):
    """Somebody who names an encoder wants to see it work."""
    bounds(monkeypatch, **{"torch-fp16": (0.05, 5.0)})
    request = request_for(tiny, tmp_path)
    names = ready_stages("torch-fp16", "cpu", request)
    (stage,) = open_stages(names, tiny.reference, request, only_useful=False)
    assert stage.encoder.name == "torch-fp16"
    assert ready_stages("off", "cpu", request) == ()


def test_a_bound_is_measured_once_for_these_weights(tiny, tmp_path, monkeypatch):
    """The second start reads it; other weights or other words are measured anew."""
    request = request_for(tiny, tmp_path)
    (stage,) = open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)
    stage.bound.checked = 7
    stage.observe(2 * stage.bound.largest)
    monkeypatch.setattr(choice, "measure", lambda *_: pytest.fail("measured again"))
    (again,) = open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)

    assert again.bound == stage.bound
    for changes in ({"weights_digest": "e" * 64}, {"directions_digest": "x" * 64}):
        with pytest.raises(pytest.fail.Exception):
            open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path, **changes))


def test_an_encoder_that_cannot_be_measured_is_left_out(tiny, tmp_path, monkeypatch, caplog):
    """One that answers NaN to everything, or fails, does not screen; the reference works without."""
    (stage,) = open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path), only_useful=False)
    with torch.no_grad():
        stage.encoder._visual.proj.fill_(float("nan"))
    monkeypatch.setattr(choice, "HalfEncoder", lambda *_, **__: stage.encoder)

    changed = request_for(tiny, tmp_path, weights_digest="f" * 64)
    assert open_stages(("torch-bf16",), tiny.reference, changed, only_useful=False) == []
    assert "not numbers" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"identity": {}}', '{"identity": "IDENTITY", "largest": NaN}', '{"identity": "IDENTITY"}'],
)
def test_a_damaged_bound_is_measured_again(tmp_path, content):
    """Anything but the numbers for just this encoder is no bound."""
    file = ErrorBoundFile(tmp_path, {"encoder": "x"})
    bound = ErrorBound(largest=0.001, checked=3, cost=0.1)
    file.write(bound)
    assert file.read() == bound
    identity = json.dumps(json.loads(file.path.read_text("utf-8"))["identity"])
    file.path.write_text(content.replace('"IDENTITY"', identity), encoding="utf-8")

    assert file.read() is None
    file.write(bound)
    assert file.read() == bound
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


def test_a_bound_that_cannot_be_kept_is_told_and_no_error(tmp_path, caplog):
    """The next start measures again; this one goes on."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    ErrorBoundFile(tmp_path / "file", {}).write(ErrorBound(largest=0.1, checked=0, cost=1))
    assert "cannot be kept" in caplog.text


def test_calibration_pictures_are_many_kinds_of_the_same_pictures_each_time():
    """Seeded, different for each seed, and from nearly flat to full contrast."""
    pictures = calibration_pictures(30, seed=1)

    assert all(picture.shape == (256, 256, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert all(map(np.array_equal, pictures, calibration_pictures(30, seed=1)))
    assert not any(map(np.array_equal, pictures, calibration_pictures(30, seed=2)))
    contrasts = [picture.std() for picture in pictures]
    assert min(contrasts) < 15
    assert max(contrasts) > 60


def test_halves_are_copied_tensor_by_tensor(tiny):
    """The copy shares nothing with the reference and has no fp32 left in it."""
    encoder = HalfEncoder(tiny.reference.visual, tiny.reference.preparation, precision="bf16", device="cpu")
    kinds = {tensor.dtype for tensor in encoder._visual.state_dict().values()}
    shared = {part.data_ptr() for part in tiny.reference.visual.parameters()} & {
        part.data_ptr() for part in encoder._visual.parameters()
    }
    assert kinds == {torch.bfloat16}
    assert shared == set()
