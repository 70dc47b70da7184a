"""The daemon as a process: new objects within a cycle, downtime, a storage that dies and comes back, a clean stop."""

from __future__ import annotations

import signal
import sqlite3
import sys

import pytest
from support.admin import Admin, eventually, stop
from support.scan.passes import keys_in, minutes_ago, put
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here"),
]

QUICK = {"LEMMY_SAFETY_DETECTORS": "hashes", "LEMMY_SAFETY_INTERVAL_S": "0.5"}


def judged(admin, keys):
    """Whether every key has a verdict in the admin's database."""
    path = admin.folder / "lemmy_safety.db"
    if not path.exists():
        return False
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT key FROM images WHERE status = 'checked'").fetchall()
    except sqlite3.OperationalError:
        return False  # the daemon is making the schema at this moment
    finally:
        db.close()
    return set(keys) <= {row[0] for row in rows}


@pytest.mark.external_service
def test_new_objects_are_judged_while_the_s3_server_dies_and_comes_back(admin_on_s3, swift):
    """Put, judged; server killed, the daemon waits and says so; server back, what was put meanwhile is judged."""
    admin, bucket = admin_on_s3
    admin.env |= QUICK
    pictures = dict(sample_pictures(30, seed=21))
    keys = sorted(pictures)
    daemon = admin.start("--minutes", "1")
    try:
        for key in keys[:10]:
            bucket.put(key, pictures[key])
        bucket.put("01/aa/canary-1", canary_png())
        eventually(lambda: judged(admin, keys[:10]), "the first ten are judged", process=daemon)
        eventually(lambda: "01/aa/canary-1" not in bucket.present(), "the canary is gone", process=daemon)

        swift.kill()
        eventually(lambda: "next try in" in admin.log(), "the outage is said", process=daemon)
        swift.start()
        for key in keys[10:20]:
            bucket.put(key, pictures[key])
        eventually(lambda: judged(admin, keys[10:20]), "those put after the outage are judged", process=daemon)
        eventually(lambda: "are back" in admin.log(), "the end of the outage is said", process=daemon)
    finally:
        code, seconds = stop(daemon)
    assert code == 0, admin.log()
    assert seconds < 5


def test_what_was_uploaded_while_the_daemon_was_down_is_judged_after_its_start(tmp_path):
    """Downtime longer than --minutes leaves no gap: the daemon goes on where its last complete pass began."""
    root = tmp_path / "files"
    pictures = dict(sample_pictures(12, seed=22))
    keys = sorted(pictures)
    for key in keys[:4]:
        put(root, key, pictures[key], modified_at=minutes_ago(60))
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(root), **QUICK})
    admin.run("--all")
    # An hour of downtime, told to the database and to the files: the watermark lies 40 minutes back.
    db = sqlite3.connect(tmp_path / "lemmy_safety.db")
    changed = db.execute("UPDATE cursors SET at = ?", (minutes_ago(40).strftime("%Y-%m-%d %H:%M:%S.%f"),)).rowcount
    db.commit()
    db.close()
    assert changed >= 1
    for key in keys[4:8]:
        put(root, key, pictures[key], modified_at=minutes_ago(30))
    put(root, "2/1/1/canary", canary_png(), modified_at=minutes_ago(25))
    daemon = admin.start("--minutes", "1")
    try:
        eventually(lambda: judged(admin, [*keys[4:8], "2/1/1/canary"]), "the gap is judged", process=daemon)
        eventually(lambda: "2/1/1/canary" not in keys_in(root), "the canary is gone", process=daemon)
    finally:
        code, seconds = stop(daemon)
    assert (code, seconds < 5) == (0, True), admin.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_and_a_daemon_end_within_5_s_of_a_signal(tmp_path, number):
    """Whatever they are doing, and what was judged is recorded."""
    root = tmp_path / "files"
    for key, data in sample_pictures(600, seed=23, max_side=200):
        put(root, key, data, modified_at=minutes_ago(2))
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(root), **QUICK})
    for args, expected in (((), 0), (("--all",), 130)):
        (tmp_path / "lemmy_safety.db").unlink(missing_ok=True)
        process = admin.start(*args)
        eventually(lambda: judged(admin, ()), "it has made its database", process=process)
        code, seconds = stop(process, number=number)
        assert seconds < 5
        if process.returncode != 0:  # a sweep may have been done before the signal came
            assert code == expected, admin.log()


def test_a_wrong_setting_ends_the_daemon_at_once_with_one_line(tmp_path):
    """A folder that does not exist is for a person to fix, not something to wait out."""
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(tmp_path / "nowhere"), **QUICK})
    done = admin.run(code=14)
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
