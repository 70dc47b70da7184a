"""``lemmy-safety doctor``: every fault at once, each with its fix."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from support.ledger.uploads import upload
from support.needs import needs

from lemmy_safety.errors import (
    LedgerDamaged,
    LedgerError,
    LedgerTooNew,
    SettingsError,
    StorageMissing,
    StorageUnreachable,
    WeightsMissing,
)
from lemmy_safety.ledger import open_ledger, sqlite_url


def _checks(result):
    report = json.loads(result.stdout)
    assert report["ok"] == (not [check for check in report["checks"] if check["ok"] is False])
    for check in report["checks"]:
        assert set(check) == {"area", "name", "ok", "detail", "fix", "exit_code"}
        assert bool(check["exit_code"]) == (check["ok"] is False)
    return report["checks"]


def test_a_good_installation_passes(call, store, tmp_path):
    """With a readable store and a detector that loads, all is well; no trace is left in store and folder."""
    before = store.present()
    result = call("doctor")
    assert result.exit_code == 0
    assert "All is well." in result.output
    assert "FAULT" not in result.output
    assert store.present() == before
    assert not (tmp_path / "lemmy_safety.db").exists()


def test_the_json_report_covers_every_area(call, store):
    """A program gets each check with its area, result, detail and fix."""
    checks = _checks(call("doctor", "--json"))
    assert {check["area"] for check in checks} == {"Program", "Settings", "Storage", "Database", "Detectors"}
    named = {check["name"] for check in checks}
    assert {"extra clip", "extra nudenet", "extra postgres"} <= named
    assert not {"extra all", "extra dev", "extra release", "extra test"} & named


def test_the_hours_of_pauses_are_told_with_the_time_here(call, store, monkeypatch):
    """The time may be that of another zone than the admin's, as in a container."""
    monkeypatch.setenv("LEMMY_SAFETY_PAUSE", "00:00-12:00,12:00-23:59")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = datetime.now(ZoneInfo("Asia/Tokyo"))
    checks = _checks(call("doctor", "--json", "--quick", "--detectors", "hashes"))
    after = datetime.now(ZoneInfo("Asia/Tokyo"))
    (detail,) = [check["detail"] for check in checks if check["name"] == "pauses"]
    assert detail.startswith("00:00-12:00, 12:00-23:59; it is ")
    assert f"it is {before:%H:%M} here" in detail or f"it is {after:%H:%M} here" in detail


def test_a_zone_that_ends_every_sweep_is_a_fault(call, store, monkeypatch):
    """Sweeps and the daemon refuse an unknown TZ when there are pauses; doctor says so before them."""
    monkeypatch.setenv("LEMMY_SAFETY_PAUSE", "22:00-07:00")
    monkeypatch.setenv("TZ", "Mars/Olympus")
    result = call("doctor", "--json", "--quick", "--detectors", "hashes")
    (check,) = [check for check in _checks(result) if check["name"] == "pauses"]
    assert "'Mars/Olympus'" in check["detail"]
    assert "Europe/Berlin" in check["fix"]
    assert result.exit_code == check["exit_code"] == SettingsError.exit_code


def test_what_is_done_at_once_is_told(call, store, monkeypatch):
    """The numbers that were chosen for this machine, or set by a person, stand in the report."""
    monkeypatch.setenv("LEMMY_SAFETY_DECODE_WORKERS", "3")
    checks = _checks(call("doctor", "--json", "--threads", "7", "--detectors", "hashes"))
    (detail,) = [check["detail"] for check in checks if check["name"] == "at once"]
    assert detail.startswith("7 objects fetched, 3 decoded in processes")
    assert "512 MB" in detail


def test_the_speed_of_models_is_tried_unless_it_is_to_be_quick(call, store):
    """An admin learns how many frames a day a model can look at before a sweep is begun; --quick loads nothing."""
    pytest.importorskip("nudenet")
    whole, quick = (
        _checks(call("doctor", "--json", "--detectors", "hashes,nudenet", *how)) for how in ((), ("--quick",))
    )
    (speed,) = [check["detail"] for check in whole if check["area"] == "Detectors" and "speed" in check["name"]]
    assert re.match(r"[\d.e+]+ frames/s by 320n: at most [\d,]+ frames a day", speed)
    assert not [check for check in quick if "speed" in check["name"]]


def test_every_fault_is_told_at_once(call, store, monkeypatch, tmp_path):
    """A wrong folder, a broken database and missing weights are three faults of one call; the first gives the code."""
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SQLITE_FILENAME", str(tmp_path / "broken.db"))
    (tmp_path / "broken.db").write_bytes(b"no database at all, but long enough to look at" * 50)
    monkeypatch.setenv("HASH_LIST", str(tmp_path / "no-list.txt"))
    result = call("doctor", "--json")
    assert result.exit_code == StorageMissing.exit_code
    faults = {check["area"]: check for check in _checks(result) if check["ok"] is False}
    assert {area: check["exit_code"] for area, check in faults.items()}.items() >= {
        "Storage": StorageMissing.exit_code,
        "Database": LedgerDamaged.exit_code,
    }.items()
    assert set(faults) == {"Storage", "Database", "Detectors"}
    assert all(check["fix"] for check in faults.values())


@needs("process")  # doctor starts programs
def test_all_settings_faults_are_listed(call):
    """Each wrong setting is a fault of its own, and no other is made up for what depends on them."""
    result = call(
        "doctor", "--json", "--detectors", "hashes", env={"LEMMY_SAFETY_MINUTES": "0", "LEMMY_SAFETY_NOPE": "1"}
    )
    assert result.exit_code == SettingsError.exit_code
    details = [check["detail"] for check in _checks(result) if check["ok"] is False]
    assert len(details) == 2
    assert any("LEMMY_SAFETY_MINUTES" in detail for detail in details)
    assert any("LEMMY_SAFETY_NOPE" in detail for detail in details)


@needs("process")  # doctor starts programs
def test_no_settings_at_all_still_checks_the_rest(call):
    """Without a storage the database and the detectors are checked all the same."""
    result = call("doctor", "--json", "--detectors", "hashes")
    assert result.exit_code == SettingsError.exit_code
    checks = _checks(result)
    assert "lemmy-safety demo" in next(check["fix"] for check in checks if check["ok"] is False)
    assert {check["area"] for check in checks if check["ok"]} >= {"Database", "Detectors"}


@needs("process")  # doctor starts programs
def test_a_server_that_does_not_answer_is_a_fault_and_shows_no_secret(call, monkeypatch):
    """Nothing listens on the port: the fault names the endpoint, and the secret key appears nowhere."""
    env = {
        "OBJECT_STORAGE_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "accesskey-of-test",
        "AWS_SECRET_ACCESS_KEY": "secretkey-of-test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    result = call("doctor", "--detectors", "hashes", env=env)
    assert result.exit_code == StorageUnreachable.exit_code
    assert "127.0.0.1:9" in result.output
    assert "secretkey-of-test" not in result.output
    assert "accesskey-of-test" not in result.output


def test_the_database_is_only_looked_at(call, store, tmp_path):
    """doctor upgrades nothing: an ancestor's database stays as it is, and is said to be upgraded later."""
    with sqlite3.connect(tmp_path / "lemmy_safety.db") as database:
        database.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, filename TEXT, nsfw BOOLEAN, csam BOOLEAN, created DATETIME)"
        )
    database.close()
    before = (tmp_path / "lemmy_safety.db").read_bytes()
    result = call("doctor")
    assert result.exit_code == 0
    assert "will be upgraded" in result.output
    assert (tmp_path / "lemmy_safety.db").read_bytes() == before


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("secret", "asked"), [("secret-of-the-hook-01", 0), ("secret-of-the-hook-01", 1), ("", 0)])
def test_a_hook_that_was_never_asked_gets_a_hint(call, monkeypatch, tmp_path, secret, asked):
    """pict-rs that was given a host name fails every upload unasked; only the database's silence tells of it."""
    call("db", "upgrade")
    if secret:
        monkeypatch.setenv("HOOK_SECRET", secret)
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        ledger.uploads.record([upload(str(number)) for number in range(asked)])
    result = call("doctor")
    assert result.exit_code == 0
    said = bool(secret) and not asked
    assert ("has not asked about any upload yet" in result.output) == said
    assert ("give pict-rs the hook's IP address instead of a host name" in result.output) == said


@pytest.mark.parametrize(("in_a_row", "code"), [(0, 0), (19, 0), (20, SettingsError.exit_code), (500, 3)])
def test_requests_that_the_hook_does_not_understand_are_told(call, store, tmp_path, in_a_row, code):
    """Some are a note. Twenty in a row are a fault of the connection to pict-rs, with what to look at."""
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as ledger:
        ledger.garbled.count("form", added=1000, in_a_row=in_a_row)
    (check,) = [check for check in _checks(call("doctor", "--json")) if "upload hook" in check["name"]]
    assert (check["ok"], check["exit_code"]) == (False if code else None, code)
    assert re.search(rf"1,000 requests since .* that pict-rs cannot have made so, {in_a_row} in a row", check["detail"])
    assert bool(check["fix"]) == bool(code)
    assert call("doctor").exit_code == code


def test_a_database_of_a_newer_version_is_a_fault(call, store, tmp_path):
    """A database that this version cannot read is found before anything is swept."""
    call("db", "upgrade")
    with sqlite3.connect(tmp_path / "lemmy_safety.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    database.close()
    assert call("doctor").exit_code == LedgerTooNew.exit_code
    assert call("--all").exit_code == LedgerTooNew.exit_code
    assert store.canaries <= store.present()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rules for folders")
def test_a_folder_for_the_database_that_is_missing_is_a_fault(call, store, monkeypatch, tmp_path):
    """The database file's folder must exist; nothing is made in secret."""
    monkeypatch.setenv("SQLITE_FILENAME", str(tmp_path / "missing" / "lemmy_safety.db"))
    assert call("doctor").exit_code == LedgerError.exit_code


def test_missing_weights_name_the_three_ways_out(call, store, monkeypatch, tmp_path):
    """Weights that are not where CLIP_WEIGHTS says are a fault with all ways to fix it."""
    pytest.importorskip("open_clip")
    monkeypatch.setenv("CLIP_WEIGHTS", str(tmp_path / "nowhere.pt"))
    result = call("doctor", "--detectors", "clip")
    assert result.exit_code == WeightsMissing.exit_code
    assert "nowhere.pt" in result.output
    assert "(3)" in result.output


def test_one_fault_of_a_detector_hides_no_other(call, store, monkeypatch, tmp_path):
    """A device that is not there, and two files that are missing, are three faults."""
    pytest.importorskip("open_clip")
    monkeypatch.setenv("CLIP_WEIGHTS", str(tmp_path / "nowhere.pt"))
    monkeypatch.setenv("DANBOORU", "true")
    monkeypatch.setenv("DANBOORU_WEIGHTS", str(tmp_path / "nowhere.pth"))
    monkeypatch.setenv("HASH_LIST", str(tmp_path / "nowhere.txt"))
    result = call("doctor", "--json", "--detectors", "hashes,clip", "--device", "xpu")
    found = [check for check in _checks(result) if check["ok"] is False]
    assert [check["name"] for check in found] == ["hashes", "clip", "clip", "clip"]
    for check, word in zip(found, ["nowhere.txt", "xpu", "nowhere.pt", "nowhere.pth"], strict=True):
        assert word in check["detail"]
        assert check["fix"]


def test_quick_loads_no_model(call, store, monkeypatch, tmp_path):
    """--quick builds the detectors without opening them, and says so."""
    monkeypatch.setenv("CLIP_WEIGHTS", str(tmp_path / "nowhere.pt"))
    result = call("doctor", "--quick", "--detectors", "hashes,clip")
    assert result.exit_code == 0
    assert "not loaded" in result.output
