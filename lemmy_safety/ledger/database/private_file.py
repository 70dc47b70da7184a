"""A new SQLite database is its owner's alone, whatever the umask is: it lists what was found where."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lemmy_safety.ledger.database.urls import opened_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL

#: Read and write for the owner. SQLite gives the files beside a database (WAL, its index, journals) the same mode.
_OWNER_ONLY = 0o600


def make_private(url: URL) -> None:
    """Make the file of a SQLite URL with mode 600 where there is none yet. A file that exists keeps its mode.

    Never raises: what keeps us from making the file keeps SQLite from it, too, and is said when SQLite fails.
    """
    path = _new_file(url)
    if path is None:
        return
    with contextlib.suppress(OSError, ValueError):
        create_private(os.path.realpath(path))


def create_private(path: str | Path) -> None:
    """Make an empty file with mode 600.

    :raises OSError: there is one, or it cannot be made.
    """
    # O_EXCL follows no link, and a link to a file that is not there yet is a fine place for a database. It also keeps
    # us from opening a database that is in use: closing it again would end SQLite's locks.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))


def _new_file(url: URL) -> Path | None:
    """The file that SQLite would make; None where it makes none."""
    return opened_file(url) if url.query.get("mode", "rwc") == "rwc" else None
