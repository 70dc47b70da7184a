"""Limits for an admin whose line at home is also used for other things."""

from __future__ import annotations

import signal
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

PATIENCE_S = 60.0


@pytest.mark.parametrize("text", ["0", "-1", "0.01", "1e9", "5 Mbit", "5M", "nan", "inf", "five", "1,5"])
def test_a_limit_that_is_none_is_refused_in_one_line(call, text):
    """Too small to finish anything, too large to be meant, or with a unit: what is wrong, and what is allowed."""
    result = call("--all", env={"LEMMY_SAFETY_MAX_MBIT": text})
    assert result.exit_code == 3
    assert f"LEMMY_SAFETY_MAX_MBIT: {text!r} is not valid" in result.stderr
    assert "0.1 to 100000" in result.stderr
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("25:00", "has a part '25:00', which is not a period of time"),
        ("22:00", "has a part '22:00', which is not a period of time"),
        ("22:00-22:00", "has a period '22:00-22:00', which ends when it begins"),
        ("22:00-07:00,06:00-08:00", "has two periods that overlap at 06:00"),
        ("00:00-12:00,12:00-00:00", "covers the whole day"),
    ],
)
def test_pauses_that_are_none_are_refused_in_one_line(call, text, said):
    """What is wrong, where, and how it is written."""
    result = call("--all", env={"LEMMY_SAFETY_PAUSE": text})
    assert result.exit_code == 3
    assert f"LEMMY_SAFETY_PAUSE: the value {said}" in result.stderr
    assert "22:00-07:00, several periods separated by commas" in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_a_list_without_a_value_is_refused_in_plain_words(call):
    """No type of a programming language is named."""
    result = call("--all", env={"LEMMY_SAFETY_PAUSE": ","})
    assert result.exit_code == 3
    assert "',' is not valid. Allowed: one or more values, separated by commas." in result.stderr


def test_an_unknown_time_zone_is_refused_only_where_it_matters(call, store, tmp_path):
    """The system takes it for UTC, and a pause would be hours off; without pauses it does no harm."""
    env = {
        "TZ": "Europe/Berlni",
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "a.db"),
    }
    refused = call("--all", "--dry-run", env=env | {"LEMMY_SAFETY_PAUSE": "22:00-07:00"})
    assert refused.exit_code == 3
    assert "TZ: the time zone 'Europe/Berlni' is not known here" in refused.stderr
    assert call("--all", "--dry-run", env=env).exit_code == 0


class Lines(threading.Thread):
    """Reads a process's log, and tells when a text was in it."""

    def __init__(self, stream) -> None:
        super().__init__(daemon=True)
        self._stream, self._changed = stream, threading.Condition()
        self.text, self._ended = "", False
        self.start()

    def run(self) -> None:
        for line in self._stream:
            with self._changed:
                self.text += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: text in self.text or self._ended, PATIENCE_S)
            assert text in self.text, self.text


def around_now(zone: str) -> dict[str, str]:
    """A pause from an hour ago until in an hour, in a zone two hours ahead of UTC."""
    local = datetime.now(UTC) + timedelta(hours=2)
    begins, ends = (local + timedelta(hours=hours) for hours in (-1, 1))
    return {"TZ": zone, "LEMMY_SAFETY_PAUSE": f"{begins:%H:%M}-{ends:%H:%M}"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here")
@pytest.mark.parametrize("zone", ["Etc/GMT-2", "<+02>-2"])
def test_a_sweep_in_a_pause_deletes_nothing_and_ends_at_a_stop(command, store, tmp_path, zone):
    """The real clock, by the name of a zone and by its rules: it waits, and 130 says that it was stopped."""
    env = around_now(zone) | {
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "a.db"),
    }
    sweep = command("--all", "--yes", env=env)
    log = Lines(sweep.stderr)
    log.wait_for(f"paused until {env['LEMMY_SAFETY_PAUSE'][-5:]}")
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(PATIENCE_S) == 130
    assert store.present() == store.canaries | store.pictures


@pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here")
def test_a_daemon_in_a_pause_checks_new_uploads(command, store, tmp_path):
    """Its first listing of every key waits; an upload of this hour is checked, and the canary among them deleted."""
    env = around_now("Etc/GMT-2") | {
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "a.db"),
        "LEMMY_SAFETY_INTERVAL_S": "0.2",
    }
    daemon = command("--minutes", "120", env=env)
    log = Lines(daemon.stderr)
    log.wait_for("listing every key waits")
    log.wait_for("pass done: 5 seen, 5 new checked, 2 flagged")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE_S) == 0
    assert store.present() == store.pictures


def test_a_recheck_goes_on_in_a_pause(call, store, tmp_path):
    """A person typed it."""
    env = around_now("Etc/GMT-2") | {
        "PICTRS_FILES_DIRECTORY": str(store.folder),
        "DETECTORS": "hashes",
        "SQLITE_FILENAME": str(tmp_path / "a.db"),
    }
    del env["LEMMY_SAFETY_PAUSE"]
    assert call("--all", "--dry-run", env=env).exit_code == 0
    result = call("recheck", min(store.pictures), env=env | around_now("Etc/GMT-2"))
    assert result.exit_code == 0
    assert "paused" not in result.stderr
