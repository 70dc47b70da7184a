"""Whether this is pict-rs's database in a version that is known, and what the role may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from lemmy_safety.errors import PictrsTablesUnknown

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

#: Of pict-rs 0.5.11 to 0.5.25, and of 0.6.0-rc.5 on.
KNOWN_VERSIONS: Final = (14, 15)

#: What the look-ups use.
_COLUMNS: Final = {
    "hashes": {"hash", "identifier", "motion_identifier", "created_at"},
    "aliases": {"alias", "hash"},
    "variants": {"hash", "variant", "identifier"},
    "proxies": {"url", "alias"},
}

_VERSION = text("SELECT max(version) FROM refinery_schema_history")
_PRESENT = text(
    "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = ANY(current_schemas(false)) AND table_name = ANY(:tables)"
)
_MAY_WRITE = text(
    "SELECT t FROM unnest(CAST(:tables AS text[])) AS t"
    " WHERE has_table_privilege(t, 'INSERT') OR has_table_privilege(t, 'UPDATE')"
    " OR has_table_privilege(t, 'DELETE') OR has_table_privilege(t, 'TRUNCATE')"
)


def check_tables(connection: Connection) -> int:
    """The schema's version.

    :raises PictrsTablesUnknown: it is not one of ``KNOWN_VERSIONS``, or something that is needed is missing.
    """
    there: dict[str, set[str]] = {}
    for row in connection.execute(_PRESENT, {"tables": list(_COLUMNS)}):
        there.setdefault(row.table_name, set()).add(row.column_name)
    missing = sorted(
        f"{table}.{column}" for table, columns in _COLUMNS.items() for column in columns - there.get(table, set())
    )
    if missing:
        raise PictrsTablesUnknown(f"pict-rs's database lacks {', '.join(missing)}.")
    version = connection.execute(_VERSION).scalar_one()
    if version not in KNOWN_VERSIONS:
        known = " and ".join(map(str, KNOWN_VERSIONS))
        raise PictrsTablesUnknown(f"pict-rs's database has schema {version}, and {known} are known.")
    return int(version)


def writable_tables(connection: Connection) -> list[str]:
    """The tables of pict-rs that this role may change although it never needs to."""
    return sorted(connection.execute(_MAY_WRITE, {"tables": list(_COLUMNS)}).scalars())
