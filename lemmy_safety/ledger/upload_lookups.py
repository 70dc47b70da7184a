"""Asking about uploads; each function asks on a connection that the caller holds. The reasons are in ``uploads.py``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from lemmy_safety.ledger import flags
from lemmy_safety.ledger.codec import info_of, known_verdict_of, pdq_of, verdict_of
from lemmy_safety.ledger.lookups import storage_id_of
from lemmy_safety.ledger.models import IS_UNCHECKED, images, reviews, storages, uploads
from lemmy_safety.ledger.pieces import chunks
from lemmy_safety.ledger.rows import (
    FROM_UPLOAD_UNREAD,
    KnownVerdict,
    UploadAnswer,
    UploadMatches,
    UploadRow,
)
from lemmy_safety.records import Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.codec import AnyRow
    from lemmy_safety.records import StoredObject

#: Rows of ``unchecked_uploads()`` read at a time.
PAGE = 500

#: Between storing an object and the answer about it lie seconds (pict-rs gives up after 30 by default); the rest is for
#: clocks that differ. Where they differ by more, objects are read.
_STORED_AROUND = timedelta(minutes=5)

_MD5 = re.compile(r"[0-9a-f]{32}")

#: Digits of a SHA-256. Logs show the first 16, in whole bytes as the column has them.
_DIGITS = 64
_HASH_START = re.compile(r"([0-9a-f]{2}){8,32}")

_FULL_ROW = select(uploads, storages.c.name.label("storage")).join(
    storages, uploads.c.found_storage_id == storages.c.id, isouter=True
)


def upload(connection: Connection, sha256: str) -> UploadRow | None:
    row = connection.execute(_FULL_ROW.where(uploads.c.sha256 == sha256)).one_or_none()
    return None if row is None else _upload_row_of(row)


def uploads_named(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of uploads that are named by it, or by its first digits if those are one upload's only."""
    found: dict[str, str] = {}
    for name in names:
        if not _HASH_START.fullmatch(name):
            continue
        first, last = name.ljust(_DIGITS, "0"), name.ljust(_DIGITS, "f")
        query = select(uploads.c.sha256).where(uploads.c.sha256.between(first, last)).limit(2)
        hashes = list(connection.execute(query).scalars())
        if len(hashes) == 1:
            found[name] = hashes[0]
    return found


def unchecked_page(connection: Connection, after: tuple[datetime, str] | None) -> list[UploadRow]:
    query = _FULL_ROW.where(IS_UNCHECKED).order_by(uploads.c.first_at, uploads.c.sha256).limit(PAGE)
    if after is not None:
        at, sha256 = after
        query = query.where(
            or_(uploads.c.first_at > at, and_(uploads.c.first_at == at, uploads.c.sha256 > sha256)),
        )
    return [_upload_row_of(row) for row in connection.execute(query)]


def unchecked_since(connection: Connection) -> datetime | None:
    query = select(uploads.c.first_at).where(IS_UNCHECKED).order_by(uploads.c.first_at).limit(1)
    return connection.execute(query).scalar_one_or_none()


def count_unchecked(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(uploads).where(IS_UNCHECKED)).scalar_one()


def has_any(connection: Connection) -> bool:
    return connection.execute(select(uploads.c.sha256).limit(1)).first() is not None


def count_by_answer(connection: Connection) -> dict[UploadAnswer, int]:
    query = select(uploads.c.answer, func.count()).group_by(uploads.c.answer)
    return {row.answer: row[1] for row in connection.execute(query)}


def is_judged_by(row: AnyRow, detectors: frozenset[str], rules_version: str | None) -> bool:
    """Whether an upload has a verdict by at least these detectors, and by these rules where they are given."""
    return (
        row.outcome is not None
        and detectors <= row.detectors
        and (rules_version is None or row.rules_version == rules_version)
    )


def _reviews(connection: Connection, hashes: Sequence[str]) -> dict[str, Review]:
    query = select(reviews.c.sha256, reviews.c.review).where(reviews.c.sha256.in_(hashes))
    return {row.sha256: row.review for row in connection.execute(query)}


def matching(
    connection: Connection,
    storage: str,
    objects: Sequence[StoredObject],
    *,
    detectors: frozenset[str],
    rules_version: str | None,
) -> UploadMatches:
    verdicts: dict[str, KnownVerdict] = {}
    unchecked: set[str] = set()
    for chunk in chunks(objects):
        sizes = set(
            connection.execute(
                select(uploads.c.size).where(IS_UNCHECKED, uploads.c.size.in_({obj.size for obj in chunk}))
            ).scalars()
        )
        unchecked.update(obj.key for obj in chunk if obj.size in sizes)
        if rules_version is not None:
            verdicts.update(
                _taken_over(connection, storage, chunk, verdicts, detectors=detectors, rules_version=rules_version)
            )
    return UploadMatches(verdicts=verdicts, unchecked=frozenset(unchecked))


def _taken_over(
    connection: Connection,
    storage: str,
    objects: Sequence[StoredObject],
    earlier: Mapping[str, KnownVerdict],
    *,
    detectors: frozenset[str],
    rules_version: str,
) -> dict[str, KnownVerdict]:
    """Verdicts on objects that need not be read; ``earlier`` are those of the same question's earlier pieces."""
    tagged = [obj for obj in objects if obj.etag is not None and _MD5.fullmatch(obj.etag)]
    if not tagged:
        return {}
    by_md5: dict[str, list[AnyRow]] = {}
    for found_row in connection.execute(select(uploads).where(uploads.c.md5.in_({obj.etag for obj in tagged}))):
        by_md5.setdefault(found_row.md5, []).append(found_row)
    usable = {
        md5: rows[0]
        for md5, rows in by_md5.items()
        if len(rows) == 1
        and rows[0].answer is UploadAnswer.ACCEPTED
        and rows[0].outcome in (Outcome.CLEAR, Outcome.BORDERLINE)
        and is_judged_by(rows[0], detectors, rules_version)
    }
    if not usable:
        return {}
    flagged = flags.standing(connection, [row.sha256 for row in usable.values()])
    usable = {md5: row for md5, row in usable.items() if row.sha256 not in flagged}
    hashes = [row.sha256 for row in usable.values()]
    seen = _keys_seen(connection, storage, [obj.key for obj in tagged if obj.etag in usable])
    stand_for = _keys_taken_over(connection, hashes)
    for key, verdict in earlier.items():
        stand_for.setdefault(verdict.sha256, set()).add(key)
    decided = _reviews(connection, hashes)
    found: dict[str, KnownVerdict] = {}
    for obj in tagged:
        row = usable.get(obj.etag or "")
        if row is None or obj.key in seen or row.size != obj.size or not _stored_around(obj, row):
            continue
        keys = stand_for.setdefault(row.sha256, set())
        if len(keys) >= row.times:
            continue
        keys.add(obj.key)
        found[obj.key] = known_verdict_of(row, key=FROM_UPLOAD_UNREAD, review=decided.get(row.sha256, Review.NONE))
    return found


def _stored_around(obj: StoredObject, row: AnyRow) -> bool:
    return any(abs(obj.modified_at - at) <= _STORED_AROUND for at in (row.first_at, row.last_at))


def _keys_seen(connection: Connection, storage: str, keys: Sequence[str]) -> set[str]:
    """Those that have a row: whatever is in it (it failed, it changed, it was deleted once), it is a reason to read."""
    query = select(images.c.key).where(
        images.c.storage_id == storage_id_of(connection, storage), images.c.key.in_(keys)
    )
    return set(connection.execute(query).scalars())


def _keys_taken_over(connection: Connection, hashes: Sequence[str]) -> dict[str, set[str]]:
    query = select(images.c.sha256, images.c.key).where(
        images.c.sha256.in_(hashes), images.c.reused_from == FROM_UPLOAD_UNREAD
    )
    keys: dict[str, set[str]] = {}
    for sha256, key in connection.execute(query):
        keys.setdefault(sha256, set()).add(key)
    return keys


def _upload_row_of(row: AnyRow) -> UploadRow:
    return UploadRow(
        sha256=row.sha256,
        md5=row.md5,
        size=row.size,
        media_type=row.media_type,
        answer=row.answer,
        status=row.status,
        reason=row.reason,
        judged_at=row.judged_at,
        verdict=verdict_of(row),
        detectors=row.detectors,
        pdq=pdq_of(row),
        info=info_of(row),
        first_at=row.first_at,
        last_at=row.last_at,
        times=row.times,
        found_storage=row.storage,
        found_key=row.found_key,
        storage_key=row.storage_key,
    )
