"""What the hook was asked about, and what became of it; frozen, and free of any database type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.ledger.schema.codec import assessment_of

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.ledger.schema.values import UploadAnswer
    from lemmy_safety.records import Assessment

MOST_GARBLED_IN_A_ROW = 20
"""From this many requests in a row on, the hook counts as not working: a few odd files do not cause that many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """What became of one upload, for ``ledger.uploads.record``.

    ``sha256`` is in lower-case hex digits, of its ``size`` bytes. ``media_type`` is the one in the request.
    ``assessment`` is None if the bytes were not examined; ``reason`` then says why.
    ``answer`` is None for a judgement that came after the answer (or GONE, if the upload was not found anywhere): it
    does
    not count as an upload.
    ``at`` is when it was asked, if that is not now. ``storage_key`` is where pict-rs says that it has stored it.
    ``reused_from`` is the key (or ``FROM_UPLOAD``) whose verdict was reused, None if detectors judged it.
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

    ``answer`` is the last answer, ``reason`` the last reason for having no verdict. ``assessment`` is None if the
    bytes were never examined; its verdict is kept next to the status of a later attempt without one. ``judged_at`` is
    None
    until there was a verdict, or the bytes proved undecodable. ``found_storage`` and ``found_key`` say where
    bytes that had been accepted unchecked were judged. ``storage_key`` is where pict-rs said that it had stored them
    when
    it last asked (None before 0.6); pict-rs drops a copy of a file that it already has.
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


def upload_row_of(row: AnyRow) -> UploadRow:
    return UploadRow(
        sha256=row.sha256,
        size=row.size,
        media_type=row.media_type,
        answer=row.answer,
        assessment=None if row.status is None and row.outcome is None else assessment_of(row),
        reason=row.reason,
        judged_at=row.judged_at,
        first_at=row.first_at,
        last_at=row.last_at,
        times=row.times,
        found_storage=row.storage,
        found_key=row.found_key,
        storage_key=row.storage_key,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbledRequests:
    """Requests to the hook that pict-rs cannot have made. ``in_a_row``: since the last one that was understood."""

    in_a_row: int
    total: int
    first_at: datetime
    last_at: datetime
    last_what: str

    @property
    def too_many(self) -> bool:
        """Whether there are more than odd files can explain."""
        return self.in_a_row >= MOST_GARBLED_IN_A_ROW
