"""What the ledger tells of actions; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.ledger.schema.codec import object_of

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAction:
    """An action that is on disk as intended. ``obj`` is the object as it was judged: act on nothing else.

    ``id`` is of its row in ``actions``: an object that is judged again gets a new one.
    ``unreadable`` says that it was decided because no picture could be made of the object, not because of a verdict.
    """

    id: int
    obj: StoredObject
    action: str
    sha256: str | None
    unreadable: bool = False


def pending_action_of(row: AnyRow) -> PendingAction:
    """The intent of a row of ``images`` with its action, that describes an object."""
    obj = object_of(row)
    if obj is None:
        raise ValueError(f"{row.key!r} was never described")
    return PendingAction(
        id=row.action_id, obj=obj, action=row.action_wanted, sha256=row.sha256, unreadable=row.outcome is None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckActions:
    """Numbers of open actions that need a person.

    ``failed``: the storage refused (rights, object lock) when it was last tried. ``refused_again``: refused as changed
    again and again, although the bytes are the same. ``overdue``: intended for long, and never carried out.
    """

    failed: int
    refused_again: int
    overdue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The circuit breaker: ``tripped_at`` is None while it is armed, ``decided_at`` until a person has decided once.

    ``limit`` and ``reason`` say why it tripped. ``started_before`` subjects had been acted on before there
    was a breaker.
    """

    tripped_at: datetime | None
    limit: str | None
    reason: str
    decided_at: datetime | None
    started_before: int

    @property
    def is_tripped(self) -> bool:
        return self.tripped_at is not None
