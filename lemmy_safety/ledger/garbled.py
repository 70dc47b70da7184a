"""Requests at the door that pict-rs cannot have made so: one row of counts, so that ``doctor`` can tell of them.

Each function works on a connection that the caller holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.ledger.columns import clean_text
from lemmy_safety.ledger.models import garbled_requests
from lemmy_safety.ledger.rows import GarbledRequests

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_ROW = 1


def count(connection: Connection, what: str, *, added: int, in_a_row: int, now: datetime) -> None:
    """Add ``added`` to all, the last of which was ``what``; ``in_a_row`` takes the place of the number there."""
    seen = {"in_a_row": in_a_row, "last_at": now, "last_what": clean_text(what)}
    changed = connection.execute(
        garbled_requests.update()
        .where(garbled_requests.c.id == _ROW)
        .values(total=garbled_requests.c.total + added, **seen)
    )
    if not changed.rowcount:
        connection.execute(garbled_requests.insert().values(id=_ROW, total=added, first_at=now, **seen))


def end_row(connection: Connection) -> None:
    """A request was understood: none is garbled in a row any more."""
    connection.execute(garbled_requests.update().where(garbled_requests.c.id == _ROW).values(in_a_row=0))


def read(connection: Connection) -> GarbledRequests | None:
    row = connection.execute(select(garbled_requests).where(garbled_requests.c.id == _ROW)).one_or_none()
    if row is None:
        return None
    return GarbledRequests(
        in_a_row=row.in_a_row, total=row.total, first_at=row.first_at, last_at=row.last_at, last_what=row.last_what
    )
