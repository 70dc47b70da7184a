"""Makes a new SQLite database private to its owner, whatever the umask: it lists what was found where."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lemmy_safety.ledger.database.urls import opened_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL

#: Read and write for the owner. SQLite gives the files next to a database (WAL, its index, journals) the same mode.
_OWNER_ONLY = 0o600


def make_private(url: URL) -> None:
    """Create the file of a SQLite URL with mode 600, if it does not exist. An existing file keeps its mode.

    Never raises: if we cannot make the file, SQLite cannot either, and its error is reported.
    """
    path = _new_file(url)
    if path is None:
        return
    with contextlib.suppress(OSError, ValueError):
        create_private(os.path.realpath(path))


def create_private(path: str | Path) -> None:
    """Create an empty file with mode 600.

    :raises OSError: it exists, or cannot be created.
    """
    # O_EXCL does not follow links; a link to a missing file is a valid place for a database. It also keeps us from
    # opening
    # a database that is in use: closing it again would release SQLite's locks.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))


def _new_file(url: URL) -> Path | None:
    """The file that SQLite would create; None if it creates none."""
    return opened_file(url) if url.query.get("mode", "rwc") == "rwc" else None
