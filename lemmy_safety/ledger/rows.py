"""The records that the ledger gives back; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.records import (
        ActionState,
        Finding,
        ItemStatus,
        MediaInfo,
        Outcome,
        Pdq,
        Review,
        StoredObject,
        Verdict,
    )

#: What a pass counted, by the caller's own names; stored as JSON.
RunCounts: TypeAlias = "Mapping[str, object]"

ANCESTOR = "ancestor"
"""Name of the reserved storage for rows taken over from an ancestor's database, which did not say where it looked."""


class Known(StrEnum):
    """Why an object need not be read."""

    SETTLED = "settled"
    """Judged (or found unreadable) in its present content: skip it."""
    PENDING = "pending"
    """Flagged earlier, not cleared, and no action taken: nothing to read, but an action is still open."""


class Origin(StrEnum):
    """Where a row's verdict comes from."""

    SCAN = "scan"
    ANCESTOR = "ancestor"
    """Taken over from the ancestor's database: no hash, no size, no reason, and unknown whether it was acted on."""


class EventKind(StrEnum):
    """What the append-only audit records. Objects judged clear leave no event: there are millions of them."""

    FLAGGED = "flagged"
    UNFLAGGED = "unflagged"
    """A flagged object was judged again and not flagged, or its content changed."""
    INTENDED = "intended"
    """An action was decided, before it was carried out."""
    DROPPED = "dropped"
    """An intended action no longer holds: the content changed, or a human cleared it."""
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    REVIEWED = "reviewed"
    TAKEN_OVER = "taken_over"
    """The ancestor's database became ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVerdict:
    """A verdict for some bytes, and the key under which they were judged."""

    key: str
    verdict: Verdict
    detectors: frozenset[str]
    sha256: str
    pdq: Pdq | None
    info: MediaInfo | None
    review: Review


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAction:
    """An action that is on disk as intended. ``obj`` is the object as it was judged: act on nothing else.

    ``id`` names the action on this judgement of the object: an object that is judged again gets a new one.
    """

    id: int
    obj: StoredObject
    action: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedRow:
    """One row of the ledger as a human sees it.

    ``obj`` is None for rows of the ancestor, whose object was never described: ``Ledger.adopt`` describes it before
    anything is done. ``action_detail`` says why an action failed or was refused. ``outcome`` is None where nothing was judged.
    """

    id: int
    storage: str
    key: str
    obj: StoredObject | None
    status: ItemStatus
    reason: str
    outcome: Outcome | None
    nsfw: bool | None
    findings: tuple[Finding, ...]
    detectors: frozenset[str]
    rules_version: str
    sha256: str | None
    info: MediaInfo | None
    reused_from: str | None
    dry_run: bool
    checked_at: datetime
    action_wanted: str | None
    action_state: ActionState
    action_at: datetime | None
    action_detail: str
    review: Review
    review_note: str
    review_at: datetime | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewResult:
    """Rows that a human's decision changed, other keys with the same bytes included, and keys not in the ledger."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStats:
    """Sizes. ``flagged_open`` counts what ``flagged()`` lists, ``acted`` actions carried out, in objects.

    ``bytes_on_disk`` is None for a database server.
    """

    objects: int
    by_status: Mapping[ItemStatus, int]
    by_outcome: Mapping[Outcome, int]
    flagged_open: int
    acted: int
    runs: int
    bytes_on_disk: int | None
