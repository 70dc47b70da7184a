"""Asking about uploads; each function asks on a connection that the caller holds. The reasons are in ``uploads.py``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from lemmy_safety.ledger.codec import info_of, pdq_of, verdict_of
from lemmy_safety.ledger.models import IS_UNCHECKED, storages, uploads
from lemmy_safety.ledger.pieces import chunks
from lemmy_safety.ledger.rows import UploadAnswer, UploadRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.codec import AnyRow
    from lemmy_safety.records import StoredObject

#: Rows of ``unchecked_uploads()`` read at a time.
PAGE = 500

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


def unchecked_among(connection: Connection, objects: Sequence[StoredObject]) -> frozenset[str]:
    found: set[str] = set()
    for chunk in chunks(objects):
        query = select(uploads.c.size).where(IS_UNCHECKED, uploads.c.size.in_({obj.size for obj in chunk}))
        sizes = set(connection.execute(query).scalars())
        found.update(obj.key for obj in chunk if obj.size in sizes)
    return frozenset(found)


def _upload_row_of(row: AnyRow) -> UploadRow:
    return UploadRow(
        sha256=row.sha256,
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
