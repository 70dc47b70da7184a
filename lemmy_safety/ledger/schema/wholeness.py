"""Checks whether a database has the tables and columns of its schema's version.

It compares only what statements need, so it does not check indexes, types and rows.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReplaced
from lemmy_safety.ledger.database.backup import copies_of
from lemmy_safety.ledger.database.urls import sqlite_file
from lemmy_safety.ledger.schema import migrations
from lemmy_safety.ledger.schema.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Connection, Engine

#: A message names at most this many missing parts.
_NAMED = 5


def check_whole(connection: Connection, revision: str, *, where: str) -> None:
    """Check that the tables and columns of ``revision`` exist.

    :raises LedgerDamaged: some are missing.
    """
    lost = _lost(_columns(connection), revision)
    if lost:
        raise _damaged(lost, revision, where, sqlite_file(connection.engine.url))


def what_is_lost(engine: Engine, *, where: str) -> LedgerError | None:
    """What a database at the newest schema has lost, if that is why a statement failed; None if it is not."""
    revision = migrations.newest()
    try:
        with engine.connect() as connection:
            present = _columns(connection)
    except SQLAlchemyError:
        return None
    lost = _lost(present, revision)
    if not lost:
        return None
    if not present:
        return LedgerReplaced(f"The database {where} was emptied or replaced while it was in use: it has no tables.")
    return _damaged(lost, revision, where, sqlite_file(engine.url))


def _damaged(lost: list[str], revision: str, where: str, file: Path | None) -> LedgerDamaged:
    more = f", and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return LedgerDamaged(
        f"The database {where} is damaged: it is at schema {revision} and has no {', no '.join(lost[:_NAMED])}{more}.",
        hint=_how_to_restore(file),
    )


def _how_to_restore(file: Path | None) -> str:
    copy = None if file is None else next(filter(_is_whole, copies_of(file)), None)
    back = "put back a backup, or begin with a new database" if copy is None else f"put back its copy {copy}"
    return f'Stop everything that uses it, and {back} ("A damaged database" in docs/upgrading.md).'


def _is_whole(copy: Path) -> bool:
    """A backup may come from a database that was already damaged."""
    # Nothing writes to a copy, and opening it this way creates no file next to it.
    read_only = f"{copy.absolute().as_uri()}?immutable=1"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(read_only, uri=True))
    try:
        with engine.connect() as connection:
            revision = migrations.present(connection)
            return revision is not None and not _lost(_columns(connection), revision)
    except (SQLAlchemyError, sqlite3.Error, LedgerError):
        return False
    finally:
        engine.dispose()


def _lost(present: Mapping[str, set[str]], revision: str) -> list[str]:
    lost = []
    for table, columns in sorted(_expected(revision).items()):
        if table not in present:
            lost.append(f"table {table}")
        else:
            lost += [f"column {table}.{name}" for name in sorted(columns - present[table])]
    return lost


def _expected(revision: str) -> dict[str, set[str]]:
    if revision == migrations.newest():
        ours = {table.name: set(table.columns.keys()) for table in metadata.sorted_tables}
        return {**ours, "alembic_version": {"version_num"}}
    # The schema that the migrations create in an empty database, in memory: about 0.06 s.
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.begin() as connection:
            migrations.bring_to(connection, revision)
            return _columns(connection)
    finally:
        engine.dispose()


def _columns(connection: Connection) -> dict[str, set[str]]:
    found = inspect(connection).get_multi_columns()
    return {table: {column["name"] for column in columns} for (_, table), columns in found.items()}
