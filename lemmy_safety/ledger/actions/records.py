"""What the ledger reports about actions; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.ledger.schema.codec import object_of
from lemmy_safety.records import Review

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAction:
    """An action whose intent is on disk. ``obj`` is the object as it was judged: act on nothing else.

    ``id`` is the number of its row in ``actions``: an object that is judged again gets a new one.
    ``unreadable`` means that the object could not be decoded; otherwise a verdict is the reason. ``confirmed``: a person
    decided that it goes, after it had asked.
    """

    id: int
    obj: StoredObject
    action: str
    sha256: str | None
    unreadable: bool = False
    confirmed: bool = False


def pending_action_of(row: AnyRow) -> PendingAction:
    """The intent in a row of ``images`` with its action; the row must describe an object."""
    obj = object_of(row)
    if obj is None:
        raise ValueError(f"{row.key!r} was never described")
    return PendingAction(
        id=row.action_id,
        obj=obj,
        action=row.action_wanted,
        sha256=row.sha256,
        unreadable=row.outcome is None,
        confirmed=is_confirmed(row),
    )


def is_confirmed(row: AnyRow) -> bool:
    """Whether a person decided that this very object goes, knowing that it asked."""
    asked_at, decided_at = row.action_asks_since, row.review_at
    return row.review is Review.CONFIRMED and None not in (asked_at, decided_at) and decided_at >= asked_at


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckActions:
    """Numbers of open actions that need a person.

    ``failed``: the storage refused the latest attempt (permissions, object lock). ``refused_again``: refused as changed
    several times, although the bytes are the same. ``overdue``: intended long ago, and never carried out. ``asks``: wait
    for a person to decide about each.
    """

    failed: int
    refused_again: int
    overdue: int
    asks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The circuit breaker: ``tripped_at`` is None while armed, ``decided_at`` is None until a person first decides.

    ``limit`` and ``reason`` say why it tripped. ``started_before`` is the number of subjects acted on before the
    breaker existed.
    """

    tripped_at: datetime | None
    limit: str | None
    reason: str
    decided_at: datetime | None
    started_before: int

    @property
    def is_tripped(self) -> bool:
        return self.tripped_at is not None
