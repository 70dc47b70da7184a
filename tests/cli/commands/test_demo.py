"""``lemmy-safety demo``: the main job on its own sample store."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from support.needs import needs

from lemmy_safety.cli.commands import demo as demo_module
from lemmy_safety.cli.commands.delete_flagged import DeletionOutcome
from lemmy_safety.cli.demo.pictures import sample_pictures
from lemmy_safety.cli.demo.store import PICTURES, build_store, present_keys
from lemmy_safety.errors import ActionRefused
from lemmy_safety.pictrs.keys import created_at


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made, so that a test sees whether they are removed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@needs("process")  # its pass decodes pictures
def test_the_demo_shows_the_main_job_and_leaves_nothing(call, temporary):
    """Dry run, list, delete, second sweep; each step says the command it stands for, and no picture stays behind."""
    result = call("demo", "--detectors", "hashes")
    assert result.exit_code == 0, result.output
    for words in ("--all --dry-run", "lemmy-safety flagged", "delete-flagged", "Detectors: hashes.", "doctor"):
        assert words in result.output
    assert "3 objects deleted." in result.output
    assert not list(temporary.iterdir())


def test_the_demo_pays_no_heed_to_settings_of_a_real_store(call, store, temporary, tmp_path):
    """With a real store and database filled in, the demo touches neither."""
    before = store.present()
    assert "env: DETECTORS" not in call("demo", "--help").output
    env = {"SQLITE_FILENAME": str(tmp_path / "mine.db"), "LEMMY_SAFETY_PREFIX": "x", "LEMMY_SAFETY_MAX_MB": "0.001"}
    assert call("demo", env=env | {"DETECTORS": "hashes,clip"}, stdin="").exit_code == 0
    assert store.present() == before
    assert not (tmp_path / "mine.db").exists()


@needs("process")  # its pass decodes pictures
def test_a_folder_is_kept_and_can_be_used_further(call, tmp_path):
    """With --folder the sample store stays, and the ordinary commands work on it."""
    assert call("demo", "--detectors", "hashes", "--folder", "kept").exit_code == 0
    assert len(present_keys(tmp_path / "kept" / "files")) == PICTURES + 1
    env = {"SQLITE_FILENAME": "kept/lemmy_safety.db"}
    assert len(json.loads(call("flagged", "--all", "--json", env=env).stdout)) == 3
    assert call("demo", "--folder", "kept").exit_code == ActionRefused.exit_code


@needs("process")  # its pass decodes pictures
def test_a_step_that_goes_wrong_fails_the_demo(call, temporary, monkeypatch):
    """The demo looks for itself: when the canaries survive, it says so and ends with a failure."""

    def nothing(*_args, **_kwargs):
        return DeletionOutcome()

    monkeypatch.setattr(demo_module, "carry_out", nothing)
    result = call("demo", "--detectors", "hashes")
    assert result.exit_code == 1
    assert "The demo went wrong" in result.output
    assert "the canaries are gone" in result.output
    assert not list(temporary.iterdir())


@pytest.mark.long
def test_the_sample_store_is_like_a_pict_rs_folder(tmp_path):
    """At least 40 pictures, keys of both schemes, all formats that pict-rs stores stills in, none of them new."""
    store = build_store(tmp_path)
    assert present_keys(tmp_path) == store.keys
    assert len(store.pictures) >= 40
    dated = {key: created_at(key) for key in store.keys}
    assert 10 <= sum(moment is None for moment in dated.values()) <= 15
    assert {Path(key).suffix for key in store.pictures} >= {".png", ".jpeg", ".webp", ".gif", ""}
    for key, moment in dated.items():
        if moment is not None:
            assert abs((tmp_path / key).stat().st_mtime - moment.timestamp()) < 1


@pytest.mark.long
def test_sample_pictures_are_the_same_each_time_and_all_different():
    """The same seed draws the same pictures; no two are alike."""
    first, second = list(sample_pictures(12)), list(sample_pictures(12))
    assert first == second
    assert len({data for _, data in first}) == 12
