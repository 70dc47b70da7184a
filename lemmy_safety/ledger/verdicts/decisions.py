"""People's decisions about bytes, whatever the key. Works on the caller's connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.tables import reviews
from lemmy_safety.records import Review

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's decision, as copied to other rows."""

    review: Review
    note: str
    at: datetime

    @property
    def columns(self) -> dict[str, Any]:
        return {"review": self.review, "review_note": self.note, "review_at": self.at}


def decisions_on(connection: Connection, hashes: Iterable[str]) -> dict[str, Decision]:
    """People's decisions about these bytes, by SHA-256."""
    found: dict[str, Decision] = {}
    for chunk in chunks(sorted(hashes)):
        query = select(reviews).where(reviews.c.sha256.in_(chunk), reviews.c.review != Review.NONE)
        for row in connection.execute(query):
            found[row.sha256] = Decision(review=row.review, note=row.note, at=row.at)
    return found


def write_decision(connection: Connection, hashes: Sequence[str], decision: Decision) -> None:
    """Save a person's decision about these bytes."""
    for chunk in chunks(hashes):
        connection.execute(reviews.delete().where(reviews.c.sha256.in_(chunk)))
    if hashes:
        values = {"review": decision.review, "note": decision.note, "at": decision.at}
        connection.execute(reviews.insert(), [{"sha256": sha256, **values} for sha256 in hashes])
