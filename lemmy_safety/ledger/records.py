"""The records that the ledger gives back; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lemmy_safety.records import Review

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.records import (
        ActionState,
        Assessment,
        ItemStatus,
        Outcome,
        StoredObject,
        Verdict,
    )

#: What a pass counted, by the caller's own names; stored as JSON.
RunCounts: TypeAlias = "Mapping[str, object]"

FROM_UPLOAD = "(upload)"
"""In the place of a key where a verdict comes from the door, not from an object: the bytes were read, and the same."""

ANCESTOR = "ancestor"
"""Name of the reserved storage for rows taken over from an ancestor's database, which did not say where it looked."""


UNSAID = "unsaid"
"""Name of the reserved storage for uploads of a hook whose settings name no storage."""


MOST_GARBLED_IN_A_ROW = 20
"""From so many requests on the door counts as not working: one odd file does not make it so, nor do some."""


class Known(StrEnum):
    """Why an object need not be read."""

    SETTLED = "settled"
    """Judged (or found unreadable) in its present content: skip it."""
    PENDING = "pending"
    """Flagged or found unreadable earlier, not cleared, and no action taken: nothing to read, but an action can be open."""


class Origin(StrEnum):
    """Where a row's verdict comes from."""

    SCAN = "scan"
    ANCESTOR = "ancestor"
    """Taken over from the ancestor's database: no hash, no size, no reason, and unknown whether it was acted on."""


class WantedBy(StrEnum):
    """Who wanted an action."""

    PASS = "pass"  # noqa: S105 - not a password
    """A sweep, or a pass of the daemon."""
    COMMAND = "command"
    """A person, with ``delete-flagged``."""
    LEGACY = "legacy"
    """The legacy tool, as far as its database says."""


class UploadAnswer(StrEnum):
    """What pict-rs was told of an upload."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCHECKED = "unchecked"
    """Accepted by ``HOOK_ON_FAILURE``, because there was no verdict in time."""


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
    LET_IN = "let_in"
    """An upload was accepted unchecked; the event has its hash and no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVerdict:
    """A verdict for some bytes, and the key under which they were judged; ``FROM_UPLOAD`` where that was at the door."""

    key: str
    assessment: Assessment
    review: Review

    @property
    def verdict(self) -> Verdict:
        """:raises ValueError: the assessment has none."""
        if self.assessment.verdict is None:
            raise ValueError(f"no verdict is known for {self.key!r}")
        return self.assessment.verdict

    def laid_over(self, assessment: Assessment) -> Assessment:
        """The assessment of the same bytes with this verdict in the place of its own; both sides' detectors have judged."""
        detectors = self.assessment.detectors | assessment.detectors
        return replace(assessment, verdict=self.verdict, detectors=detectors)

    @property
    def stands(self) -> bool:
        """Whether it is a flag that no human has cleared."""
        return self.assessment.flagged and self.review is not Review.CLEARED


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedRow:
    """One row of the ledger as a human sees it: flagged, unreadable, or without a verdict for another reason.

    ``obj`` is None for rows of the ancestor, whose object was never described: ``ledger.actions.adopt`` describes it before
    anything is done. ``action_detail`` says why an action failed or was refused. ``outcome`` is None where nothing was judged.
    ``decoder_broke`` is True of an unreadable object that nothing is done about, because it may hold a picture: the
    decoder broke on it, or its bytes were never had.
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
    refusals: int = 0
    """How often an action on this object, with these bytes, was refused or failed."""
    to_be_read: bool = False
    """The next pass reads it again, also when it is unchanged."""
    failed_passes: int = 0
    """In how many passes in a row it could not be read or judged, the last one included."""


class FailingObject(NamedTuple):
    """An object that could not be read or judged in the last ``passes`` passes, and why in the last one."""

    key: str
    reason: str
    passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingObjects:
    """How many objects fail pass after pass, and the first of them."""

    number: int
    first: tuple[FailingObject, ...]


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
class UploadResult:
    """What became of one upload, for ``ledger.uploads.record``.

    ``sha256`` is in lower-case hex digits, of its ``size`` bytes. ``media_type`` is what the request said.
    ``assessment`` is None where the bytes were not examined, and ``reason`` then says why.
    ``answer`` is None for a judgement that came after the answer (or GONE, for what was nowhere to be found): it counts
    as no upload.
    ``at`` is when it was asked, where that is not now. ``storage_key`` is where pict-rs says that it has stored it.
    ``reused_from`` is the key (or ``FROM_UPLOAD``) from which the verdict was taken over, None where somebody looked.
    """

    sha256: str
    size: int
    media_type: str
    answer: UploadAnswer | None
    assessment: Assessment | None = None
    reason: str = ""
    at: datetime | None = None
    storage_key: str | None = None
    reused_from: str | None = None

    def __post_init__(self) -> None:
        """:raises ValueError: the assessment is of other bytes."""
        if self.assessment is not None and self.assessment.sha256 != self.sha256:
            raise ValueError(f"an assessment of {self.assessment.sha256} is not one of {self.sha256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """What is known of some bytes that were uploaded.

    ``answer`` is the last one given, ``reason`` the last word on why there was no verdict. ``assessment`` is None where the
    bytes were never examined; its verdict stays beside the status of a later attempt without one. ``judged_at`` is None
    until there was a verdict, or no picture could be made of them. ``found_storage`` and ``found_key`` say where bytes that had been accepted unchecked were judged, ``storage_key``
    where pict-rs said that it had stored them when it asked last (None before 0.6); it drops a copy of what it has already.
    """

    sha256: str
    size: int
    media_type: str | None
    answer: UploadAnswer
    assessment: Assessment | None
    reason: str
    judged_at: datetime | None
    first_at: datetime
    last_at: datetime
    times: int
    found_storage: str | None
    found_key: str | None
    storage_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbledRequests:
    """Requests at the door that pict-rs cannot have made so. ``in_a_row``: since the last one that was understood."""

    in_a_row: int
    total: int
    first_at: datetime
    last_at: datetime
    last_what: str

    @property
    def too_many(self) -> bool:
        """Whether they are more than odd files can explain."""
        return self.in_a_row >= MOST_GARBLED_IN_A_ROW


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStats:
    """Sizes. ``flagged_open`` and ``unreadable_open`` count what ``flagged()`` and ``unreadable()`` list, ``acted`` actions
    carried out, in objects; ``uploads`` different bytes by the last answer, ``unchecked_open`` what ``uploads.unchecked()`` lists.

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
