"""Queries about uploads that other stores make on their own connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from lemmy_safety.ledger.schema.conditions import IS_UNCHECKED
from lemmy_safety.ledger.schema.tables import uploads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.values import UploadAnswer

#: Digits of a SHA-256. Logs show the first 16, which are whole bytes, as in the column.
_DIGITS = 64
_HASH_START = re.compile(r"([0-9a-f]{2}){8,32}")


def uploads_named(connection: Connection, names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each upload named by its hash, or by its first digits if they match only one upload."""
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


def count_unchecked(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(uploads).where(IS_UNCHECKED)).scalar_one()


def count_by_answer(connection: Connection) -> dict[UploadAnswer, int]:
    query = select(uploads.c.answer, func.count()).group_by(uploads.c.answer)
    return {row.answer: row[1] for row in connection.execute(query)}
