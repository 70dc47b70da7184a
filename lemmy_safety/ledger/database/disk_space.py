"""Checks whether the disk of a SQLite database has room for more.

A successful write does not prove that. SQLite overwrites the part of its WAL that was already copied into the database,
so on a full disk it still records some hundred verdicts, and then none.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerFull

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes. SQLite copies the WAL into the database every 1000 pages of 4096 bytes (https://www.sqlite.org/wal.html,
#: "Automatic Checkpoint"), so it may need this much disk at once.
LEAST_ROOM = 4096 * 1000


def check_room(path: Path, *, where: str) -> None:
    """``where`` is the database as messages show it. File systems that do not report their size are not checked.

    :raises LedgerFull: the disk has less than ``LEAST_ROOM`` bytes left for this user.
    """
    try:
        disk = shutil.disk_usage(path.parent)
    except OSError:
        return  # if it matters, the write that follows reports it
    if disk.total and disk.free < LEAST_ROOM:
        raise LedgerFull(f"The database {where} will soon be unable to grow: its disk has {disk.free:,} bytes left.")
