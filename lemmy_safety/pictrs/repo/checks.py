"""Whether this is pict-rs's database in a version that is known, and what the role may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from lemmy_safety.errors import PictrsLoginRefused, PictrsTablesUnknown
from lemmy_safety.pictrs.repo.database import READER_HINT

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

#: Of pict-rs 0.5.11 to 0.5.25, and of 0.6.0-rc.5 on.
KNOWN_VERSIONS: Final = (14, 15)

_HISTORY: Final = "refinery_schema_history"

#: What the look-ups and this check use.
_COLUMNS: Final = {
    "hashes": {"hash", "identifier", "motion_identifier", "created_at"},
    "aliases": {"alias", "hash"},
    "variants": {"hash", "variant", "identifier"},
    "proxies": {"url", "alias"},
    _HISTORY: {"version"},
}

_VERSION = text(f"SELECT max(version) FROM {_HISTORY}")  # noqa: S608 - the name above
# Not information_schema, which shows only what the role may use.
_PRESENT = text(
    "SELECT c.relname, a.attname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = ANY(current_schemas(false)) AND c.relname = ANY(:tables) AND a.attnum > 0"
)
_MAY_NOT_READ = text(
    "SELECT t FROM unnest(CAST(:tables AS text[])) AS t WHERE NOT has_table_privilege(t, 'SELECT') ORDER BY t"
)
_MAY_WRITE = text(
    "SELECT t FROM unnest(CAST(:tables AS text[])) AS t"
    " WHERE has_table_privilege(t, 'INSERT') OR has_table_privilege(t, 'UPDATE')"
    " OR has_table_privilege(t, 'DELETE') OR has_table_privilege(t, 'TRUNCATE')"
)


def check_tables(connection: Connection) -> int:
    """The schema's version.

    :raises PictrsLoginRefused: the role may not read a table.
    :raises PictrsTablesUnknown: it is not one of ``KNOWN_VERSIONS``, or something that is needed is missing.
    """
    there: dict[str, set[str]] = {}
    for row in connection.execute(_PRESENT, {"tables": list(_COLUMNS)}):
        there.setdefault(row.relname, set()).add(row.attname)
    missing = sorted(
        f"{table}.{column}" for table, columns in _COLUMNS.items() for column in columns - there.get(table, set())
    )
    if missing:
        raise PictrsTablesUnknown(f"pict-rs's database lacks {', '.join(missing)}.")
    hidden = connection.execute(_MAY_NOT_READ, {"tables": list(_COLUMNS)}).scalars().all()
    if hidden:
        raise PictrsLoginRefused(f"The role may not read pict-rs's tables {', '.join(hidden)}.", hint=READER_HINT)
    version = connection.execute(_VERSION).scalar_one()
    if version not in KNOWN_VERSIONS:
        known = " and ".join(map(str, KNOWN_VERSIONS))
        raise PictrsTablesUnknown(f"pict-rs's database has schema {version}, and {known} are known.")
    return int(version)


def writable_tables(connection: Connection) -> list[str]:
    """The tables of pict-rs that this role may change although it never needs to."""
    return sorted(connection.execute(_MAY_WRITE, {"tables": list(_COLUMNS)}).scalars())
