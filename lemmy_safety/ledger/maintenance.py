"""The store of the database itself: its schema, whether it is complete and writable, its backups, its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from lemmy_safety.ledger.actions.current import IS_OPEN, WITH_ACTION
from lemmy_safety.ledger.database import backup
from lemmy_safety.ledger.database.disk_space import check_room
from lemmy_safety.ledger.database.urls import sqlite_file
from lemmy_safety.ledger.schema import migrations, wholeness
from lemmy_safety.ledger.schema.conditions import FLAGGED, UNREADABLE
from lemmy_safety.ledger.schema.tables import actions, images, runs, storages
from lemmy_safety.ledger.schema.values import LEGACY
from lemmy_safety.ledger.uploads.lookups import count_by_answer, count_unchecked
from lemmy_safety.records import ActionState, ItemStatus, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.ledger.schema.values import UploadAnswer


_KINDS = (images.c.status, images.c.outcome, actions.c.state)
#: How many objects have each status, outcome and state of an action: one walk over the table.
_OBJECTS = select(*_KINDS, func.count()).select_from(WITH_ACTION).group_by(*_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStats:
    """Sizes. ``flagged_open`` and ``unreadable_open`` count what ``flagged()`` and ``unreadable()`` list, ``acted``
    counts
    objects that an action was carried out on, ``uploads`` different bytes by the last answer, ``unchecked_open`` what
    ``uploads.unchecked()`` lists.

    ``bytes_on_disk`` is None for a database server.
    """

    objects: int
    by_status: Mapping[ItemStatus, int]
    by_outcome: Mapping[Outcome, int]
    flagged_open: int
    unreadable_open: int
    acted: int
    runs: int
    uploads: Mapping[UploadAnswer, int]
    unchecked_open: int
    bytes_on_disk: int | None


class Maintenance:
    """What an admin needs from a database, whatever it contains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def schema_version(self) -> tuple[str, str]:
        """The revision of the database (empty if it has none yet) and the one this version needs."""
        with self._database.reading() as connection:
            return migrations.present(connection) or "", migrations.newest()

    def check_whole(self) -> None:
        """Check that the database has the tables and columns of its schema, whatever its version.

        :raises LedgerDamaged: some are missing.
        """
        with self._database.reading() as connection:
            present = migrations.present(connection)
            if present is not None:
                wholeness.check_whole(connection, present, where=self._database.where)

    def check_writable(self) -> None:
        """Prove with a committed transaction that verdicts can be recorded now, and that the next ones will find room.

        :raises LedgerError: LedgerReadOnly, LedgerLocked, LedgerFull, LedgerDamaged.
        """
        self._database.check_usable()
        path = sqlite_file(self._database.engine.url)
        if path is not None:
            check_room(path, where=self._database.where)
        self.write_and_restore()

    def write_and_restore(self) -> None:
        """Commit a change that leaves everything as it was.

        :raises LedgerError: nothing can be written.
        """
        with self._database.writing() as connection:
            # Change it and change it back: a database might skip writing an unchanged value.
            connection.execute(storages.update().where(storages.c.name == LEGACY).values(name=f"{LEGACY}."))
            connection.execute(storages.update().where(storages.c.name == f"{LEGACY}.").values(name=LEGACY))

    def back_up(self, target: Path | None = None, *, overwrite: bool = False) -> Path:
        """Copy the database, whatever its schema, even while others write to it; see ``backup.back_up``."""
        self._database.check_usable()
        return backup.back_up(self._database.engine, target, overwrite=overwrite, now=self._database.now())

    def dump_command(self) -> str | None:
        """The command that backs up a database on a server, without the password; None for SQLite, see ``back_up``."""
        engine = self._database.engine
        return None if engine.dialect.name == "sqlite" else backup.dump_command(engine.url)

    def stats(self) -> LedgerStats:
        """Counts over everything; walks the whole table of objects, so it takes seconds at 10 million rows."""
        by_status: dict[ItemStatus, int] = {}
        by_outcome: dict[Outcome, int] = {}
        acted = 0
        with self._database.reading() as connection:
            for status, outcome, state, number in connection.execute(_OBJECTS):
                by_status[status] = by_status.get(status, 0) + number
                if outcome is not None:
                    by_outcome[outcome] = by_outcome.get(outcome, 0) + number
                if state is ActionState.DONE:
                    acted += number
            flagged_open, unreadable_open = (
                connection.execute(select(func.count()).select_from(WITH_ACTION).where(which, IS_OPEN)).scalar_one()
                for which in (FLAGGED, UNREADABLE)
            )
            return LedgerStats(
                objects=sum(by_status.values()),
                by_status=by_status,
                by_outcome=by_outcome,
                flagged_open=flagged_open,
                unreadable_open=unreadable_open,
                acted=acted,
                runs=connection.execute(select(func.count()).select_from(runs)).scalar_one(),
                uploads=count_by_answer(connection),
                unchecked_open=count_unchecked(connection),
                bytes_on_disk=self._bytes_on_disk(),
            )

    def _bytes_on_disk(self) -> int | None:
        path = sqlite_file(self._database.engine.url)
        if path is None:
            return None
        parts = (path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
        return sum(part.stat().st_size for part in parts if part.exists())
