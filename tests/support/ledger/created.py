"""New ledgers for tests about anything but their creation: copies of one that this process has created.

Creating one runs every migration, which takes ten times as long as opening it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.database.database import now_utc
from lemmy_safety.ledger.database.private_file import create_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lemmy_safety.ledger import Ledger


def new_ledger(file: Path, *, clock: Callable[[], datetime] = now_utc) -> Ledger:
    """Open the SQLite file; where there is none, it is a ledger of the newest schema without a row."""
    put_new_ledger(file)
    return open_ledger(sqlite_url(file), clock=clock)


def put_new_ledger(file: Path) -> None:
    """Put an empty ledger there, private as a created one, unless something is there."""
    if not file.exists():
        create_private(file)
        file.write_bytes(_created())


@functools.cache
def _created() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        open_ledger(sqlite_url(file)).close()
        assert [path.name for path in Path(folder).iterdir()] == [file.name], "part of it would still be in the WAL"
        return file.read_bytes()
