"""``lemmy-safety estimate`` as a person runs it: on a folder, in time, and without leaving anything behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

import pytest

from lemmy_safety.cli.demo.pictures import sample_pictures

posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "ledger.db"
    monkeypatch.setenv("SQLITE_FILENAME", str(path))
    return path


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    """No weights on this machine, and no way to fetch any: a download would be an error of its own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("AIWORKER_CACHE_HOME", str(tmp_path / "horde"))
    monkeypatch.setenv("CLIP_WEIGHTS", str(tmp_path / "nowhere.safetensors"))


@pytest.mark.usefixtures("empty_hub")
def test_a_person_reads_how_long_how_much_and_what_limits(call, store, database):
    """Objects and bytes of the whole store, a time for each set of detectors, and that clip was left out, and why."""
    before = store.present()
    result = call("estimate")
    assert result.exit_code == 0
    assert "holds 5 objects" in result.stdout
    assert "hashes (configured)" in result.stdout
    assert re.search(r"^hashes \(configured\) +(about [0-9]|less than a second)", result.stdout, re.MULTILINE)
    assert "not measured" in result.stdout
    assert "nowhere.safetensors" in result.stdout
    assert "flagged" not in result.output
    assert store.present() == before
    assert not database.exists()


@pytest.mark.usefixtures("empty_hub", "database")
def test_json_has_the_same_in_seconds_and_bytes(call, store):
    """For scripts: sets with their range and rate, or with the reason why they were not measured."""
    told = json.loads(call("estimate", "--json").stdout)
    size = sum((store.folder / key).stat().st_size for key in store.present())
    assert (told["objects"], told["bytes"], told["bytes_to_read"], told["sample"]) == (5, size, size, 5)
    assert told["known"] is None
    sets = {tuple(one["detectors"]): one for one in told["sets"]}
    measured = sets["hashes",]
    assert (measured["configured"], measured["checked"], measured["not_measured"]) == (True, 5, None)
    assert 0 < measured["everything"]["low_s"] <= measured["everything"]["high_s"]
    assert measured["everything"]["objects_per_s"] > 0
    assert sets["clip", "hashes"]["not_measured"]
    assert {"decoders", "hashes"} <= told["start_up_s"].keys()


@pytest.mark.usefixtures("empty_hub", "database")
def test_a_configured_detector_that_cannot_be_measured_is_the_exit_code(call, store, monkeypatch):
    """The others are measured all the same."""
    monkeypatch.setenv("DETECTORS", "clip,hashes")
    result = call("estimate", "--json")
    assert result.exit_code == 41
    told = json.loads(result.stdout)
    assert any(one["detectors"] == ["hashes"] and one["everything"] for one in told["sets"])
    assert store.present() >= store.canaries


@pytest.mark.usefixtures("empty_hub")
def test_where_a_database_exists_it_says_what_is_left(call, store, database):
    """Only what is not judged yet has to be read; the database is not written to."""
    assert call("--all", "--dry-run", "--json").exit_code == 0
    for number, (_, data) in enumerate(sample_pictures(7)):
        store.put(f"new/{number}", data)
    content = database.read_bytes()
    result = call("estimate")
    assert "5 of them" in result.stdout
    assert "not judged yet" in result.stdout
    told = json.loads(call("estimate", "--json").stdout)
    assert (told["objects"], told["known"]) == (12, 5)
    measured = next(one for one in told["sets"] if one["configured"])
    assert measured["rest"]["high_s"] < measured["everything"]["high_s"]
    assert database.read_bytes() == content


@pytest.mark.usefixtures("empty_hub")
def test_a_database_that_cannot_be_read_is_named(call, store, database):
    """The time for everything is measured all the same; what is left of it is not known, and the next step is doctor."""
    database.write_bytes(b"not a database, and long enough to be one" * 100)
    result = call("estimate")
    assert result.exit_code == 0
    assert re.search(r"already judged is not known: .*ledger\.db", result.stdout)
    assert "1. lemmy-safety doctor" in result.stdout
    told = json.loads(call("estimate", "--json").stdout)
    assert told["known"] is None
    assert "ledger.db" in told["known_fault"]


@pytest.mark.usefixtures("empty_hub", "database")
def test_where_nothing_is_a_picture_it_asks_whether_this_is_the_right_place(call, store):
    """A rate of unreadable files says nothing about pictures, and a pass over them is not the next step."""
    for key in store.present():
        (store.folder / key).write_text("not a picture")
    result = call("estimate")
    assert "0 checked, 5 unreadable" in result.stdout
    assert "Is this the folder or bucket of pict-rs?" in result.stdout
    assert "1. lemmy-safety doctor" in result.stdout


@pytest.mark.usefixtures("empty_hub", "database")
def test_an_empty_store_has_nothing_to_estimate(call, store):
    """No sample, no division by nothing."""
    for key in store.present():
        (store.folder / key).unlink()
    result = call("estimate")
    assert result.exit_code == 0
    assert "nothing to check" in result.stdout
    assert json.loads(call("estimate", "--json").stdout)["sets"] == []


@pytest.mark.usefixtures("database")
def test_a_storage_that_is_missing_ends_it_as_any_command(call, monkeypatch, tmp_path):
    """With the same error and exit code."""
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(tmp_path / "nowhere"))
    monkeypatch.setenv("DETECTORS", "hashes")
    result = call("estimate")
    assert result.exit_code == 14
    assert "nowhere" in result.stderr


@posix_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_at_once(command, store, tmp_path, number):
    """While it starts its detectors or measures them; nothing has to be finished."""
    for place, (_, data) in enumerate(list(sample_pictures(20)) * 5):
        store.put(f"more/{place}", data)
    environment = {
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "ledger.db"),
        "CLIP_WEIGHTS": str(tmp_path / "nowhere.safetensors"),
        "LEMMY_SAFETY_MAX_MBIT": "0.5",
    }
    process = command("estimate", env=environment)
    for line in process.stderr:
        if "measuring" in line:
            break
    began = time.monotonic()
    os.kill(process.pid, number)
    assert process.wait(20) == 130
    assert time.monotonic() - began < 5
