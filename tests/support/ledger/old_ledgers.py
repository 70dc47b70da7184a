"""Databases as earlier versions of the program left them: schemas of earlier revisions, and rows in them."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from alembic.script import ScriptDirectory
from sqlalchemy import JSON, MetaData, Table, inspect

from lemmy_safety.ledger.database.engine import make_engine, upgrading, use_wal
from lemmy_safety.ledger.database.urls import parse_url
from lemmy_safety.ledger.schema import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

#: For columns that must have a value and are not given one.
_NEUTRAL = {str: "", bytes: b"", bool: False, int: 1, float: 0.0, datetime: datetime(2026, 1, 2, tzinfo=UTC)}


def revisions() -> list[str]:
    """All revisions of the schema, from the first to the newest."""
    script = ScriptDirectory(str(migrations.script_location()))
    return [one.revision for one in script.walk_revisions()][::-1]


@contextmanager
def old_ledger(url: str, revision: str) -> Iterator[Connection]:
    """Make the schema of that revision in an empty database; the transaction to write rows in."""
    engine = make_engine(parse_url(url))
    with upgrading(engine) as connection:
        migrations.bring_to(connection, revision)
        yield connection
    use_wal(engine)
    engine.dispose()


def insert(connection: Connection, table: str, **values: Any) -> None:
    """Insert a row by the table's own columns; required ones that are not given get a neutral value."""
    reflected = Table(table, MetaData(), autoload_with=connection)
    for column in reflected.columns:
        if not column.nullable and column.name not in values and column.name != "id":
            assert not isinstance(column.type, JSON)
            values[column.name] = _NEUTRAL[column.type.python_type]
    connection.execute(reflected.insert().values(**values))


def insert_object(connection: Connection, **values: Any) -> None:
    """Insert a row of ``images`` that was found clear and not acted on, unless told otherwise."""
    states = {"status": "checked", "outcome": "clear", "origin": "scan", "review": "none", "detectors": "clip,hashes"}
    if "action_state" in {column["name"] for column in inspect(connection).get_columns("images")}:
        states["action_state"] = "none"  # before there was a table of actions
    insert(connection, "images", **{**states, **values})
