"""The database is deleted, or another is put in its place, under the daemon and the hook: they end, and a restart goes on."""

from __future__ import annotations

import shutil
import sys

import pytest
from support.admin import Admin, eventually, free_port
from support.scan.passes import minutes_ago, put
from support.scan.scanned_store import picture
from support.web.pictrs_client import ask, get

from lemmy_safety.detectors.hashes.canary import canary_png

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open database be deleted"),
]

GONE = 56
PATIENCE_S = 60.0


def delete(file):
    file.unlink()


def replace(file):
    shutil.copy(file, file.with_name("copy.db"))
    file.with_name("copy.db").replace(file)


def empty(file):
    file.write_bytes(b"")


def delete_its_log(file):
    file.with_name(file.name + "-wal").unlink()


AWAY = [delete, replace, empty, delete_its_log]


@pytest.mark.parametrize("how", AWAY, ids=lambda how: how.__name__)
def test_the_daemon_ends_and_its_restart_judges_what_came_meanwhile(tmp_path, how):
    """Within a cycle, with the code for it; systemd starts it again, as it would here."""
    root = tmp_path / "files"
    put(root, "01/aa/first", picture(1), modified_at=minutes_ago(5))
    admin = Admin(
        tmp_path,
        {
            "PICTRS_FILES_DIRECTORY": str(root),
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "LEMMY_SAFETY_INTERVAL_S": "0.5",
        },
    )
    daemon = admin.start()
    eventually(lambda: "pass done: 1 seen, 1 new" in admin.log(), "it has judged the first", process=daemon)
    how(tmp_path / "lemmy_safety.db")
    put(root, "01/aa/canary", canary_png(), modified_at=minutes_ago(1))
    assert daemon.wait(PATIENCE_S) == GONE, admin.log()
    assert "deleted or replaced" in admin.log()
    if how is empty:
        return  # what SQLite still held it has put into the empty file, which may be no whole database then
    daemon = admin.start()
    try:
        eventually(lambda: not (root / "01/aa/canary").exists(), "it deletes the canary", process=daemon)
    finally:
        daemon.kill()


@pytest.mark.parametrize("how", AWAY, ids=lambda how: how.__name__)
def test_the_hook_ends_and_lets_nothing_in_unrecorded(tmp_path, how):
    """Without being asked about anything; a restart refuses what is flagged as before."""
    port = free_port()
    admin = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes", "HOOK_PORT": str(port)})

    def ready() -> bool:
        try:
            return get(port, "/ready").status == 200
        except OSError:
            return False

    hook = admin.start("serve")
    eventually(ready, "it is ready", process=hook)
    assert ask(port, picture(1)).status == 200
    how(tmp_path / "lemmy_safety.db")
    assert hook.wait(PATIENCE_S) == GONE, admin.log()
    hook = admin.start("serve")
    try:
        eventually(ready, "it is ready again", process=hook)
        assert ask(port, canary_png()).status == 406
    finally:
        hook.kill()
