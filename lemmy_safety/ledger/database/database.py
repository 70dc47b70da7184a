"""An open database: who may read, who may write, and whether it is still the file that was opened. Knows no queries."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.database.engine import writing as transaction
from lemmy_safety.ledger.database.faults import translated
from lemmy_safety.ledger.database.file_watch import FileWatch
from lemmy_safety.ledger.database.urls import sqlite_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine


def now_utc() -> datetime:
    return datetime.now(UTC)


def _nothing_is_lost() -> LedgerError | None:
    return None


class Database:
    """Look-ups from any thread at any time; one writer at a time, each in its own transaction."""

    def __init__(self, engine: Engine, *, where: str, clock: Callable[[], datetime] = now_utc) -> None:
        self.engine = engine
        self.where = where
        self._clock = clock
        self._writer = threading.RLock()
        self._closed = False
        self._watch: FileWatch | None = None
        self._what_is_lost: Callable[[], LedgerError | None] = _nothing_is_lost
        #: Called at the start of every transaction that writes; raises if this process may no longer write.
        self.guard: Callable[[Connection], None] | None = None

    def opened(self, *, what_is_lost: Callable[[], LedgerError | None] | None = None) -> None:
        """Call this after the first connection was made. ``what_is_lost``: see ``faults.translated``."""
        path = sqlite_file(self.engine.url)
        self._watch = None if path is None else FileWatch(path)
        if what_is_lost is not None:
            self._what_is_lost = what_is_lost

    def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        self._closed = True
        self.engine.dispose()

    def now(self) -> datetime:
        """The time by this machine's clock, aware. Leases use the database's own clock."""
        return self._clock()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries, in any thread.

        :raises LedgerError: closed, moved away or replaced; or a translated error of the database itself.
        """
        self.check_usable()
        with translated(self.where, what_is_lost=self._what_is_lost), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one writing transaction of this process, committed at the end and rolled back on an error.

        :raises LedgerError: as ``reading``; also if another process writes for too long.
        :raises PassRunning: the guard reports that this process has lost its lease.
        """
        self.check_usable()
        with (
            self._writer,
            translated(self.where, what_is_lost=self._what_is_lost),
            transaction(self.engine) as connection,
        ):
            self.prove(connection)
            yield connection

    def prove(self, connection: Connection) -> None:
        """Ask the guard, if set, whether this process may still write.

        :raises PassRunning: its lease was lost.
        """
        if self.guard is not None:
            self.guard(connection)

    def check_usable(self) -> None:
        """Check that it is open, and that a SQLite file is still where it was opened. Costs almost nothing: asks only
        the file system.

        :raises LedgerReplaced: it was deleted, moved, emptied or replaced.
        :raises LedgerError: it was closed.
        """
        if self._closed:
            raise LedgerError(f"The database {self.where} was closed.", hint="")
        if self._watch is not None:
            self._watch.check()
