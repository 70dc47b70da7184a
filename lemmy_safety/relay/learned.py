"""An assessment as it travels between a worker and a relay, from records and back.

Values are cut to the reader's bounds before sending, so that the other side accepts them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, model_validator

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
from lemmy_safety.relay.fields import MOST_NAME, MOST_TEXT, Message, Name, Number, Score, Sha256, Text, Token, cut

if TYPE_CHECKING:
    from typing import Self

#: Most findings that count, anomalies of a file, and detectors.
_MOST_FINDINGS: Final = 100
_MOST_ANOMALIES: Final = 100
_MOST_DETECTORS: Final = 50

#: PDQ's quality scale (how much detail the image has), https://github.com/facebook/ThreatExchange/tree/main/pdq.
_MOST_QUALITY: Final = 100


class _Finding(Message):
    detector: Name
    version: Name
    label: Name
    score: Score
    threshold: Score | None = None
    frame: Number
    view: Name = ""


_Outcome = Annotated[Outcome, Field(strict=False)]


class _Verdict(Message):
    outcome: _Outcome
    #: By domain; this side may not know them. Older versions, which know only csam, leave it out.
    outcomes: dict[str, _Outcome] = Field(default_factory=dict, max_length=MOST_DOMAINS)
    nsfw: bool | None = None
    findings: Annotated[list[_Finding], Field(max_length=_MOST_FINDINGS)]
    rules_version: Name

    def record(self) -> Verdict:
        findings = tuple(Finding(**dict(finding)) for finding in self.findings)
        return Verdict(**{**dict(self), "findings": findings})

    @model_validator(mode="after")
    def _check_record(self) -> Self:
        self.record()  # raises ValueError if the outcomes are impossible
        return self


class _Pdq(Message):
    hex: Sha256
    quality: Annotated[int, Field(ge=0, le=_MOST_QUALITY)]


class _Anomaly(Message):
    kind: Annotated[AnomalyKind, Field(strict=False)]
    detail: Text


class _MediaInfo(Message):
    media_type: Name
    width: Number
    height: Number
    frame_count: Number
    anomalies: Annotated[list[_Anomaly], Field(max_length=_MOST_ANOMALIES)]

    def record(self) -> MediaInfo:
        return MediaInfo(**{**dict(self), "anomalies": tuple(Anomaly(**dict(anomaly)) for anomaly in self.anomalies)})


class Learned(Message):
    """An assessment as it travels: only findings that count, and no digest; the enclosing message has it."""

    status: Annotated[ItemStatus, Field(strict=False)]
    reason: Text = ""
    detectors: list[Token] = Field(default_factory=list, max_length=_MOST_DETECTORS)
    verdict: _Verdict | None = None
    pdq: _Pdq | None = None
    info: _MediaInfo | None = None

    @model_validator(mode="after")
    def _check_verdict(self) -> Self:
        if (self.status is ItemStatus.CHECKED) != (self.verdict is not None):
            raise ValueError("a verdict is set exactly when the status is checked")
        return self

    def assessment(self, sha256: str) -> Assessment:
        """The assessment of the bytes with this hash."""
        return Assessment(
            status=self.status,
            reason=self.reason,
            sha256=sha256,
            pdq=None if self.pdq is None else Pdq(**dict(self.pdq)),
            info=None if self.info is None else self.info.record(),
            verdict=None if self.verdict is None else self.verdict.record(),
            detectors=frozenset(self.detectors),
        )


def encode_learned(assessment: Assessment) -> dict[str, Any]:
    """Everything worth keeping without the picture."""
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
        reason=cut(assessment.reason, MOST_TEXT),
        detectors=frozenset(sorted(assessment.detectors)[:_MOST_DETECTORS]),
        verdict=None
        if verdict is None
        else replace(
            verdict,
            rules_version=cut(verdict.rules_version, MOST_NAME),
            findings=tuple(
                _cut_finding(finding) for finding in verdict.findings if finding.hit and math.isfinite(finding.score)
            )[:_MOST_FINDINGS],
        ),
        info=None
        if info is None
        else replace(
            info,
            media_type=cut(info.media_type, MOST_NAME),
            duration_s=None,
            anomalies=tuple(
                Anomaly(kind=anomaly.kind, detail=cut(anomaly.detail, MOST_TEXT))
                for anomaly in info.anomalies[:_MOST_ANOMALIES]
            ),
        ),
    )


def _cut_finding(finding: Finding) -> Finding:
    return replace(
        finding,
        detector=cut(finding.detector, MOST_NAME),
        version=cut(finding.version, MOST_NAME),
        label=cut(finding.label, MOST_NAME),
        view=cut(finding.view, MOST_NAME),
        at_s=None,
        details={},
    )
