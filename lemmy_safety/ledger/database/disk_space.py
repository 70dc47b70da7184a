"""Whether the disk below a SQLite database has room for more.

A write that succeeds does not prove that. SQLite writes over the part of its WAL that was copied into the database, so on
a full disk some hundred verdicts are still recorded, and then none.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerFull

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes. SQLite copies the WAL into the database every 1000 pages of 4096 bytes (https://www.sqlite.org/wal.html,
#: "Automatic Checkpoint"), so this much may be asked of the disk at once.
LEAST_ROOM = 4096 * 1000


def check_room(path: Path, *, where: str) -> None:
    """``where`` is the database as messages show it. File systems that do not tell their size are left alone.

    :raises LedgerFull: its disk has less than ``LEAST_ROOM`` bytes left for this user.
    """
    try:
        disk = shutil.disk_usage(path.parent)
    except OSError:
        return  # if it matters, the write that follows says so
    if disk.total and disk.free < LEAST_ROOM:
        raise LedgerFull(f"The database {where} will soon be unable to grow: its disk has {disk.free:,} bytes left.")
