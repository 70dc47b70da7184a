"""Look-ups in pict-rs's database: which picture a key or an alias belongs to, and everything that belongs to it.

Source of tables and encodings: pict-rs src/repo/postgres/migrations, V0000 to V0015;
``tests/e2e/test_pictrs_pictures.py`` runs them on databases that real servers filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from lemmy_safety.pictrs.hashes import StoredHash

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

_BY_KEYS: Final = text(
    "SELECT hash, identifier AS key, 'original' AS part FROM hashes WHERE identifier = ANY(:keys)"
    " UNION ALL SELECT hash, motion_identifier, 'motion' FROM hashes WHERE motion_identifier = ANY(:keys)"
    # No index: one read of the whole table, whatever the number of keys.
    " UNION ALL SELECT hash, identifier, 'variant ' || variant FROM variants WHERE identifier = ANY(:keys)"
)
_VARIANTS_AMONG: Final = text(
    # No index: joined to the keys, the table is read once for all of them by every version of PostgreSQL.
    "SELECT v.identifier AS key, v.variant, v.hash"
    " FROM unnest(CAST(:keys AS text[])) AS k(key) JOIN variants v ON v.identifier = k.key"
)
_NO_VARIANTS: Final = text(
    "SELECT identifier FROM hashes WHERE identifier = ANY(:keys)"
    " UNION ALL SELECT motion_identifier FROM hashes WHERE motion_identifier = ANY(:keys)"
)
_KEYS_OF: Final = text("SELECT hash, identifier FROM hashes WHERE hash = ANY(:hashes)")
_BY_ALIAS: Final = text("SELECT hash FROM aliases WHERE alias = :alias")

_ROWS: Final = text("SELECT hash, identifier, motion_identifier, created_at FROM hashes WHERE hash = ANY(:hashes)")
_ALIASES: Final = text(
    "SELECT a.hash, a.alias, p.url FROM aliases a LEFT JOIN proxies p ON p.alias = a.alias"
    " WHERE a.hash = ANY(:hashes) ORDER BY a.alias"
)
_VARIANTS: Final = text("SELECT hash, variant, identifier FROM variants WHERE hash = ANY(:hashes) ORDER BY variant")

_ORIGINALS: Final = text(
    "SELECT hash, identifier, (SELECT min(a.alias) FROM aliases a WHERE a.hash = hashes.hash) AS alias"
    " FROM hashes WHERE hash > :after ORDER BY hash LIMIT :most"
)
#: Rows of one look-up; each costs a look-up of its alias.
_PAGE: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """What a key is: ``original``, ``motion`` (the still of a moving picture), or ``variant`` and its operation."""

    hash: StoredHash
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """A variant: the operation that made it, its original's key, and the hash of that."""

    operation: str
    original: str
    hash: StoredHash


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasRow:
    """An alias, and the URL that it is a copy of if it was proxied."""

    alias: str
    origin_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRow:
    """Everything that pict-rs has about some bytes. ``variants``: their keys, by operation."""

    hash: StoredHash
    original: str
    motion: str | None
    created_at: datetime
    aliases: tuple[AliasRow, ...]
    variants: dict[str, str]


class OriginalRow(NamedTuple):
    """A picture with one of its aliases."""

    hash: StoredHash
    original: str
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalsPage:
    """Pictures without any alias are missing: pict-rs removes them itself. ``last``: where to go on, None at the end."""

    rows: tuple[OriginalRow, ...]
    last: str | None


def originals_after(connection: Connection, after: str) -> OriginalsPage:
    """The next pictures in the order of their hashes, as PostgreSQL has it; the first ones after an empty text."""
    found = connection.execute(_ORIGINALS, {"after": after, "most": _PAGE}).all()
    rows = (OriginalRow(StoredHash.from_base64(row.hash), row.identifier, row.alias) for row in found if row.alias)
    return OriginalsPage(rows=tuple(rows), last=found[-1].hash if found else None)


def parts_of(connection: Connection, keys: Collection[str]) -> dict[str, KeyRow]:
    """By key; keys that pict-rs does not know are missing."""
    rows = connection.execute(_BY_KEYS, {"keys": list(keys)})
    return {row.key: KeyRow(hash=StoredHash.from_base64(row.hash), part=row.part) for row in rows}


def variants_among(connection: Connection, keys: Collection[str]) -> dict[str, list[VariantRow]]:
    """The variants among these keys, by key: one row each, unless the database contradicts itself.

    A key that is an original or a motion still as well is missing.
    """
    rows = connection.execute(_VARIANTS_AMONG, {"keys": list(keys)}).all()
    if not rows:
        return {}
    # Statements of their own: in one, the server may read all hashes for a few of them.
    others = set(connection.execute(_NO_VARIANTS, {"keys": [row.key for row in rows]}).scalars())
    hashes = connection.execute(_KEYS_OF, {"hashes": sorted({row.hash for row in rows})})
    originals = {row.hash: row.identifier for row in hashes}
    found: dict[str, list[VariantRow]] = {}
    for row in rows:
        if row.key not in others and row.hash in originals:
            stored = StoredHash.from_base64(row.hash)
            found.setdefault(row.key, []).append(
                VariantRow(operation=row.variant, original=originals[row.hash], hash=stored)
            )
    return found


def hash_of_alias(connection: Connection, alias: str) -> StoredHash | None:
    row = connection.execute(_BY_ALIAS, {"alias": alias}).one_or_none()
    return None if row is None else StoredHash.from_base64(row.hash)


def pictures(connection: Connection, hashes: Collection[StoredHash]) -> dict[StoredHash, PictureRow]:
    """By hash; those that are gone meanwhile are missing."""
    given = {"hashes": [each.base64 for each in hashes]}
    aliases: dict[str, list[AliasRow]] = {}
    for row in connection.execute(_ALIASES, given):
        aliases.setdefault(row.hash, []).append(AliasRow(alias=row.alias, origin_url=row.url))
    variants: dict[str, dict[str, str]] = {}
    for row in connection.execute(_VARIANTS, given):
        variants.setdefault(row.hash, {})[row.variant] = row.identifier
    found = {}
    for row in connection.execute(_ROWS, given):
        stored = StoredHash.from_base64(row.hash)
        found[stored] = PictureRow(
            hash=stored,
            original=row.identifier,
            motion=row.motion_identifier,
            created_at=row.created_at.replace(tzinfo=UTC),
            aliases=tuple(aliases.get(row.hash, ())),
            variants=variants.get(row.hash, {}),
        )
    return found
