"""The schema's versions: where the migrations lie, what a database holds, and how it gets to the newest one.

Only alembic makes or changes tables. Everything runs inside the caller's one transaction, so that a process that is
killed in the middle leaves the database as it was.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from alembic import command
from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerTooNew

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

#: The columns of the one table that the legacy tool makes; without our other tables beside it, it is that tool's.
_LEGACY_COLUMNS = {"id", "filename", "nsfw", "csam", "created"}

#: Tables that every version of our schema has; a version table without them is another program's.
_OUR_TABLES = {"storages", "images", "events"}

#: What lies in databases without belonging to a program: SQLite's own tables and PostGIS's.
_NOBODYS_TABLES = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4", "spatial_ref_sys"}

# Alembic keeps the migration that is running in module globals, so two threads must not migrate at the same time.
_alembic_lock = threading.Lock()


def script_location(package: Path | None = None) -> Path:
    """The folder with the migrations: inside the installed package ``ledger``, else at the top of a source tree.

    :raises LedgerError: neither exists, so the installation is broken.
    """
    package = Path(__file__).parents[1] if package is None else package
    for folder in (package / "alembic", package.parent.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise LedgerError(
        f"The database migrations are missing from {package}.",
        hint="Install lemmy-safety again from a complete package.",
    )


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # The option is read with interpolation, so a percent sign in the folder's name is doubled.
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    """:raises LedgerError: the folder cannot be read, which alembic takes for an empty one."""
    folder = script_location() / "versions"
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise LedgerError(
            f"The database migrations in {folder} cannot be read: {error.strerror}.", hint="Install lemmy-safety again."
        ) from error
    return ScriptDirectory.from_config(_config())


def newest() -> str:
    """The revision that this version of the program needs."""
    head = _scripts().get_current_head()
    if head is None:
        raise LedgerError("The database migrations are empty.", hint="Install lemmy-safety again.")
    return head


def present(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one and for a legacy one.

    Changes nothing. What belongs to the revision may be missing; see ``wholeness``.

    :raises LedgerTooNew: made by a version of the program that we do not know.
    :raises LedgerDamaged: the tables are another program's, or do not say their revision.
    """
    tables = set(inspect(connection).get_table_names()) - _NOBODYS_TABLES
    revisions = MigrationContext.configure(connection).get_current_heads()
    if not revisions:
        foreign = tables - {"alembic_version"}
        if not foreign or (foreign == {"images"} and is_legacy(connection)):
            return None
        if foreign >= _OUR_TABLES:
            raise LedgerDamaged(
                "The database is damaged: the table alembic_version, which names its schema, is missing or empty.",
                hint='Stop everything that uses it, and put back a copy ("A damaged database" in docs/upgrading.md).',
            )
        raise LedgerDamaged(f"The database holds another program's tables ({', '.join(sorted(foreign)[:5])}).")
    known = {script.revision for script in _scripts().walk_revisions()}
    unknown = sorted(set(revisions) - known)
    # Of a schema that we know some of them may be lost; without any of them the names of its revisions are alike by chance.
    if not (tables >= _OUR_TABLES if unknown else tables & _OUR_TABLES):
        raise LedgerDamaged("The database is kept by another program's migrations.")
    if unknown:
        raise LedgerTooNew(f"The database was made by a newer version (its schema is {', '.join(unknown)}).")
    return revisions[0]


def is_empty(connection: Connection) -> bool:
    """Whether nothing is in the database, ours or the legacy tool's."""
    return not set(inspect(connection).get_table_names()) - _NOBODYS_TABLES


def is_legacy(connection: Connection) -> bool:
    """Whether the table ``images`` is the one of the legacy tool."""
    return {column["name"] for column in inspect(connection).get_columns("images")} >= _LEGACY_COLUMNS


def room_needed(present: str | None) -> int:
    """How many times its size a database may grow on the disk while it is upgraded, WAL included.

    A migration that copies a large table says so in its constant ``ROOM``, as measured on a million objects. Different
    migrations copy different tables, or use the room that the one before has freed.
    """
    scripts = _scripts().iterate_revisions("head", present or "base")
    return max((getattr(script.module, "ROOM", 0) for script in scripts), default=0)


def bring_to(connection: Connection, revision: str) -> None:
    """Make or upgrade the schema to a revision, within the connection's transaction; see ``upgrade`` for rows."""
    with _alembic_lock:
        command.upgrade(_config(connection), revision)


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest revision, within the connection's transaction, which is of ``engine.upgrading``.

    :raises LedgerDamaged: rows refer to others that are not there; nothing of the upgrade may be kept.
    """
    bring_to(connection, "head")
    if connection.dialect.name == "sqlite":
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(1)
        if lost:
            raise LedgerDamaged(f"Rows of the table {lost[0][0]} refer to rows of {lost[0][2]} that are not there.")
