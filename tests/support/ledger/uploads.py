"""Ready-made uploads for tests of the ledger and of what reads it."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from support.ledger.results import NOON, checked

from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.records import Assessment, ItemStatus, Outcome, StoredObject

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.ledger import Ledger, UploadRow

AT = NOON + timedelta(days=1)


def upload(
    content: str,
    answer: UploadAnswer | None = UploadAnswer.UNCHECKED,
    *,
    status: ItemStatus | None = None,
    **more: Any,
) -> UploadResult:
    """An upload of these bytes that was not examined, unless ``status`` or ``more`` say otherwise."""
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    if status is not None:
        more["assessment"] = Assessment(status=status, sha256=sha256, reason=more.pop("reason", ""))
    facts: dict[str, Any] = {
        "sha256": sha256,
        "size": len(content.encode()),
        "media_type": "image/webp",
        "answer": answer,
        "reason": "no answer in time" if answer is UploadAnswer.UNCHECKED else "",
        "at": AT,
    }
    return UploadResult(**{**facts, **more})


def judged(content: str, outcome: Outcome = Outcome.CLEAR, **more: Any) -> UploadResult:
    """An upload of these bytes that was judged and answered accordingly."""
    answer = UploadAnswer.REFUSED if outcome is Outcome.FLAGGED else UploadAnswer.ACCEPTED
    names = {field.name for field in fields(Assessment)} & more.keys()
    assessment = checked("x", outcome, content, **{name: more.pop(name) for name in names}).assessment
    return upload(content, **{"answer": answer, "assessment": assessment, **more})


def stored_upload(key: str, content: str, *, at: datetime = AT) -> StoredObject:
    """What a storage lists where pict-rs has just put these bytes."""
    data = content.encode()
    return StoredObject(
        key=key, size=len(data), modified_at=at, etag=hashlib.md5(data, usedforsecurity=False).hexdigest()
    )


def row_for(ledger: Ledger, content: str) -> UploadRow:
    row = ledger.uploads.get(upload(content).sha256)
    assert row is not None
    return row


def waiting(ledger: Ledger) -> list[str]:
    """The hashes that ``uploads.unchecked`` lists; checks on the way that all counts agree."""
    rows = list(ledger.uploads.unchecked())
    assert ledger.uploads.count_unchecked() == ledger.maintenance.stats().unchecked_open == len(rows)
    assert ledger.uploads.unchecked_since() == (rows[0].first_at if rows else None)
    assert [row.first_at for row in rows] == sorted(row.first_at for row in rows)
    return [row.sha256 for row in rows]
