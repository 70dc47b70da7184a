"""An open database: who may read, who may write, and whether it is still the file that was opened. Knows no question."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.engine import writing
from lemmy_safety.ledger.faults import translated
from lemmy_safety.ledger.file_watch import FileWatch
from lemmy_safety.ledger.models import storages
from lemmy_safety.ledger.rows import ANCESTOR
from lemmy_safety.ledger.urls import sqlite_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from sqlalchemy import Connection, Engine

#: Changes nothing and locks the one row that every database of ours has from the start.
_TURN = storages.update().where(storages.c.name == ANCESTOR).values(name=ANCESTOR)


def now_utc() -> datetime:
    return datetime.now(UTC)


class Database:
    """Look-ups from any thread at any time; one writer at a time, in a transaction of its own."""

    def __init__(self, engine: Engine, *, where: str, clock: Callable[[], datetime] = now_utc) -> None:
        self._engine = engine
        self._where = where
        self._clock = clock
        self._writer = threading.RLock()
        self._closed = False
        self._watch: FileWatch | None = None
        self._is_made = False
        self._guard: Callable[[Connection], None] | None = None

    def opened(self, *, made: bool) -> None:
        """To be called once a first connection was there. ``made``: the newest schema is known to be in the database."""
        path = sqlite_file(self._engine.url)
        self._watch = None if path is None else FileWatch(path)
        self._is_made = made

    def close(self) -> None:
        """Give all connections back. Closing twice is fine."""
        self._closed = True
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._check_open()
        self.check_present()
        with translated(self._where, made=self._is_made), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._check_open()
        self.check_present()
        with (
            self._writer,
            translated(self._where, made=self._is_made),
            writing(self._engine, turn=_TURN) as connection,
        ):
            self._prove(connection)
            yield connection

    def _prove(self, connection: Connection) -> None:
        """Ask the guard, where one is set, whether this process may still write."""
        if self._guard is not None:
            self._guard(connection)

    def check_present(self) -> None:
        """See that a SQLite database still lies where it was opened. Asks the file system only, so it costs next to nothing.

        :raises LedgerReplaced: it was deleted, moved, emptied or replaced.
        """
        if self._watch is not None:
            self._watch.check()

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerError(f"The database {self._where} was closed.", hint="")
