"""The hook's settings say where pict-rs keeps its files: only a sweep of that place strikes what was let in unchecked."""

from __future__ import annotations

import sqlite3
import sys

import pytest
from support.admin import Admin, eventually, free_port, stop
from support.scan.passes import minutes_ago, put
from support.scan.scanned_store import picture
from support.web.pictrs_client import ask, get

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here"),
]


def unchecked_open(database) -> int:
    db = sqlite3.connect(database)
    try:
        query = "SELECT count(*) FROM uploads WHERE answer = 'unchecked' AND judged_at IS NULL"
        return int(db.execute(query).fetchone()[0])
    finally:
        db.close()


def make_it_unchecked(database, *, hours: int) -> None:
    """As if there had been no time to judge it when it came, that long ago."""
    db = sqlite3.connect(database)
    at = minutes_ago(60 * hours).strftime("%Y-%m-%d %H:%M:%S.%f")
    db.execute(
        "UPDATE uploads SET first_at = ?, last_at = ?, answer = 'unchecked', status = NULL, outcome = NULL,"
        " judged_at = NULL",
        (at, at),
    )
    db.commit()
    db.close()


@pytest.mark.parametrize("named", [True, False], ids=["the hook knows it", "the hook does not know it"])
def test_a_sweep_of_another_folder_strikes_nothing(tmp_path, named):
    """The upload was removed before anybody looked. A sweep of its own storage takes it off the list, if that is known."""
    own, other = tmp_path / "own", tmp_path / "other"
    for number, root in enumerate((own, other)):
        put(root, "01/aa/picture", picture(number), modified_at=minutes_ago(600))
    port = free_port()
    here = {"PICTRS_FILES_DIRECTORY": str(own)}
    hook = Admin(
        tmp_path,
        {
            "LEMMY_SAFETY_DETECTORS": "hashes",
            "HOOK_PORT": str(port),
            **(here if named else {}),
        },
    )
    process = hook.start("serve")
    try:

        def ready() -> bool:
            try:
                return get(port, "/ready").status == 200
            except OSError:
                return False

        eventually(ready, "it is ready", process=process)
        assert ask(port, picture(9)).status == 200
    finally:
        stop(process)
    database = tmp_path / "lemmy_safety.db"
    make_it_unchecked(database, hours=5)
    assert unchecked_open(database) == 1
    sweeper = Admin(tmp_path, {"LEMMY_SAFETY_DETECTORS": "hashes"})
    sweeper.env["PICTRS_FILES_DIRECTORY"] = str(other)
    sweeper.run("--all", "--dry-run")
    assert unchecked_open(database) == 1
    sweeper.env |= here
    sweeper.run("--all", "--dry-run")
    assert unchecked_open(database) == (0 if named else 1)
