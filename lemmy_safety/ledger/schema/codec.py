"""Converts records to table rows and back. Pure: makes no query and applies no rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.records import (
    Anomaly,
    AnomalyKind,
    Assessment,
    Finding,
    ItemStatus,
    MediaInfo,
    Outcome,
    Pdq,
    StoredObject,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Row

#: A row of any query over ``images``; columns are accessed by name.
AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"

#: Replaces the name of the decoder that read an object, if an admin asked to check it again.
NO_DECODER = ""

#: The columns of a verdict when there is none.
NO_VERDICT: dict[str, Any] = {
    "outcome": None,
    "outcomes": None,
    "nsfw": None,
    "findings": None,
    "detectors": frozenset(),
    "rules_version": "",
}


def checked_keys(keys: Iterable[str]) -> list[str]:
    """The keys, checked: every database can hold each of them.

    :raises LedgerError: a key is empty, or contains a NUL or a lone surrogate; storages yield none of these.
    """
    listed = list(keys)
    for key in listed:
        if not key or "\0" in key or not _encodes(key):
            raise LedgerError(f"{key!r} cannot be recorded: keys are Unicode text without NUL.", hint="")
    return listed


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def object_columns(obj: StoredObject | None) -> dict[str, Any]:
    if obj is None:
        return {"size": None, "modified_at": None, "etag": None}
    return {"size": obj.size, "modified_at": obj.modified_at, "etag": obj.etag}


def object_of(row: AnyRow) -> StoredObject | None:
    """The object a row describes; None for legacy rows."""
    if row.size is None or row.modified_at is None:
        return None
    return StoredObject(key=row.key, size=row.size, modified_at=row.modified_at, etag=row.etag)


def content_columns(assessment: Assessment) -> dict[str, Any]:
    """What an assessment says about the bytes themselves."""
    info, pdq = assessment.info, assessment.pdq
    return {
        "sha256": assessment.sha256,
        "pdq": pdq.hex if pdq else None,
        "pdq_quality": pdq.quality if pdq else None,
        "media_type": clean_text(info.media_type) if info else None,
        "width": info.width if info else None,
        "height": info.height if info else None,
        "frame_count": info.frame_count if info else None,
        "duration_s": _finite(info.duration_s) if info else None,
        "anomalies": [_anomaly_fields(anomaly) for anomaly in info.anomalies] if info and info.anomalies else None,
    }


def _finite(number: float | None) -> float | None:
    """Not every database holds NaN and infinities, which broken files do report as their length."""
    return number if number is not None and math.isfinite(number) else None


def _anomaly_fields(anomaly: Anomaly) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": anomaly.kind.value, "detail": anomaly.detail}
    if anomaly.offset is not None:
        fields["offset"] = anomaly.offset
    if anomaly.size is not None:
        fields["size"] = anomaly.size
    return fields


#: Prefixes of the anomalies that were stored as plain texts before the schema 0002.
_FORMER_KINDS = {
    "truncated": AnomalyKind.TRUNCATED,
    "damaged": AnomalyKind.DAMAGED,
    "first_frame_only": AnomalyKind.FRAMES_LEFT_OUT,
}


def _anomaly_of(stored: dict[str, Any] | str) -> Anomaly:
    if isinstance(stored, str):
        word, _, detail = stored.partition(": ")
        kind = _FORMER_KINDS.get(word)
        return Anomaly(kind=kind or AnomalyKind.DAMAGED, detail=detail if kind else stored)
    return Anomaly(
        kind=AnomalyKind(stored["kind"]),
        detail=stored["detail"],
        offset=stored.get("offset"),
        size=stored.get("size"),
    )


def verdict_columns(assessment: Assessment) -> dict[str, Any]:
    """The columns of a judgement; all empty if there is no verdict."""
    verdict = assessment.verdict
    return dict(NO_VERDICT) if verdict is None else _columns_of(verdict, assessment.detectors)


def _columns_of(verdict: Verdict, detectors: frozenset[str]) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "outcomes": None if verdict.is_csam_alone else dict(verdict.outcomes),
        "nsfw": verdict.nsfw,
        "findings": [_finding_fields(finding) for finding in verdict.findings],
        "detectors": detectors,
        "rules_version": clean_text(verdict.rules_version),
    }


def _finding_fields(finding: Finding) -> dict[str, Any]:
    """A finding without its default values: at 10 million rows they would be most of the file."""
    fields: dict[str, Any] = {
        "detector": finding.detector,
        "version": finding.version,
        "label": finding.label,
        "score": finding.score,
    }
    if finding.threshold is not None:
        fields["threshold"] = finding.threshold
    if finding.frame:
        fields["frame"] = finding.frame
    if finding.at_s is not None:
        fields["at_s"] = finding.at_s
    if finding.view:
        fields["view"] = finding.view
    if finding.details:
        fields["details"] = dict(finding.details)
    return fields


def findings_of(stored: Sequence[dict[str, Any]] | None) -> tuple[Finding, ...]:
    # float() also reads back NaN and infinities that are stored as text.
    return tuple(
        Finding(
            detector=fields["detector"],
            version=fields["version"],
            label=fields["label"],
            score=float(fields["score"]),
            threshold=float(fields["threshold"]) if "threshold" in fields else None,
            frame=fields.get("frame", 0),
            at_s=float(fields["at_s"]) if "at_s" in fields else None,
            view=fields.get("view", ""),
            details=fields.get("details", {}),
        )
        for fields in stored or ()
    )


def info_of(row: AnyRow) -> MediaInfo | None:
    if row.width is None:
        return None
    return MediaInfo(
        media_type=row.media_type,
        width=row.width,
        height=row.height,
        frame_count=row.frame_count,
        duration_s=row.duration_s,
        anomalies=tuple(_anomaly_of(stored) for stored in row.anomalies or ()),
    )


def pdq_of(row: AnyRow) -> Pdq | None:
    return None if row.pdq is None else Pdq(hex=row.pdq, quality=row.pdq_quality)


def verdict_of(row: AnyRow) -> Verdict | None:
    return None if row.outcome is None else verdict_with(row, row.outcome)


def verdict_with(row: AnyRow, outcome: Outcome) -> Verdict:
    return Verdict(
        outcome=outcome,
        nsfw=row.nsfw,
        findings=findings_of(row.findings),
        rules_version=row.rules_version,
        outcomes={domain: Outcome(of_it) for domain, of_it in (row.outcomes or {}).items()},
    )


def assessment_of(row: AnyRow) -> Assessment:
    """``row`` is one of ``images`` or ``uploads``; it may have a verdict next to the status of a later attempt.

    The status is None if an upload was judged once, and later accepted without being examined.
    """
    return Assessment(
        status=row.status or ItemStatus.CHECKED,
        reason=row.reason,
        sha256=row.sha256,
        pdq=pdq_of(row),
        info=info_of(row),
        verdict=verdict_of(row),
        detectors=row.detectors,
    )
