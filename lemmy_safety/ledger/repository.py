"""The ledger as the rest of the program uses it: what was seen, decided and done. It never touches an object.

Look-ups may come from any thread at any time. Writes are one transaction each and follow one another: a lock in this
process, the database's own lock between processes. Once a writing method has returned, what it wrote survives
``kill -9`` and a power cut. Methods raise only the ``LedgerError`` family, and ``ValueError`` for arguments
that no caller should pass.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.actions.breaker import Breaker
from lemmy_safety.ledger.actions.store import Actions
from lemmy_safety.ledger.database import backup
from lemmy_safety.ledger.database.database import Database, now_utc
from lemmy_safety.ledger.database.engine import BUSY_TIMEOUT_S, make_engine, upgrading, use_wal
from lemmy_safety.ledger.database.faults import translated
from lemmy_safety.ledger.database.file_locks import check_locks
from lemmy_safety.ledger.database.urls import check_file, parse_url, shown_url, sqlite_file
from lemmy_safety.ledger.maintenance import Maintenance
from lemmy_safety.ledger.objects.rechecks import Rechecks
from lemmy_safety.ledger.objects.store import Objects
from lemmy_safety.ledger.objects.variants import Variants
from lemmy_safety.ledger.passes.store import Passes
from lemmy_safety.ledger.purges.store import Purges
from lemmy_safety.ledger.reviews.store import Reviews
from lemmy_safety.ledger.schema import migrations, wholeness
from lemmy_safety.ledger.uploads.garbled import GarbledCounts
from lemmy_safety.ledger.uploads.store import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType


def open_ledger(
    url: str,
    *,
    upgrade: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    clock: Callable[[], datetime] = now_utc,
) -> Ledger:
    """Open the SQLite or PostgreSQL database at a URL, created or upgraded to the newest schema.

    A refused database is left unchanged. With ``upgrade=False`` nothing is created or changed, and methods of
    the ledger may fail on an old schema; ``maintenance.schema_version()`` always works. ``busy_timeout_s`` is how long
    to
    wait for another writer. A database of the legacy tool is imported in place. A SQLite database that is not empty is
    copied to its own folder before an upgrade (``copied_to``); if that fails, nothing is changed.

    :raises LedgerTooNew: this version does not know its schema.
    :raises LedgerLocked: another process writes for longer than ``busy_timeout_s``.
    :raises LedgerNoLocks: SQLite cannot work on its file system.
    :raises LedgerReadOnly: file or folder (or server) cannot be written.
    :raises LedgerFull: the disk is full, or has no room for the copy.
    :raises LedgerDamaged: not a database, or another program's, or tables or columns are missing.
    :raises LedgerError: the server cannot be reached, the folder is missing, or the URL is wrong.
    :raises SettingsError: the URL is of another kind of database.
    :raises MissingExtra: the driver is not installed, and one of our extras provides it.
    """
    parsed = parse_url(url)
    check_file(parsed, may_create=upgrade)
    path = sqlite_file(parsed)
    where = shown_url(parsed)
    engine = make_engine(parsed, busy_timeout_s=busy_timeout_s)
    database = Database(engine, where=where, clock=clock)
    ledger = Ledger(database)
    try:
        with translated(where):
            if upgrade:
                # Checks and upgrades happen under the writer's lock: two processes may start at the same time.
                with upgrading(engine) as connection:
                    present = migrations.present(connection)
                    if present is not None:
                        wholeness.check_whole(connection, present, where=where)
                    if present != migrations.newest():
                        if engine.dialect.name == "sqlite" and not migrations.is_empty(connection):
                            room = migrations.room_needed(present)
                            ledger.copied_to = backup.copy_before_upgrade(
                                engine, present or "legacy", clock(), growth=room
                            )
                        migrations.upgrade(connection)
                use_wal(engine)
            else:
                with engine.connect() as connection:
                    migrations.present(connection)
        if upgrade:
            ledger.maintenance.write_and_restore()
        database.opened(what_is_lost=partial(wholeness.what_is_lost, engine, where=where) if upgrade else None)
    except LedgerError:
        engine.dispose()
        if path is not None:
            check_locks(path)  # then that is the reason, not the one SQLite reported
        raise
    except BaseException:
        engine.dispose()
        raise
    return ledger


class Ledger:
    """An open database, with a store for each kind of record. Made by ``open_ledger``."""

    def __init__(self, database: Database) -> None:
        self.database = database
        #: The copy of the database from before this upgrade; None if nothing was upgraded or copied.
        self.copied_to: Path | None = None
        self.actions = Actions(database)
        self.breaker = Breaker(database)
        self.garbled = GarbledCounts(database)
        self.maintenance = Maintenance(database)
        self.objects = Objects(database)
        self.passes = Passes(database)
        self.purges = Purges(database)
        self.rechecks = Rechecks(database)
        self.reviews = Reviews(database)
        self.uploads = Uploads(database)
        self.variants = Variants(database)

    def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
