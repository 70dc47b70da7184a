"""The JSON of the protocol of uploads, from records and back; see ``wire.py``.

Everything that is read here came from outside and is checked: what is not as it should be is a ``BadMessage``. Pure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lemmy_safety.ledger.rows import UploadAnswer, UploadResult
from lemmy_safety.records import Anomaly, AnomalyKind, Finding, ItemStatus, MediaInfo, Outcome, Pdq, Verdict
from lemmy_safety.web.wire import BadMessage, is_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lemmy_safety.ledger.rows import UploadRow
    from lemmy_safety.records import ItemResult

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")

_MOST_TEXT = 2000
_MOST_FINDINGS = 100

#: In lists, of which a page has to fit into one message.
_MOST_REASON = 200

#: More than any picture has of anything, and less than any database's integer ends at.
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAnswer:
    """What a worker says of one medium. ``learned`` is None from a worker that knows only pictrs-safety."""

    image: str
    refuse: bool
    nsfw: bool
    learned: Mapping[str, Any] | None


def encode_answer(image: str, result: ItemResult, *, refuse: bool) -> dict[str, Any]:
    """``refuse`` is what the worker's settings make of the result; pictrs-safety knows no more than that."""
    nsfw = result.verdict is not None and result.verdict.nsfw is True
    return {"image": image, "is_csam": refuse, "is_nsfw": nsfw or refuse, "learned": encode_learned(result)}


def decode_answer(message: object) -> WorkerAnswer:
    """:raises BadMessage: a field is missing or of another type."""
    fields = _mapping(message)
    learned = fields.get("learned")
    return WorkerAnswer(
        image=_text(fields, "image"),
        refuse=_flag(fields, "is_csam"),
        nsfw=_flag(fields, "is_nsfw"),
        learned=None if learned is None else _mapping(learned),
    )


def encode_learned(result: ItemResult | UploadRow) -> dict[str, Any]:
    """All that is worth keeping where no picture is: of findings only those that count."""
    verdict, info, pdq = result.verdict, result.info, result.pdq
    return {
        "status": None if result.status is None else result.status.value,
        "reason": result.reason[:_MOST_TEXT],
        "detectors": sorted(result.detectors),
        "verdict": None
        if verdict is None
        else {
            "outcome": verdict.outcome.value,
            "nsfw": verdict.nsfw,
            "rules_version": verdict.rules_version,
            "findings": [
                _encode_finding(finding) for finding in verdict.findings if finding.hit and math.isfinite(finding.score)
            ][:_MOST_FINDINGS],
        },
        "pdq": None if pdq is None else {"hex": pdq.hex, "quality": pdq.quality},
        "info": None if info is None else _encode_info(info),
    }


def _encode_finding(finding: Finding) -> dict[str, Any]:
    return {
        "detector": finding.detector,
        "version": finding.version,
        "label": finding.label,
        "score": finding.score,
        "threshold": finding.threshold,
        "frame": finding.frame,
        "view": finding.view,
    }


def _encode_info(info: MediaInfo) -> dict[str, Any]:
    return {
        "media_type": info.media_type,
        "width": info.width,
        "height": info.height,
        "frame_count": info.frame_count,
        "anomalies": [{"kind": anomaly.kind.value, "detail": anomaly.detail} for anomaly in info.anomalies],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedFields:
    """``encode_learned`` read back."""

    status: ItemStatus | None
    reason: str
    detectors: frozenset[str]
    verdict: Verdict | None
    pdq: Pdq | None
    info: MediaInfo | None


def decode_learned(message: object) -> LearnedFields:
    """:raises BadMessage: something in it is not what it should be, or a verdict stands where nothing was checked."""
    fields = _mapping(message)
    try:
        status = None if fields.get("status") is None else ItemStatus(fields["status"])
        verdict = None if fields.get("verdict") is None else _decode_verdict(_mapping(fields["verdict"]))
        info = None if fields.get("info") is None else _decode_info(_mapping(fields["info"]))
        pdq = None if fields.get("pdq") is None else _decode_pdq(_mapping(fields["pdq"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadMessage(f"what was learned cannot be read: {error}") from error
    if (status is ItemStatus.CHECKED) != (verdict is not None):
        raise BadMessage("a verdict is set exactly when the status is checked")
    return LearnedFields(
        status=status,
        reason=_text(fields, "reason", "")[:_MOST_TEXT],
        detectors=frozenset(_words(fields.get("detectors", []))),
        verdict=verdict,
        pdq=pdq,
        info=info,
    )


def _decode_verdict(fields: Mapping[str, Any]) -> Verdict:
    nsfw = fields.get("nsfw")
    if nsfw is not None and not isinstance(nsfw, bool):
        raise BadMessage("nsfw is no flag")
    return Verdict(
        outcome=Outcome(fields["outcome"]),
        nsfw=nsfw,
        findings=tuple(_decode_finding(_mapping(finding)) for finding in fields["findings"][:_MOST_FINDINGS]),
        rules_version=_text(fields, "rules_version"),
    )


def _decode_finding(fields: Mapping[str, Any]) -> Finding:
    threshold = fields["threshold"]
    return Finding(
        detector=_text(fields, "detector"),
        version=_text(fields, "version"),
        label=_text(fields, "label"),
        score=float(fields["score"]),
        threshold=None if threshold is None else float(threshold),
        frame=_number(fields["frame"]),
        view=_text(fields, "view", ""),
    )


def _decode_info(fields: Mapping[str, Any]) -> MediaInfo:
    return MediaInfo(
        media_type=_text(fields, "media_type"),
        width=_number(fields["width"]),
        height=_number(fields["height"]),
        frame_count=_number(fields["frame_count"]),
        anomalies=tuple(
            Anomaly(kind=AnomalyKind(entry["kind"]), detail=_text(entry, "detail"))
            for entry in map(_mapping, fields["anomalies"][:_MOST_FINDINGS])
        ),
    )


def _decode_pdq(fields: Mapping[str, Any]) -> Pdq:
    return Pdq(hex=_matching(fields, "hex", _SHA256), quality=_number(fields["quality"]))


def encode_unchecked(row: UploadRow) -> dict[str, Any]:
    """An upload that a relay accepted without a verdict."""
    return {
        "sha256": row.sha256,
        "md5": row.md5,
        "size": row.size,
        "media_type": row.media_type or "",
        "reason": row.reason[:_MOST_REASON],
        "at": row.first_at.isoformat(),
    }


def decode_unchecked(message: object) -> UploadResult:
    """:raises BadMessage: something in it is not what it should be."""
    fields = _mapping(message)
    try:
        size = _number(fields["size"])
        at = datetime.fromisoformat(fields["at"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadMessage(f"an unchecked upload cannot be read: {error}") from error
    if at.tzinfo is None:
        raise BadMessage("a time without a zone")
    return UploadResult(
        sha256=_matching(fields, "sha256", _SHA256),
        md5=_matching(fields, "md5", _MD5),
        size=size,
        media_type=_text(fields, "media_type", "")[:_MOST_TEXT],
        answer=UploadAnswer.UNCHECKED,
        reason=_text(fields, "reason", "")[:_MOST_TEXT],
        at=at,
    )


def decode_judged(message: object) -> tuple[str, LearnedFields]:
    """What became of one such upload: its SHA-256, and what was learned.

    :raises BadMessage: something in it is not what it should be.
    """
    fields = _mapping(message)
    return _matching(fields, "sha256", _SHA256), decode_learned(fields.get("learned"))


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadMessage("not an object of JSON")
    return value


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadMessage(f"{name} is no text")
    return value


def _matching(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = _text(fields, name)
    if not pattern.fullmatch(value):
        raise BadMessage(f"{name} is not as it should be")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise BadMessage(f"{name} is no flag")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise BadMessage("not a number that can be meant")
    return value


def _words(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) and is_token(word) for word in value):
        raise BadMessage("detectors are no names")
    return value
