"""The JSON of the protocol of uploads, from records and back; see ``wire.py``.

Everything that is read here came from outside and is checked: what is not as it should be, or larger than it can be, is
a ``BadMessage``. What is written is cut to the same bounds, so that the other side takes it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemmy_safety.ledger.rows import UploadAnswer, UploadResult
from lemmy_safety.records import Anomaly, AnomalyKind, Assessment, Finding, ItemStatus, MediaInfo, Outcome, Pdq, Verdict
from lemmy_safety.web.fields import entries, flag, mapping, matching, moment, one_of, part, score, text, whole
from lemmy_safety.web.wire import BadMessage, is_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.ledger.rows import UploadRow
    from lemmy_safety.web.fields import Fields

SHA256 = re.compile(r"[0-9a-f]{64}")

#: Characters of prose for people, of names, and of the name of a medium on the wire.
_MOST_TEXT = 2000
_MOST_NAME = 200

#: Findings that count, oddities of a file, and detectors.
_MOST_FINDINGS = 100
_MOST_ANOMALIES = 100
_MOST_DETECTORS = 50

#: In lists, of which a page has to fit into one message.
_MOST_REASON = 200

#: PDQ's scale of how much there is to see, https://github.com/facebook/ThreatExchange/tree/main/pdq.
_MOST_QUALITY = 100

#: Bytes of an upload: twice what ``LEMMY_SAFETY_MAX_MB`` can be set to.
_MOST_BYTES = 2**33


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAnswer:
    """What a worker says of one medium. ``learned`` is None from a worker that knows only pictrs-safety."""

    image: str
    refuse: bool
    nsfw: bool
    learned: Mapping[str, Any] | None


def encode_answer(image: str, assessment: Assessment, *, refuse: bool) -> dict[str, Any]:
    """``refuse`` is what the worker's settings make of it; pictrs-safety knows no more than that."""
    nsfw = assessment.verdict is not None and assessment.verdict.nsfw is True
    return {"image": image, "is_csam": refuse, "is_nsfw": nsfw or refuse, "learned": encode_learned(assessment)}


def decode_answer(message: object) -> WorkerAnswer:
    """:raises BadMessage: a field is missing, of another type, or out of its bounds."""
    fields = mapping(message)
    return WorkerAnswer(
        image=text(fields, "image", most=_MOST_NAME),
        refuse=flag(fields, "is_csam"),
        nsfw=flag(fields, "is_nsfw"),
        learned=part(fields, "learned"),
    )


def encode_learned(result: Assessment | UploadRow) -> dict[str, Any]:
    """All that is worth keeping where no picture is: of findings only those that count."""
    verdict, info, pdq = result.verdict, result.info, result.pdq
    return {
        "status": None if result.status is None else result.status.value,
        "reason": _cut(result.reason, _MOST_TEXT),
        "detectors": sorted(result.detectors)[:_MOST_DETECTORS],
        "verdict": None
        if verdict is None
        else {
            "outcome": verdict.outcome.value,
            "nsfw": verdict.nsfw,
            "rules_version": _cut(verdict.rules_version, _MOST_NAME),
            "findings": [
                _encode_finding(finding) for finding in verdict.findings if finding.hit and math.isfinite(finding.score)
            ][:_MOST_FINDINGS],
        },
        "pdq": None if pdq is None else {"hex": pdq.hex, "quality": pdq.quality},
        "info": None if info is None else _encode_info(info),
    }


def _encode_finding(finding: Finding) -> dict[str, Any]:
    return {
        "detector": _cut(finding.detector, _MOST_NAME),
        "version": _cut(finding.version, _MOST_NAME),
        "label": _cut(finding.label, _MOST_NAME),
        "score": finding.score,
        "threshold": finding.threshold,
        "frame": finding.frame,
        "view": _cut(finding.view, _MOST_NAME),
    }


def _encode_info(info: MediaInfo) -> dict[str, Any]:
    return {
        "media_type": _cut(info.media_type, _MOST_NAME),
        "width": info.width,
        "height": info.height,
        "frame_count": info.frame_count,
        "anomalies": [
            {"kind": anomaly.kind.value, "detail": _cut(anomaly.detail, _MOST_TEXT)}
            for anomaly in info.anomalies[:_MOST_ANOMALIES]
        ],
    }


def _cut(said: str, most: int) -> str:
    """Unicode of a bounded length; messages of decoders hold bytes that are not."""
    return said[:most].encode("utf-8", "replace").decode()


def decode_learned(message: object, *, sha256: str) -> Assessment:
    """``encode_learned`` read back, as said of the bytes with this hash.

    :raises BadMessage: something in it is not what it should be, or a verdict stands where nothing was checked.
    """
    fields = mapping(message)
    status = one_of(ItemStatus, fields, "status")
    verdict, info, pdq = (part(fields, name) for name in ("verdict", "info", "pdq"))
    if (status is ItemStatus.CHECKED) != (verdict is not None):
        raise BadMessage("a verdict is set exactly when the status is checked")
    return Assessment(
        status=status,
        sha256=sha256,
        reason=text(fields, "reason", "", most=_MOST_TEXT),
        detectors=frozenset(_detectors(fields)),
        verdict=None if verdict is None else _decode_verdict(verdict),
        pdq=None if pdq is None else _decode_pdq(pdq),
        info=None if info is None else _decode_info(info),
    )


def _decode_verdict(fields: Fields) -> Verdict:
    return Verdict(
        outcome=one_of(Outcome, fields, "outcome"),
        nsfw=None if fields.get("nsfw") is None else flag(fields, "nsfw"),
        findings=tuple(_decode_finding(mapping(entry)) for entry in entries(fields, "findings", most=_MOST_FINDINGS)),
        rules_version=text(fields, "rules_version", most=_MOST_NAME),
    )


def _decode_finding(fields: Fields) -> Finding:
    return Finding(
        detector=text(fields, "detector", most=_MOST_NAME),
        version=text(fields, "version", most=_MOST_NAME),
        label=text(fields, "label", most=_MOST_NAME),
        score=score(fields, "score"),
        threshold=None if fields.get("threshold") is None else score(fields, "threshold"),
        frame=whole(fields, "frame"),
        view=text(fields, "view", "", most=_MOST_NAME),
    )


def _decode_info(fields: Fields) -> MediaInfo:
    return MediaInfo(
        media_type=text(fields, "media_type", most=_MOST_NAME),
        width=whole(fields, "width"),
        height=whole(fields, "height"),
        frame_count=whole(fields, "frame_count"),
        anomalies=tuple(
            Anomaly(kind=one_of(AnomalyKind, entry, "kind"), detail=text(entry, "detail", most=_MOST_TEXT))
            for entry in map(mapping, entries(fields, "anomalies", most=_MOST_ANOMALIES))
        ),
    )


def _decode_pdq(fields: Fields) -> Pdq:
    return Pdq(hex=matching(fields, "hex", SHA256), quality=whole(fields, "quality", most=_MOST_QUALITY))


def _detectors(fields: Fields) -> list[str]:
    if "detectors" not in fields:
        return []
    words = entries(fields, "detectors", most=_MOST_DETECTORS)
    if not all(isinstance(word, str) and is_token(word) for word in words):
        raise BadMessage("detectors are no names")
    return words


def encode_unchecked(row: UploadRow) -> dict[str, Any]:
    """An upload that a relay accepted without a verdict."""
    return {
        "sha256": row.sha256,
        "size": row.size,
        "media_type": _cut(row.media_type or "", _MOST_NAME),
        "reason": _cut(row.reason, _MOST_REASON),
        "at": row.first_at.isoformat(),
    }


def decode_unchecked(message: object, *, now: datetime | None = None) -> UploadResult:
    """``now`` is this machine's time, by which the peer's is judged.

    :raises BadMessage: something in it is not what it should be.
    """
    fields = mapping(message)
    return UploadResult(
        sha256=matching(fields, "sha256", SHA256),
        size=whole(fields, "size", most=_MOST_BYTES),
        media_type=text(fields, "media_type", "", most=_MOST_NAME),
        answer=UploadAnswer.UNCHECKED,
        reason=text(fields, "reason", "", most=_MOST_TEXT),
        at=moment(fields.get("at"), now=now),
    )


def decode_judged(message: object) -> tuple[str, Assessment]:
    """What became of one such upload: its SHA-256, and what was learned.

    :raises BadMessage: something in it is not what it should be.
    """
    fields = mapping(message)
    sha256 = matching(fields, "sha256", SHA256)
    return sha256, decode_learned(fields.get("learned"), sha256=sha256)
