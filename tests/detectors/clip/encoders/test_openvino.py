"""Models of OpenVINO: made once in a process of their own, near the reference within the measured bound."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import open_clip
import pytest
from support.clip.fast_encoders import DIGEST, errors_beyond, needs_openvino, program

from lemmy_safety.detectors.clip.encoders import openvino, openvino_build
from lemmy_safety.detectors.clip.encoders.openvino import load_openvino_encoder, make_openvino_model
from lemmy_safety.detectors.clip.screen.error_bound import measure
from lemmy_safety.errors import DetectorError


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


def test_a_damaged_openvino_model_is_removed_and_told(tiny, tmp_path):
    """Half a file is an error of the detector, and the next start makes the model again."""
    needs_openvino()
    folder = tmp_path / "clip-int8-broken"
    folder.mkdir()
    (folder / "model.xml").write_text("<net", encoding="utf-8")

    with pytest.raises(DetectorError, match="cannot load"):
        load_openvino_encoder(folder, tiny.reference.preparation, precision="int8")
    assert not folder.exists()


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
    """The process that asked was killed: its end of the pipe is closed, the maker ends at once and leaves no model."""
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
    """The second process finds the folder of the first and takes that."""
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
