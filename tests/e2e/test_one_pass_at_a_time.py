"""Two admins, or an admin and a timer, start the same sweep: one works, the other is told so; commands that are no passes go on."""

from __future__ import annotations

import signal
import sqlite3
import sys

import pytest
from support.admin import Admin, eventually, stop
from support.scan.passes import minutes_ago, put
from support.storage.sample_store import sample_pictures

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here"),
]


def lease_of(admin):
    """The process that has the lease, None when no one has."""
    path = admin.folder / "lemmy_safety.db"
    if not path.exists():
        return None
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        row = db.execute("SELECT pid FROM leases").fetchone()
    except sqlite3.OperationalError:
        return None  # the schema is being made at this moment
    finally:
        db.close()
    return row and row[0]


def freeze(admin, process):
    """Stop a process in the middle of its pass, but not in the middle of a write, which would hold up everybody."""

    def stopped_outside_a_write():
        process.send_signal(signal.SIGSTOP)
        db = sqlite3.connect(admin.folder / "lemmy_safety.db", timeout=0.2, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            return False
        finally:
            db.close()
        return True

    eventually(lambda: lease_of(admin) == process.pid, "it has the lease", process=process)
    eventually(stopped_outside_a_write, "it stands still", process=process)
    assert lease_of(admin) == process.pid


def test_a_second_sweep_names_the_first_and_a_killed_one_holds_nobody_up(tmp_path):
    """Exit code 57 with host and process; flagged, review and delete-flagged work meanwhile; after kill -9 at once."""
    root = tmp_path / "files"
    for key, data in sample_pictures(900, seed=31, max_side=300):
        put(root, key, data, modified_at=minutes_ago(2))
    admin = Admin(
        tmp_path,
        {"PICTRS_FILES_DIRECTORY": str(root), "LEMMY_SAFETY_DETECTORS": "hashes", "LEMMY_SAFETY_THREADS": "2"},
    )
    first = admin.start("--all")
    try:
        freeze(admin, first)
        second = admin.run("--all", code=57)
        assert f"process {first.pid}" in second.stderr
        assert "sweep" in second.stderr
        assert "Traceback" not in second.stderr
        admin.run("flagged")
        admin.run("delete-flagged", "--yes")
        assert lease_of(admin) == first.pid
    finally:
        first.kill()
        first.wait()
    admin.run("--all")
    assert lease_of(admin) is None


def test_a_daemon_waits_for_a_sweep_and_then_goes_on(tmp_path):
    """It says why it does nothing, does not end, and looks at what is new when the sweep is over."""
    root = tmp_path / "files"
    pictures = list(sample_pictures(400, seed=32, max_side=300))
    for key, data in pictures:
        put(root, key, data, modified_at=minutes_ago(2))
    admin = Admin(
        tmp_path,
        {
            "PICTRS_FILES_DIRECTORY": str(root),
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "LEMMY_SAFETY_THREADS": "2",
            "LEMMY_SAFETY_INTERVAL_S": "0.5",
        },
    )
    sweep = admin.start("--all")
    freeze(admin, sweep)
    daemon = admin.start("--minutes", "30")
    try:
        said = f"process {sweep.pid}"
        eventually(lambda: admin.log().count(said) > 1, "the daemon says twice who works", process=daemon)
        sweep.send_signal(signal.SIGCONT)
        assert sweep.wait(120) == 0
        eventually(lambda: "pass done" in admin.log(), "the daemon makes its pass", process=daemon)
    finally:
        sweep.kill()
        code, seconds = stop(daemon)
    assert (code, seconds < 5) == (0, True), admin.log()
    assert lease_of(admin) is None
