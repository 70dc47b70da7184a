"""Requests that pict-rs cannot have made: one row of counts, so that ``doctor`` can report them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.tables import garbled_requests
from lemmy_safety.ledger.uploads.records import GarbledRequests

if TYPE_CHECKING:
    from lemmy_safety.ledger.database.database import Database

_ROW = 1
_IS_IT = garbled_requests.c.id == _ROW


class GarbledCounts:
    """How many requests the hook could not understand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, what: str, *, added: int, in_a_row: int) -> None:
        """Add ``added`` to the total; ``what`` describes the latest, and ``in_a_row`` replaces the stored number."""
        now = self._database.now()
        seen = {"in_a_row": in_a_row, "last_at": now, "last_what": clean_text(what)}
        more = garbled_requests.update().where(_IS_IT).values(total=garbled_requests.c.total + added, **seen)
        with self._database.writing() as connection:
            if not connection.execute(more).rowcount:
                connection.execute(garbled_requests.insert().values(id=_ROW, total=added, first_at=now, **seen))

    def end_row(self) -> None:
        """Record that a request was understood; writes only if earlier ones were not."""
        known = self.get()
        if known is not None and known.in_a_row:
            with self._database.writing() as connection:
                connection.execute(garbled_requests.update().where(_IS_IT).values(in_a_row=0))

    def get(self) -> GarbledRequests | None:
        """What is known of such requests; None if there were none."""
        with self._database.reading() as connection:
            row = connection.execute(select(garbled_requests).where(_IS_IT)).one_or_none()
        if row is None:
            return None
        return GarbledRequests(
            in_a_row=row.in_a_row, total=row.total, first_at=row.first_at, last_at=row.last_at, last_what=row.last_what
        )
