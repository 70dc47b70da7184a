"""The ledger as other rooms see it: what was seen, decided and done. It never touches an object.

Look-ups may come from any thread at any time. Writes are one transaction each and follow one another: a lock in this
process, the database's own lock between processes. When a writing method has returned, what it wrote survives
``kill -9`` and a power cut. Every method raises the ``LedgerError`` family only, besides ``ValueError`` for arguments
that no caller should give.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.actions import lookups
from lemmy_safety.ledger.actions.breaker import Breaker
from lemmy_safety.ledger.actions.store import Actions
from lemmy_safety.ledger.database import backup
from lemmy_safety.ledger.database.database import Database, now_utc
from lemmy_safety.ledger.database.disk_space import check_room
from lemmy_safety.ledger.database.engine import BUSY_TIMEOUT_S, make_engine, upgrading, use_wal
from lemmy_safety.ledger.database.faults import translated
from lemmy_safety.ledger.database.file_locks import check_locks
from lemmy_safety.ledger.database.urls import check_file, parse_url, shown_url, sqlite_file
from lemmy_safety.ledger.objects.rechecks import Rechecks
from lemmy_safety.ledger.objects.store import Objects
from lemmy_safety.ledger.passes.store import Passes
from lemmy_safety.ledger.records import ANCESTOR, LedgerStats
from lemmy_safety.ledger.reviews.store import Reviews
from lemmy_safety.ledger.schema import migrations, wholeness
from lemmy_safety.ledger.schema.tables import storages
from lemmy_safety.ledger.uploads.garbled import GarbledCounts
from lemmy_safety.ledger.uploads.lookups import count_by_answer, count_unchecked
from lemmy_safety.ledger.uploads.store import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine


def open_ledger(
    url: str,
    *,
    upgrade: bool = True,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    clock: Callable[[], datetime] = now_utc,
) -> Ledger:
    """Open the SQLite or PostgreSQL database at a URL, made or upgraded to the newest schema.

    A database that is refused is left as it was. With ``upgrade=False`` nothing is made or changed, and methods of
    the ledger may fail on an old schema; ``schema_version()`` always works. ``busy_timeout_s`` is how long to wait for
    another writer. A database of the ancestor's tool is taken over in place. A SQLite database with anything in it is copied
    beside itself before it is upgraded (``Ledger.copied_to``); where that fails, nothing is changed.

    :raises LedgerTooNew: its schema is one that this version does not know.
    :raises LedgerLocked: another process writes for longer than ``busy_timeout_s``.
    :raises LedgerNoLocks: SQLite cannot work on the file system below.
    :raises LedgerReadOnly: file or folder (or server) cannot be written.
    :raises LedgerFull: the disk is full, or has no room for the copy.
    :raises LedgerDamaged: not a database, or another program's, or tables or columns of it are missing.
    :raises LedgerError: the server cannot be reached, the folder is missing, or the URL is wrong.
    :raises SettingsError: the URL is of another kind of database.
    :raises MissingExtra: the driver is not installed and one of our extras brings it.
    """
    parsed = parse_url(url)
    check_file(parsed, may_create=upgrade)
    path = sqlite_file(parsed)
    where = shown_url(parsed)
    engine = make_engine(parsed, busy_timeout_s=busy_timeout_s)
    ledger = Ledger(engine, where=where, clock=clock)
    try:
        with translated(where):
            if upgrade:
                # Looking and upgrading happen under the writer's lock: two processes may start at the same time.
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
            ledger._write_and_restore()  # noqa: SLF001 - its own module
        ledger.opened(what_is_lost=partial(wholeness.what_is_lost, engine, where=where) if upgrade else None)
    except LedgerError:
        engine.dispose()
        if path is not None:
            check_locks(path)  # that is the reason then, and not what SQLite took it for
        raise
    except BaseException:
        engine.dispose()
        raise
    return ledger


class Ledger(Database):
    """An open database. Made by ``open_ledger``."""

    #: The copy of the database as it was before this opening upgraded it; None where nothing was upgraded or copied.
    copied_to: Path | None = None

    def __init__(self, engine: Engine, *, where: str, clock: Callable[[], datetime] = now_utc) -> None:
        super().__init__(engine, where=where, clock=clock)
        self.actions = Actions(self)
        self.objects = Objects(self)
        self.reviews = Reviews(self)
        self.uploads = Uploads(self)
        self.garbled = GarbledCounts(self)
        self.breaker = Breaker(self)
        self.passes = Passes(self)
        self.rechecks = Rechecks(self)

    # The database itself.

    def stats(self) -> LedgerStats:
        """Counts over everything; walks the whole table, so seconds at 10 million rows."""
        with self.reading() as connection:
            by_status, by_outcome, flagged_open, unreadable_open, acted, runs = lookups.counts(connection)
            answers = count_by_answer(connection)
            unchecked_open = count_unchecked(connection)
        return LedgerStats(
            objects=sum(by_status.values()),
            by_status=by_status,
            by_outcome=by_outcome,
            flagged_open=flagged_open,
            unreadable_open=unreadable_open,
            acted=acted,
            runs=runs,
            uploads=answers,
            unchecked_open=unchecked_open,
            bytes_on_disk=self._bytes_on_disk(),
        )

    def _bytes_on_disk(self) -> int | None:
        path = sqlite_file(self.engine.url)
        if path is None:
            return None
        parts = (path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def back_up(self, target: Path | None = None, *, overwrite: bool = False) -> Path:
        """Copy the database, of whatever schema, also while others write to it; see ``backup.back_up``."""
        self.check_present()
        return backup.back_up(self.engine, target, overwrite=overwrite, now=self.now())

    def dump_command(self) -> str | None:
        """The command that backs up a server's database, without the password; None for SQLite, see ``back_up``."""
        return None if self.engine.dialect.name == "sqlite" else backup.dump_command(self.engine.url)

    def schema_version(self) -> tuple[str, str]:
        """The revision of the database (empty when it has none yet) and the one this version needs."""
        with self.reading() as connection:
            return migrations.present(connection) or "", migrations.newest()

    def check_whole(self) -> None:
        """See that the database has the tables and columns of its schema, whichever that is.

        :raises LedgerDamaged: some are missing.
        """
        with self.reading() as connection:
            present = migrations.present(connection)
            if present is not None:
                wholeness.check_whole(connection, present, where=self.where)

    def check_writable(self) -> None:
        """Prove by a committed transaction that verdicts can be recorded now, and that the next ones will find room.

        :raises LedgerError: LedgerReadOnly, LedgerLocked, LedgerFull, LedgerDamaged.
        """
        self._check_open()
        self.check_present()
        path = sqlite_file(self.engine.url)
        if path is not None:
            check_room(path, where=self.where)
        self._write_and_restore()

    def _write_and_restore(self) -> None:
        with self.writing() as connection:
            # There and back, so that something is written whatever a database makes of a value that stays the same.
            connection.execute(storages.update().where(storages.c.name == ANCESTOR).values(name=f"{ANCESTOR}."))
            connection.execute(storages.update().where(storages.c.name == f"{ANCESTOR}.").values(name=ANCESTOR))
