"""What the ledger shows to a person; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lemmy_safety.ledger.actions.records import is_confirmed
from lemmy_safety.ledger.schema.codec import NO_DECODER, assessment_of, object_of
from lemmy_safety.records import UNDECODED, ActionState, ItemStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.ledger.schema.values import EventKind, Origin
    from lemmy_safety.records import Assessment, Review, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedRow:
    """One row of the ledger as a person sees it: flagged, unreadable, or without a verdict for another reason.

    ``obj`` is None for legacy rows, whose object was never described: ``ledger.actions.adopt`` describes it before
    any action. ``action_detail`` says why an action failed or was refused. ``outcome`` is None if nothing was judged.
    ``decoder_broke`` is True for an unreadable object that is never acted on, because it may hold a picture: the
    decoder broke on it, or its bytes could never be read.
    """

    id: int
    storage: str
    key: str
    obj: StoredObject | None
    assessment: Assessment
    reused_from: str | None
    dry_run: bool
    checked_at: datetime
    action_id: int | None
    action_wanted: str | None
    action_state: ActionState
    action_at: datetime | None
    action_detail: str
    review: Review
    review_note: str
    review_at: datetime | None
    origin: Origin
    action_approved: bool = False
    """A person approved the action that is due."""
    asks: bool = False
    """The action waits for a person to decide about this very object."""
    refusals: int = 0
    """How often an action on this object, with these bytes, was refused or failed."""
    to_be_read: bool = False
    """The next pass reads it again, even if it is unchanged."""
    failed_passes: int = 0
    """In how many passes in a row it could not be read or judged, including the last one."""


def flagged_row_of(row: AnyRow, *, refusals: int = 0) -> FlaggedRow:
    """``row`` is one of ``images`` with its action, and the storage's name as ``storage``."""
    may_hold_a_picture = row.decoder_broke is not False or row.sha256 is None
    broke = row.status is ItemStatus.UNREADABLE and may_hold_a_picture
    assessment = replace(assessment_of(row), decoder_broke=broke)
    return FlaggedRow(
        id=row.id,
        storage=row.storage,
        key=row.key,
        obj=object_of(row),
        assessment=assessment,
        reused_from=row.reused_from,
        dry_run=row.dry_run,
        checked_at=row.checked_at,
        action_id=row.action_id,
        action_wanted=row.action_wanted,
        action_state=row.action_state,
        action_at=row.action_at,
        action_detail=row.action_detail or "",
        action_approved=row.action_approved_at is not None,
        asks=row.action_state is ActionState.INTENDED and row.action_asks_since is not None and not is_confirmed(row),
        review=row.review,
        review_note=row.review_note,
        review_at=row.review_at,
        origin=row.origin,
        refusals=refusals,
        to_be_read=is_to_be_read(row.status, row.decoder),
        failed_passes=0 if row.status.settled else row.failed_passes,
    )


def is_to_be_read(status: ItemStatus, decoder: str) -> bool:
    """Whether the next pass reads the object even if it is unchanged: the error was temporary, or an admin asked."""
    return not status.settled or (status in UNDECODED and decoder == NO_DECODER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewResult:
    """Rows that a person's decision changed, including other keys with the same bytes, and keys not in the ledger."""

    changed: tuple[FlaggedRow, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One entry of the audit."""

    id: int
    at: datetime
    storage: str | None
    key: str | None
    sha256: str | None
    kind: EventKind
    detail: Mapping[str, Any]
    run_id: int | None
