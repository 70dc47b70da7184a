"""The JSON of the protocol of uploads, from records and back; see ``protocol.py``.

Everything that is read here came from outside and is checked: what is not as it should be, or larger than it can be, is
a ``BadMessage`` of one short line that quotes nothing of it. What is written is cut to the same bounds, so that the other
side takes it. Fields that a side does not know are left out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.records import (
    MOST_DOMAINS,
    Anomaly,
    AnomalyKind,
    Assessment,
    Finding,
    ItemStatus,
    MediaInfo,
    Outcome,
    Pdq,
    Verdict,
)
from lemmy_safety.relay.protocol import PAGE, BadMessage

if TYPE_CHECKING:
    from typing import Self

    from lemmy_safety.ledger import UploadRow

#: Characters of prose for people, of names, and of the name of a medium on the wire.
_MOST_TEXT: Final = 2000
_MOST_NAME: Final = 200

#: Findings that count, oddities of a file, and detectors.
_MOST_FINDINGS: Final = 100
_MOST_ANOMALIES: Final = 100
_MOST_DETECTORS: Final = 50

#: In lists, of which a page has to fit into one message.
_MOST_REASON: Final = 200

#: More than any picture has of anything, and what the smallest integer column of a database holds.
_MOST_NUMBER: Final = 2**31 - 1

#: PDQ's scale of how much there is to see, https://github.com/facebook/ThreatExchange/tree/main/pdq.
_MOST_QUALITY: Final = 100

#: Far above every score of a detector, far below what arithmetic could fail on.
_MOST_SCORE: Final = 1e9

#: Bytes of an upload: twice what ``LEMMY_SAFETY_MAX_MB`` can be set to.
_MOST_BYTES: Final = 2**33

#: An ISO 8601 time with microseconds and zone has 32 characters.
_MOST_TIME_TEXT: Final = 40

#: pict-rs began in 2020, so no upload is older; clocks of two machines may differ by a day, and not by more.
_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(days=1)

#: Characters of what is said about a bad message.
_MOST_SAID: Final = 120


def moment(value: object, *, now: datetime | None = None) -> datetime:
    """A time with its zone, from 2020 to a day ahead of ``now`` (this machine's clock).

    :raises BadMessage: it is none.
    """
    if not isinstance(value, str) or len(value) > _MOST_TIME_TEXT:
        raise BadMessage("not a time")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise BadMessage("not a time") from None
    if at.tzinfo is None:
        raise BadMessage("a time without a zone")
    if not _EARLIEST <= at <= (now or datetime.now(UTC)) + _AHEAD:
        raise BadMessage("a time before 2020, or more than a day ahead; is a clock wrong?")
    return at


def _moment(value: object, info: ValidationInfo) -> datetime:
    return moment(value, now=info.context)


_Text = Annotated[str, Field(max_length=_MOST_TEXT)]
_Name = Annotated[str, Field(max_length=_MOST_NAME)]
_Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,100}$")]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Number = Annotated[int, Field(ge=0, le=_MOST_NUMBER)]
_Score = Annotated[float, Field(ge=-_MOST_SCORE, le=_MOST_SCORE, allow_inf_nan=False)]


class _Message(BaseModel):
    """An object of JSON. Numbers are numbers and texts are texts: nothing is converted but the words of our enumerations."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Finding(_Message):
    detector: _Name
    version: _Name
    label: _Name
    score: _Score
    threshold: _Score | None = None
    frame: _Number
    view: _Name = ""


_Outcome = Annotated[Outcome, Field(strict=False)]


class _Verdict(_Message):
    outcome: _Outcome
    #: By domain, of which this side need not know any; left out by older versions, which know csam alone.
    outcomes: Annotated[dict[str, _Outcome], Field(max_length=MOST_DOMAINS)] = {}
    nsfw: bool | None = None
    findings: Annotated[list[_Finding], Field(max_length=_MOST_FINDINGS)]
    rules_version: _Name

    def record(self) -> Verdict:
        findings = tuple(Finding(**dict(finding)) for finding in self.findings)
        return Verdict(**{**dict(self), "findings": findings})

    @model_validator(mode="after")
    def _check_record(self) -> Self:
        self.record()  # raises ValueError where the outcomes cannot be
        return self


class _Pdq(_Message):
    hex: _Sha256
    quality: Annotated[int, Field(ge=0, le=_MOST_QUALITY)]


class _Anomaly(_Message):
    kind: Annotated[AnomalyKind, Field(strict=False)]
    detail: _Text


class _MediaInfo(_Message):
    media_type: _Name
    width: _Number
    height: _Number
    frame_count: _Number
    anomalies: Annotated[list[_Anomaly], Field(max_length=_MOST_ANOMALIES)]

    def record(self) -> MediaInfo:
        return MediaInfo(**{**dict(self), "anomalies": tuple(Anomaly(**dict(anomaly)) for anomaly in self.anomalies)})


class Learned(_Message):
    """An assessment as it travels: of findings only those that count, and no digest; the message around it names the bytes."""

    status: Annotated[ItemStatus, Field(strict=False)]
    reason: _Text = ""
    detectors: Annotated[list[_Token], Field(max_length=_MOST_DETECTORS)] = []
    verdict: _Verdict | None = None
    pdq: _Pdq | None = None
    info: _MediaInfo | None = None

    @model_validator(mode="after")
    def _check_verdict(self) -> Self:
        if (self.status is ItemStatus.CHECKED) != (self.verdict is not None):
            raise ValueError("a verdict is set exactly when the status is checked")
        return self

    def assessment(self, sha256: str) -> Assessment:
        """As said of the bytes with this hash."""
        return Assessment(
            status=self.status,
            reason=self.reason,
            sha256=sha256,
            pdq=None if self.pdq is None else Pdq(**dict(self.pdq)),
            info=None if self.info is None else self.info.record(),
            verdict=None if self.verdict is None else self.verdict.record(),
            detectors=frozenset(self.detectors),
        )


class WorkerAnswer(_Message):
    """What a worker says of one medium. ``learned`` is None from a worker that knows only pictrs-safety."""

    image: _Name
    refuse: bool = Field(alias="is_csam")
    nsfw: bool = Field(alias="is_nsfw")
    learned: Learned | None = None


class _Judged(_Message):
    sha256: _Sha256
    learned: Learned


class _JudgedPage(_Message):
    judged: Annotated[list[_Judged], Field(max_length=PAGE)]


class _Unchecked(_Message):
    sha256: _Sha256
    size: Annotated[int, Field(ge=0, le=_MOST_BYTES)]
    media_type: _Name = ""
    reason: _Text = ""
    at: Annotated[datetime, BeforeValidator(_moment)]


class _UncheckedPage(_Message):
    uploads: Annotated[list[Any], Field(max_length=PAGE)]


M = TypeVar("M", bound=_Message)

#: In place of words of the library that name its classes, or all that is possible.
_PLAINER: Final = {"model_type": "not an object of JSON", "enum": "none of those that there are"}


def _read(kind: type[M], message: object, *, now: datetime | None = None) -> M:
    """:raises BadMessage: a field is missing, of another type, or out of its bounds."""
    try:
        return kind.model_validate(message, context=now)
    except ValidationError as error:
        # The first of them; without what the peer sent.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = _PLAINER.get(first["type"], first["msg"].removeprefix("Value error, "))[:_MOST_SAID]
        raise BadMessage(f"{where}: {what}" if where else what) from None


def encode_answer(image: str, assessment: Assessment, *, refuse: bool) -> dict[str, Any]:
    """``refuse`` is what the worker's settings make of it; pictrs-safety knows no more than that."""
    nsfw = assessment.verdict is not None and assessment.verdict.nsfw is True
    return {"image": image, "is_csam": refuse, "is_nsfw": nsfw or refuse, "learned": encode_learned(assessment)}


def decode_answer(message: object) -> WorkerAnswer:
    """:raises BadMessage: something in it is not what it should be."""
    return _read(WorkerAnswer, message)


def encode_learned(assessment: Assessment) -> dict[str, Any]:
    """All that is worth keeping where no picture is."""
    said = _within_bounds(assessment).as_dict()
    return {name: _without_nothing(said[name]) for name in Learned.model_fields if said[name] is not None}


def _without_nothing(said: Any) -> Any:
    """Plain JSON without empty fields; the reader has the same defaults."""
    if isinstance(said, dict):
        return {name: _without_nothing(value) for name, value in said.items() if value is not None and value != {}}
    return [_without_nothing(entry) for entry in said] if isinstance(said, (list, tuple)) else said


def _within_bounds(assessment: Assessment) -> Assessment:
    verdict, info = assessment.verdict, assessment.info
    return replace(
        assessment,
        reason=_cut(assessment.reason, _MOST_TEXT),
        detectors=frozenset(sorted(assessment.detectors)[:_MOST_DETECTORS]),
        verdict=None
        if verdict is None
        else replace(
            verdict,
            rules_version=_cut(verdict.rules_version, _MOST_NAME),
            findings=tuple(
                _cut_finding(finding) for finding in verdict.findings if finding.hit and math.isfinite(finding.score)
            )[:_MOST_FINDINGS],
        ),
        info=None
        if info is None
        else replace(
            info,
            media_type=_cut(info.media_type, _MOST_NAME),
            duration_s=None,
            anomalies=tuple(
                Anomaly(kind=anomaly.kind, detail=_cut(anomaly.detail, _MOST_TEXT))
                for anomaly in info.anomalies[:_MOST_ANOMALIES]
            ),
        ),
    )


def _cut_finding(finding: Finding) -> Finding:
    return replace(
        finding,
        detector=_cut(finding.detector, _MOST_NAME),
        version=_cut(finding.version, _MOST_NAME),
        label=_cut(finding.label, _MOST_NAME),
        view=_cut(finding.view, _MOST_NAME),
        at_s=None,
        details={},
    )


def _cut(said: str, most: int) -> str:
    """Unicode of a bounded length; messages of decoders hold bytes that are not."""
    return said[:most].encode("utf-8", "replace").decode()


def encode_judged(row: UploadRow) -> dict[str, Any] | None:
    """What became of an unchecked upload; None where it was never examined. A verdict outlives later attempts without one."""
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
        "media_type": _cut(row.media_type or "", _MOST_NAME),
        "reason": _cut(row.reason, _MOST_REASON),
        "at": row.first_at.isoformat(),
    }


def decode_unchecked_page(message: object) -> list[object]:
    """The entries of a page, for ``decode_unchecked``.

    :raises BadMessage: it is none, or too long.
    """
    return _read(_UncheckedPage, message).uploads


def decode_unchecked(message: object, *, now: datetime | None = None) -> UploadResult:
    """``now`` is this machine's time, by which the peer's is judged.

    :raises BadMessage: something in it is not what it should be.
    """
    return UploadResult(answer=UploadAnswer.UNCHECKED, **dict(_read(_Unchecked, message, now=now)))


def decode_judged_page(message: object) -> list[tuple[str, Assessment]]:
    """What became of unchecked uploads: the SHA-256 of each, and what is known of it now.

    :raises BadMessage: something in it is not what it should be.
    """
    return [(entry.sha256, entry.learned.assessment(entry.sha256)) for entry in _read(_JudgedPage, message).judged]
