"""The messages of the protocol of uploads, from records to JSON and back; see ``protocol.py``."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo

from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.records import ItemStatus
from lemmy_safety.relay.fields import MOST_NAME, Message, Name, Sha256, Text, cut, moment, read
from lemmy_safety.relay.learned import Learned, encode_learned
from lemmy_safety.relay.protocol import PAGE

if TYPE_CHECKING:
    from lemmy_safety.ledger import UploadRow
    from lemmy_safety.records import Assessment

#: Maximum characters of texts in lists, whose page has to fit into one message.
_MOST_REASON: Final = 200

#: Bytes of an upload: twice what ``LEMMY_SAFETY_MAX_MB`` can be set to.
_MOST_BYTES: Final = 2**33


class WorkerAnswer(Message):
    """A worker's answer about one medium. ``learned`` is None from a worker that knows only pictrs-safety."""

    image: Name
    refuse: bool = Field(alias="is_csam")
    nsfw: bool = Field(alias="is_nsfw")
    learned: Learned | None = None


def _moment(value: object, info: ValidationInfo) -> datetime:
    return moment(value, now=info.context)


class _Judged(Message):
    sha256: Sha256
    learned: Learned


class _JudgedPage(Message):
    judged: Annotated[list[_Judged], Field(max_length=PAGE)]


class _Unchecked(Message):
    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=_MOST_BYTES)]
    media_type: Name = ""
    reason: Text = ""
    at: Annotated[datetime, BeforeValidator(_moment)]


class _UncheckedPage(Message):
    uploads: Annotated[list[Any], Field(max_length=PAGE)]


def encode_answer(image: str, assessment: Assessment, *, refuse: bool) -> dict[str, Any]:
    """``refuse`` is the decision by the worker's settings; pictrs-safety knows nothing beyond it."""
    nsfw = assessment.verdict is not None and assessment.verdict.nsfw is True
    return {"image": image, "is_csam": refuse, "is_nsfw": nsfw or refuse, "learned": encode_learned(assessment)}


def decode_answer(message: object) -> WorkerAnswer:
    """:raises BadMessage: something in it is invalid."""
    return read(WorkerAnswer, message)


def encode_judged(row: UploadRow) -> dict[str, Any] | None:
    """The result of an unchecked upload; None if it was never examined. A verdict outlives later failed attempts."""
    known = row.assessment
    if known is None:
        return None
    if known.verdict is not None:
        known = replace(known, status=ItemStatus.CHECKED)
    return {"sha256": row.sha256, "learned": encode_learned(known)}


def encode_unchecked(row: UploadRow) -> dict[str, Any]:
    """An upload that a relay accepted without a verdict."""
    return {
        "sha256": row.sha256,
        "size": row.size,
        "media_type": cut(row.media_type or "", MOST_NAME),
        "reason": cut(row.reason, _MOST_REASON),
        "at": row.first_at.isoformat(),
    }


def decode_unchecked_page(message: object) -> list[object]:
    """The entries of a page, for ``decode_unchecked``.

    :raises BadMessage: it is none, or too long.
    """
    return read(_UncheckedPage, message).uploads


def decode_unchecked(message: object, *, now: datetime | None = None) -> UploadResult:
    """``now`` is this machine's time, by which the peer's is judged.

    :raises BadMessage: something in it is invalid.
    """
    return UploadResult(answer=UploadAnswer.UNCHECKED, **dict(read(_Unchecked, message, now=now)))


def decode_judged_page(message: object) -> list[tuple[str, Assessment]]:
    """The results of unchecked uploads: the SHA-256 of each, and what is known about it now.

    :raises BadMessage: something in it is invalid.
    """
    return [(entry.sha256, entry.learned.assessment(entry.sha256)) for entry in read(_JudgedPage, message).judged]
