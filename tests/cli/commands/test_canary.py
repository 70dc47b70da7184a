"""``lemmy-safety canary``."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import ActionRefused, SettingsError


def test_the_canary_is_written_to_a_file(call, tmp_path):
    """``-o`` writes a PNG with the canary."""
    assert call("canary", "-o", "canary.png").exit_code == 0
    with Image.open(tmp_path / "canary.png") as picture:
        assert picture.format == "PNG"
    assert (tmp_path / "canary.png").read_bytes() == canary_png()


def test_the_canary_goes_to_a_pipe(call):
    """Without ``-o`` the picture goes to stdout, where that is no terminal."""
    result = call("canary")
    with Image.open(io.BytesIO(result.stdout_bytes)) as picture:
        picture.load()
    assert result.stdout_bytes == canary_png()


@pytest.mark.parametrize("args", [["-o", "-"], ["--output", "-"], ["--output=-"], ["-o-"], ["-o", "-", "--force"]])
def test_a_dash_is_stdout(call, tmp_path, args):
    """As for other programs: every byte of the picture, and no file with that name."""
    result = call("canary", *args)
    assert result.exit_code == 0
    assert result.stdout_bytes == canary_png()
    assert not list(tmp_path.iterdir())


def test_a_file_can_be_called_dash(call, tmp_path):
    """With a folder before it, as for other programs."""
    assert call("canary", "-o", "./-").exit_code == 0
    assert (tmp_path / "-").read_bytes() == canary_png()


def test_an_existing_file_is_kept_without_force(call, tmp_path):
    """Nothing is overwritten unless --force says so."""
    (tmp_path / "mine.png").write_bytes(b"mine")
    assert call("canary", "-o", "mine.png").exit_code == ActionRefused.exit_code
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert call("canary", "-o", "mine.png", "--force").exit_code == 0
    assert (tmp_path / "mine.png").read_bytes() == canary_png()


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes among the files there")
def test_a_pipe_is_written_to_without_force(call, tmp_path):
    """Nothing in it is lost, as in a device."""
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as reader:
        arrived = reader.submit((tmp_path / "pipe").read_bytes)
        result = call("canary", "-o", "pipe")
        if result.exit_code:  # let the reader end
            (tmp_path / "pipe").write_bytes(b"")
        assert result.exit_code == 0, result.output
        assert arrived.result() == canary_png()


def test_a_file_that_cannot_be_written_is_one_line(call):
    """A folder that does not exist is an error with a fix, not a traceback."""
    result = call("canary", "-o", "missing/canary.png")
    assert result.exit_code == SettingsError.exit_code
    assert "missing" in result.output


def test_the_canary_is_flagged_by_a_sweep(call, store):
    """What the command writes is what every installation flags."""
    (store.folder / "01/aa/canary.png").unlink()
    (store.folder / "01/bb/canary thumbnail.webp").unlink()
    store.put("3/uploaded.png", call("canary").stdout_bytes)
    assert call("--all", "--exit-code-flagged", "9").exit_code == 9
    assert store.present() == store.pictures
