"""The schema's versions: where the migrations are, which version a database has, and how to reach the newest.

Only alembic makes or changes tables. Everything runs inside the caller's one transaction, so a process that is
killed in the middle leaves the database as it was.
"""

from __future__ import annotations

import functools
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

#: The columns of the legacy tool's one table; without our other tables next to it, it is that tool's.
_LEGACY_COLUMNS = {"id", "filename", "nsfw", "csam", "created"}

#: Tables in every version of our schema; a version table without them is another program's.
_OUR_TABLES = {"storages", "images", "events"}

#: Tables that belong to no program: SQLite's own and PostGIS's.
_NOBODYS_TABLES = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4", "spatial_ref_sys"}

# Alembic keeps the running migration in module globals, so two threads must not migrate at the same time.
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
    # Interpolation applies to this option, so a percent sign in the folder's name is doubled.
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    """:raises LedgerError: the folder cannot be read, which alembic would treat as an empty one."""
    folder = script_location() / "versions"
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise LedgerError(
            f"The database migrations in {folder} cannot be read: {error.strerror}.", hint="Install lemmy-safety again."
        ) from error
    return _read(script_location())


@functools.cache
def _read(folder: Path) -> ScriptDirectory:
    """Read once in a process: it imports each migration, and opening a database asks four times."""
    scripts = ScriptDirectory(str(folder))
    scripts.get_heads()  # reads now what alembic would read at the first question, in any thread
    return scripts


def newest() -> str:
    """The revision that this version of the program needs."""
    head = _scripts().get_current_head()
    if head is None:
        raise LedgerError("The database migrations are empty.", hint="Install lemmy-safety again.")
    return head


def present(connection: Connection) -> str | None:
    """A database's revision; None for an empty one and for a legacy one.

    Changes nothing. Parts of that revision may be missing; see ``wholeness``.

    :raises LedgerTooNew: made by a version of the program that we do not know.
    :raises LedgerDamaged: the tables are another program's, or do not state their revision.
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
    # A schema that we know may have lost some of them; if all are missing, its revision has our name by chance.
    if not (tables >= _OUR_TABLES if unknown else tables & _OUR_TABLES):
        raise LedgerDamaged("The database is kept by another program's migrations.")
    if unknown:
        raise LedgerTooNew(f"The database was made by a newer version (its schema is {', '.join(unknown)}).")
    return revisions[0]


def is_empty(connection: Connection) -> bool:
    """Whether the database contains nothing, ours or the legacy tool's."""
    return not set(inspect(connection).get_table_names()) - _NOBODYS_TABLES


def is_legacy(connection: Connection) -> bool:
    """Whether the table ``images`` is the legacy tool's."""
    return {column["name"] for column in inspect(connection).get_columns("images")} >= _LEGACY_COLUMNS


def room_needed(present: str | None) -> int:
    """How many times its size a database may grow on the disk during its upgrade, including the WAL.

    A migration that copies a large table says so in its constant ``ROOM``, measured on a million objects. Different
    migrations copy different tables, or use the room that the one before has freed.
    """
    scripts = _scripts().iterate_revisions("head", present or "base")
    return max((getattr(script.module, "ROOM", 0) for script in scripts), default=0)


def bring_to(connection: Connection, revision: str) -> None:
    """Create the schema or upgrade it to a revision, within the connection's transaction; see ``upgrade`` for rows."""
    with _alembic_lock:
        command.upgrade(_config(connection), revision)


def upgrade(connection: Connection) -> None:
    """Upgrade the database to the newest revision, within the connection's transaction from ``engine.upgrading``.

    :raises LedgerDamaged: rows refer to missing ones; the caller must keep nothing of the upgrade.
    """
    bring_to(connection, "head")
    if connection.dialect.name == "sqlite":
        lost = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(1)
        if lost:
            raise LedgerDamaged(f"Rows of the table {lost[0][0]} refer to rows of {lost[0][2]} that are not there.")
