"""Rows of pictures in pict-rs's own tables, for stores that would take pict-rs too long to fill itself."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from lemmy_safety.pictrs.hashes import StoredHash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The last byte of a hash: what pict-rs calls the format.
PNG, GIF, MP4 = 7, 2, 9


def stored_hash(data: bytes, kind: int = PNG) -> str:
    """As ``hashes.hash`` has it."""
    return StoredHash(hashlib.sha256(data).digest() + len(data).to_bytes(6, "big") + bytes([kind])).base64


def insert_pictures(
    url: str,
    originals: Mapping[str, str],
    variants: Iterable[tuple[str, str, str]] = (),
    motions: Mapping[str, str] | None = None,
) -> None:
    """``originals`` and ``motions`` are hashes by key, ``variants`` are hash, operation and key."""
    import psycopg  # noqa: PLC0415

    of = {stored: key for key, stored in (motions or {}).items()}
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO hashes (hash, identifier, motion_identifier) VALUES (%s, %s, %s)",
            [(stored, key, of.get(stored)) for key, stored in originals.items()],
        )
        cursor.executemany(
            "INSERT INTO variants (id, hash, variant, identifier, accessed) VALUES (%s, %s, %s, %s, now())",
            [(uuid.uuid4(), *row) for row in variants],
        )
