"""Records what became of uploads, and keeps those accepted unchecked on a list until they are judged.

A row is about bytes, by their SHA-256. What is known of them stays, whatever later attempts bring; an upload that
was accepted unchecked stays on the list until its bytes are judged, by the hook or in a storage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, or_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.codec import NO_VERDICT, content_columns, verdict_columns
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.conditions import IS_UNCHECKED
from lemmy_safety.ledger.schema.tables import events, images, uploads
from lemmy_safety.ledger.schema.values import FROM_UPLOAD, EventKind, UploadAnswer
from lemmy_safety.ledger.verdicts import flags
from lemmy_safety.ledger.verdicts.flags import Judgements
from lemmy_safety.ledger.verdicts.records import flag_columns
from lemmy_safety.records import UNDECODED, ItemStatus, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.ledger.uploads.records import UploadResult
    from lemmy_safety.records import Assessment, ItemResult

#: What is known about bytes; the same columns in both tables.
_LEARNED = (
    "status",
    "reason",
    "pdq",
    "pdq_quality",
    "media_type",
    "width",
    "height",
    "frame_count",
    "duration_s",
    "anomalies",
    "outcome",
    "outcomes",
    "nsfw",
    "findings",
    "detectors",
    "rules_version",
)


def record(
    connection: Connection, results: Sequence[UploadResult], now: datetime, *, storage_id: int | None = None
) -> None:
    """Merge a batch of uploads into the ledger. ``storage_id`` is where the asking pict-rs has its files."""
    hashes = sorted({result.sha256 for result in results})
    before: dict[str, dict[str, Any]] = {}
    for chunk in chunks(hashes):
        query = select(uploads).where(uploads.c.sha256.in_(chunk))
        before.update((row.sha256, dict(row._mapping)) for row in connection.execute(query))  # noqa: SLF001 - its public name
    rows = dict(before)
    let_in: list[str] = []
    judgements = Judgements(connection, hashes, now)
    for told in results:
        result = _under_valid_flag(told, judgements)
        old = rows.get(result.sha256)
        new = _merged(old, result, now)
        if new is None:
            continue
        if result.answer is not None and storage_id is not None:
            new = {**new, "storage_id": storage_id}
        if _is_unchecked(new) and not (old is not None and _is_unchecked(old)):
            let_in.append(result.sha256)
        rows[result.sha256] = new
    known = _judged_in_a_storage(connection, [sha256 for sha256 in let_in if _is_unchecked(rows[sha256])])
    for sha256, learned in known.items():
        rows[sha256] = {**rows[sha256], **learned, "judged_at": now}
    _write(connection, before, rows)
    entries = [{"at": now, "sha256": sha256, "kind": EventKind.LET_IN, "detail": {}} for sha256 in let_in]
    if entries:
        connection.execute(events.insert(), entries)


def _under_valid_flag(result: UploadResult, judgements: Judgements) -> UploadResult:
    """The result, changed if a flag stands on its bytes and wins."""
    if result.assessment is None:
        return result
    flag = judgements.note(result.assessment, key=FROM_UPLOAD, looked=result.reused_from is None)
    return result if flag is None else replace(result, assessment=flag.laid_over(result.assessment))


def _merged(old: dict[str, Any] | None, result: UploadResult, now: datetime) -> dict[str, Any] | None:
    """The row after this result; None for a late judgement of bytes that were never asked about: they get no row."""
    at = result.at or now
    row = old
    if row is None:
        if result.answer is None:
            return None
        row = {
            **dict.fromkeys(uploads.c.keys()),
            **_described(result),
            "size": result.size,
            "answer": result.answer,
            "first_at": at,
            "last_at": at,
            "times": 0,
        }
    # An upload reported twice, as when a list is fetched twice, counts once.
    again = old is not None and result.at is not None and result.at <= row["last_at"]
    if result.answer is not None and not again:
        row = {
            **row,
            "first_at": min(row["first_at"], at),
            "last_at": max(row["last_at"], at),
            "times": row["times"] + 1,
            "storage_key": row["storage_key"] if result.storage_key is None else clean_text(result.storage_key),
        }
    assessment = result.assessment
    attempted = {name: _described(result)[name] for name in ("status", "reason")}
    if result.answer is None and attempted["status"] is ItemStatus.GONE and row["judged_at"] is None:
        return {**row, **attempted, "judged_at": now}
    if assessment is not None and _is_final(assessment):
        could_be_judged_once = row["outcome"] is not None and assessment.verdict is None
        learned = attempted if could_be_judged_once else _described(result)
        return {**row, **learned, "judged_at": now, "answer": result.answer or row["answer"]}
    final = row["judged_at"] is not None and row["status"] is not ItemStatus.GONE
    if result.answer is UploadAnswer.UNCHECKED and row["outcome"] is Outcome.FLAGGED:
        final = False  # the bytes are inside now, whatever the hook answered: a pass must find them
    if final or result.answer is None:
        return row
    if row["answer"] is UploadAnswer.UNCHECKED and result.answer is UploadAnswer.REFUSED:
        return row  # this attempt was refused, but the bytes of the one before are still inside
    return {**row, **attempted, "answer": result.answer, "judged_at": None}


def _is_final(assessment: Assessment) -> bool:
    """Whether the bytes were judged, or cannot be decoded."""
    return assessment.verdict is not None or assessment.status in UNDECODED


def _described(result: UploadResult) -> dict[str, Any]:
    """What a result says about the bytes; if nothing else is known, the media type is the sender's claim."""
    described: dict[str, Any] = {"sha256": result.sha256, "media_type": None}
    if result.assessment is None:
        described |= {**NO_VERDICT, "status": None, "reason": clean_text(result.reason)}
    else:
        described |= _learned(result.assessment)
    if described["media_type"] is None:
        described["media_type"] = clean_text(result.media_type)
    return described


def _learned(assessment: Assessment) -> dict[str, Any]:
    return {
        **content_columns(assessment),
        **verdict_columns(assessment),
        "status": assessment.status,
        "reason": clean_text(assessment.reason),
    }


def _is_unchecked(row: dict[str, Any]) -> bool:
    return row["answer"] is UploadAnswer.UNCHECKED and row["judged_at"] is None


def _judged_in_a_storage(connection: Connection, hashes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What passes already know about these bytes."""
    found: dict[str, dict[str, Any]] = {}
    for chunk in chunks(sorted(hashes)):
        query = (
            select(images)
            .where(
                images.c.sha256.in_(chunk),
                or_(images.c.outcome.is_not(None), images.c.status.in_(sorted(UNDECODED))),
            )
            .order_by(images.c.outcome.is_(None).desc(), images.c.checked_at, images.c.id)
        )
        for row in connection.execute(query):  # later rows overwrite earlier ones: the latest verdict stays
            found[row.sha256] = _learned_from(row)
    for sha256, stand in flags.still_valid(connection, found).items():
        found[sha256] |= flag_columns(stand[0])
    return found


def _learned_from(row: AnyRow) -> dict[str, Any]:
    learned = {name: getattr(row, name) for name in _LEARNED}
    return {**learned, "found_storage_id": row.storage_id, "found_key": row.key}


def _write(connection: Connection, before: dict[str, dict[str, Any]], rows: dict[str, dict[str, Any]]) -> None:
    new = [row for sha256, row in rows.items() if sha256 not in before]
    changed = [row for sha256, row in rows.items() if sha256 in before and row != before[sha256]]
    if new:
        connection.execute(uploads.insert(), new)
    if changed:
        names = sorted(set(uploads.c.keys()) - {"sha256"})
        connection.execute(
            uploads.update()
            .where(uploads.c.sha256 == bindparam("row_sha256"))
            .values({name: bindparam(f"new_{name}") for name in names}),
            [{"row_sha256": row["sha256"], **{f"new_{name}": row[name] for name in names}} for row in changed],
        )


def settle_unchecked(connection: Connection, storage_id: int, results: Sequence[ItemResult], now: datetime) -> None:
    """Remove bytes from the list that were accepted unchecked and are now judged."""
    judged = {
        result.assessment.sha256: result
        for result in results
        if result.assessment.sha256 is not None and _is_final(result.assessment)
    }
    for chunk in chunks(sorted(judged)):
        query = select(uploads.c.sha256).where(uploads.c.sha256.in_(chunk), IS_UNCHECKED)
        for sha256 in list(connection.execute(query).scalars()):
            result = judged[sha256]
            values = {
                **{name: value for name, value in _learned(result.assessment).items() if name in _LEARNED},
                "judged_at": now,
                "found_storage_id": storage_id,
                "found_key": result.obj.key,
            }
            connection.execute(uploads.update().where(uploads.c.sha256 == sha256).values(values))
