"""Weights are found where the admin put them, fetched when there is a network, and refused when they are wrong."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.clip.checkpoints import (
    random_clip,
    register_tiny,
    save_old_state_dict,
    save_openai_archive,
    save_safetensors,
    save_state_dict,
    save_training_run,
)
from support.clip.pictures import sample_pictures
from support.servers.model_hub import running_hub

from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder, load_text_encoder
from lemmy_safety.detectors.clip.weights.checkpoint import CAN_MAP
from lemmy_safety.detectors.clip.weights.find import find_weights, hub_repo, weights_digest
from lemmy_safety.errors import WeightsInvalid, WeightsMissing

HUB_FILE = "open_clip_model.safetensors"
OLDER_HUB_FILE = "open_clip_pytorch_model.bin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def tiny(folder):
    """A tiny architecture and open_clip's own model of it."""
    name = register_tiny(folder, "tiny-weights")
    return name, random_clip(name, seed=1)


@pytest.fixture(scope="module")
def good(folder, tiny):
    return save_safetensors(tiny[1], folder / "good.safetensors")


def features(model, path):
    pictures = list(sample_pictures(3, seed=1))
    return load_image_encoder(model, path, device="cpu").encode_images(pictures)


@pytest.mark.parametrize(
    ("save", "file_name", "tolerance"),
    [
        (save_state_dict, "open_clip_pytorch_model.bin", 0),
        (save_training_run, "epoch_3.pt", 0),
        (save_old_state_dict, "old.pth", 0),
        (save_openai_archive, "ViT.pt", 1e-3),  # half precision, as OpenAI published it
        (save_safetensors, "named_like_another.pt", 0),
    ],
)
def test_every_container_gives_the_same_model(tmp_path, tiny, good, *, save, file_name, tolerance):
    """safetensors, torch.save, a training run and OpenAI's archive are told apart by content, not by name."""
    name, clip = tiny
    path = save(clip, tmp_path / file_name)

    torch.testing.assert_close(features(name, path), features(name, good), rtol=0, atol=tolerance)
    words = ["teapot", "a photo of a cat"]
    ours, expected = (load_text_encoder(name, file, device="cpu").encode_texts(words) for file in (path, good))
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


@pytest.mark.skipif(not CAN_MAP, reason="files are not mapped on Windows")
def test_weights_are_mapped_and_a_change_in_place_stops_the_scan(tmp_path, tiny, good):
    """fp32 weights stay in the file. Replacing the file changes nothing; writing into it is told, never judged with."""
    name, _ = tiny
    path = Path(shutil.copy(good, tmp_path / "weights.safetensors"))
    pictures = list(sample_pictures(2, seed=2))
    encoder = load_image_encoder(name, path, device="cpu")
    expected = encoder.encode_images(pictures)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) in maps.read_text("utf-8")

    replacement = Path(shutil.copy(good, tmp_path / "new"))
    replacement.write_bytes(replacement.read_bytes()[::-1])
    kept = tmp_path / "kept"
    os.link(path, kept)
    replacement.replace(path)
    assert torch.equal(encoder.encode_images(pictures), expected)

    with kept.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(kept, ns=(1, 1))  # a write within the clock's step might leave the same time
    with pytest.raises(WeightsInvalid, match="was changed while it was in use"):
        encoder.encode_images(pictures)
    encoder.close()


def truncated(path, target, share):
    content = path.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


class _Bomb:
    def __reduce__(self):
        return (os.mkdir, ("was-executed",))


def wrong_files(tmp_path, clip, good):
    """Every kind of wrong file an admin may point at, by what is wrong with it."""
    page = tmp_path / "page.safetensors"
    page.write_text("<!DOCTYPE html><html><title>404</title></html>")
    text = tmp_path / "readme.pt"
    text.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1710540580\n")
    empty = tmp_path / "empty.bin"
    empty.touch()
    noise = tmp_path / "noise.bin"
    noise.write_bytes(bytes(range(128, 256)) * 99)
    bomb = tmp_path / "bomb.pt"
    torch.save({"visual.proj": _Bomb()}, bomb)
    old_bomb = tmp_path / "bomb.bin"
    old_bomb.write_bytes(pickle.dumps({"visual.proj": _Bomb()}, protocol=2))
    numbers = tmp_path / "numbers.pt"
    torch.save([1, 2, 3], numbers)
    state = load_file(good)
    partial = tmp_path / "partial.safetensors"
    save_file({name: part for name, part in state.items() if name.startswith("visual.")}, partial)
    surplus = tmp_path / "surplus.safetensors"
    save_file({**state, "visual.adapter": torch.zeros(1)}, surplus)
    nan = tmp_path / "nan.safetensors"
    save_file({**state, "visual.ln_post.bias": torch.full_like(state["visual.ln_post.bias"], torch.nan)}, nan)
    foreign = tmp_path / "transformers.safetensors"
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(64)}, foreign)
    return {
        "page": (page, "text file that starts with '<!DOCTYPE html>"),
        "text": (text, "text file that starts with 'version https://git"),
        "empty": (empty, "empty"),
        "noise": (noise, "neither safetensors nor"),
        "code": (bomb, "damaged or no checkpoint"),
        "code in an old file": (old_bomb, "damaged or no checkpoint"),
        "list": (numbers, "holds no tensors by name"),
        "partial": (partial, "tensors are missing"),
        "surplus": (surplus, "1 tensors too many, 'visual.adapter'"),
        "nan": (nan, "'visual.ln_post.bias' holds values that are not numbers"),
        "foreign": (foreign, "tensors are missing"),
        "cut safetensors": (truncated(good, tmp_path / "cut.safetensors", 0.7), "damaged or no checkpoint"),
        "cut header": (truncated(good, tmp_path / "cut2.safetensors", 0.0001), "damaged or no checkpoint"),
        "cut zip": (truncated(save_state_dict(clip, tmp_path / "a.bin"), tmp_path / "cut.bin", 0.7), "damaged"),
        "cut archive": (truncated(save_openai_archive(clip, tmp_path / "a.pt"), tmp_path / "cut.pt", 0.7), "damaged"),
        "folder": (tmp_path, "damaged or no checkpoint"),
    }


def test_wrong_and_damaged_files_are_refused_by_name(tmp_path, monkeypatch, tiny, good):
    """Each wrong file is one error that names the file, the expected model and what is wrong; none is executed."""
    monkeypatch.chdir(tmp_path)
    name, clip = tiny

    for path, reason in wrong_files(tmp_path, clip, good).values():
        with pytest.raises(WeightsInvalid) as caught:
            load_image_encoder(name, path, device="cpu")
        assert str(path) in caught.value.message
        assert f"CLIP {name}" in caught.value.message
        assert reason in caught.value.message
        assert "CLIP_WEIGHTS" in caught.value.hint
    assert not (tmp_path / "was-executed").exists()


def test_weights_of_another_architecture_are_refused(tmp_path, tiny, good):
    """A checkpoint of another size of model says which tensor does not fit, in both directions."""
    other = register_tiny(
        tmp_path,
        "tiny-wide",
        vision_cfg={"image_size": 32, "layers": 2, "width": 96, "head_width": 32, "patch_size": 8},
    )
    deeper = register_tiny(
        tmp_path,
        "tiny-deep",
        vision_cfg={"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    )
    wide = save_safetensors(random_clip(other, seed=1), tmp_path / "wide.safetensors")

    with pytest.raises(WeightsInvalid, match=r"'visual\.class_embedding' has shape 96, not 64"):
        load_image_encoder(tiny[0], wide, device="cpu")
    with pytest.raises(WeightsInvalid, match=r"tensors are missing, 'visual\.transformer\.resblocks\.2"):
        load_image_encoder(deeper, good, device="cpu")
    with pytest.raises(WeightsInvalid, match="does not hold the weights of CLIP ViT-L-14"):
        load_image_encoder("ViT-L-14", good, device="cpu")
    with pytest.raises(WeightsInvalid, match="does not hold the weights of CLIP ViT-L-14"):
        load_text_encoder("ViT-L-14", good, device="cpu")


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root and Windows read every file")
def test_an_unreadable_file_is_refused(tmp_path, tiny, good):
    """A file without read permission is named, not a traceback."""
    path = shutil.copy(good, tmp_path / "secret.safetensors")
    path.chmod(0)

    with pytest.raises(WeightsInvalid, match="Permission denied"):
        load_image_encoder(tiny[0], path, device="cpu")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


REPO_FOLDER = "models--timm--vit_large_patch14_clip_224.openai"
SNAPSHOT = f"{REPO_FOLDER}/snapshots/{'0' * 40}"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([HUB_FILE, OLDER_HUB_FILE, "other.pt"], HUB_FILE),
        ([OLDER_HUB_FILE, "other.pt"], OLDER_HUB_FILE),
        (["ViT-L-14.pt", "other.pt"], "ViT-L-14.pt"),
        (["renamed.pth", "notes.txt"], "renamed.pth"),
        ([f"snapshots/{'0' * 40}/{HUB_FILE}"], f"snapshots/{'0' * 40}/{HUB_FILE}"),
        ([f"{SNAPSHOT}/{HUB_FILE}", f"{REPO_FOLDER}/refs/main"], f"{SNAPSHOT}/{HUB_FILE}"),
        ([f"hub/{SNAPSHOT}/{HUB_FILE}", f"hub/{REPO_FOLDER}/refs/main"], f"hub/{SNAPSHOT}/{HUB_FILE}"),
    ],
)
def test_a_prepared_folder_may_have_any_usual_layout(tmp_path, names, chosen):
    """The hub's file names, OpenAI's own name, the only file there, a copied hub cache, or one repository of it."""
    touch(tmp_path, *names)
    for reference in tmp_path.rglob("refs/main"):
        reference.write_text("0" * 40)

    assert find_weights("ViT-L-14", tmp_path) == tmp_path / chosen


def test_a_folder_with_several_unknown_files_is_refused(tmp_path):
    """Guessing among several checkpoints would be silent; the error names them."""
    touch(tmp_path, "a.pt", "b.safetensors")

    with pytest.raises(WeightsInvalid, match=r"a\.pt, b\.safetensors"):
        find_weights("ViT-L-14", tmp_path)


def test_absent_files_and_empty_folders_name_the_three_ways_out(tmp_path):
    """Whatever was configured and is not there leads to one error that says how to get the weights."""
    for path in (tmp_path / "no-such-file.pt", tmp_path):
        with pytest.raises(WeightsMissing) as caught:
            find_weights("ViT-L-14", path)
        assert str(path) in caught.value.message
        assert "lemmy-safety doctor" in caught.value.hint
        assert "CLIP_WEIGHTS=/path/to/file" in caught.value.hint
        assert "CLIP_WEIGHTS=/path/to/folder" in caught.value.hint
        assert "huggingface.co/timm/vit_large_patch14_clip_224.openai" in caught.value.hint


def test_a_model_without_known_weights_needs_a_file():
    """For an architecture that has no weights on the hub nothing is fetched or made up."""
    with pytest.raises(WeightsMissing, match="knows no weights for CLIP tiny-weights"):
        find_weights("tiny-weights", None)


def test_weights_that_the_ancestor_tool_fetched_are_found(tmp_path):
    """Both layouts in which open_clip has left weights in horde_safety's folder are used before the network."""
    touch(tmp_path, "ViT-L-14.pt")
    assert find_weights("ViT-L-14", None, caches=[tmp_path]) == tmp_path / "ViT-L-14.pt"

    touch(tmp_path, f"{SNAPSHOT}/{HUB_FILE}")
    (tmp_path / REPO_FOLDER / "refs").mkdir()
    (tmp_path / REPO_FOLDER / "refs" / "main").write_text("0" * 40)
    assert find_weights("ViT-L-14", None, caches=[tmp_path]) == tmp_path / SNAPSHOT / HUB_FILE


def test_both_supported_models_come_from_the_repositories_that_open_clip_names():
    """The two models that horde_safety knows have their weights on the hub."""
    assert hub_repo("ViT-L-14") == "timm/vit_large_patch14_clip_224.openai"
    assert hub_repo("ViT-H-14") == "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def test_the_digest_tells_checkpoints_apart(tmp_path, tiny, good):
    """The quick fingerprint is stable for one file and differs for other numbers of the same architecture."""
    other = save_safetensors(random_clip(tiny[0], seed=2), tmp_path / "other.safetensors")

    assert weights_digest(good) == weights_digest(shutil.copy(good, tmp_path / "copy.safetensors"))
    assert weights_digest(good) != weights_digest(other)
    with pytest.raises(WeightsInvalid, match="cannot be read"):
        weights_digest(tmp_path / "absent")


FIND = """
import json, sys
from lemmy_safety.detectors.clip.weights.find import find_weights
from lemmy_safety.errors import WeightsMissing
try:
    print(json.dumps({"path": str(find_weights("ViT-L-14", None))}))
except WeightsMissing as error:
    print(json.dumps({"message": error.message, "hint": error.hint}))
"""


def find_in_new_process(home, endpoint):
    """``find_weights`` in a process of its own, because the hub's library reads its address when it is imported."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "http", "HTTP"))}
    environ |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    # The limit is no measurement: it turns a library that waits for ever into a failure.
    done = subprocess.run(
        [sys.executable, "-c", FIND], env=environ, capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)


def test_without_a_network_there_is_one_error_with_three_ways_out(tmp_path):
    """A hub whose name does not resolve is given up at once, without the library's half minute of retries."""
    answer = find_in_new_process(tmp_path, "https://hub.invalid")

    assert "the model hub cannot be reached" in answer["message"]
    assert "CLIP ViT-L-14" in answer["message"]
    assert "lemmy-safety doctor" in answer["hint"]
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_network_that_swallows_packets_is_given_up(tmp_path):
    """A server that accepts the connection and never answers is asked once and then given up."""
    with running_hub({}, silent=True) as hub:
        answer = find_in_new_process(tmp_path, hub.url)

    assert "timed out" in answer["message"]
    assert len(hub.requests) == 1


def test_weights_are_fetched_once_and_then_found_without_a_network(tmp_path, good):
    """The first start fetches the file into the user's cache; the second needs no hub at all."""
    path = f"timm/vit_large_patch14_clip_224.openai/resolve/main/{HUB_FILE}"
    with running_hub({path: good.read_bytes()}) as hub:
        first = find_in_new_process(tmp_path, hub.url)
    second = find_in_new_process(tmp_path, hub.url)

    assert first == second
    assert load_file(first["path"]).keys() == load_file(good).keys()
    assert f"GET /{path}" in hub.requests


def test_a_hub_with_the_older_file_only_serves_too(tmp_path, folder, tiny):
    """Where the safetensors file is absent, open_clip's older name is fetched."""
    content = save_state_dict(tiny[1], folder / "older.bin").read_bytes()
    with running_hub({f"timm/vit_large_patch14_clip_224.openai/resolve/main/{OLDER_HUB_FILE}": content}) as hub:
        answer = find_in_new_process(tmp_path, hub.url)

    assert answer["path"].endswith(OLDER_HUB_FILE)


def test_a_hub_without_the_files_is_an_error(tmp_path):
    """A hub that answers 404 for everything leads to the three ways out."""
    with running_hub({}) as hub:
        answer = find_in_new_process(tmp_path, hub.url)

    assert "could not be fetched" in answer["message"]
    assert "Three ways out" in answer["hint"]
