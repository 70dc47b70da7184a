"""Translates database errors into ours, by code and never by wording. No message holds a password or a parameter."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy.exc
from alembic.util import CommandError

from lemmy_safety.errors import (
    LedgerDamaged,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    LedgerReadOnly,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.shortages import files_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Primary result codes, https://www.sqlite.org/rescode.html; the low byte of an extended one. Codes that are missing
#: here
#: (a mistake in SQL, a constraint, no memory) become plain ledger errors.
SQLITE_FAULTS: Mapping[int, type[LedgerError]] = {
    sqlite3.SQLITE_PERM: LedgerReadOnly,
    sqlite3.SQLITE_BUSY: LedgerLocked,
    sqlite3.SQLITE_LOCKED: LedgerLocked,
    sqlite3.SQLITE_PROTOCOL: LedgerLocked,  # the WAL's locks stayed contended through all retries
    sqlite3.SQLITE_READONLY: LedgerReadOnly,
    sqlite3.SQLITE_CORRUPT: LedgerDamaged,
    sqlite3.SQLITE_FULL: LedgerFull,
    sqlite3.SQLITE_CANTOPEN: LedgerReadOnly,  # the folder exists (checked before), so we may not write in it
    sqlite3.SQLITE_NOTADB: LedgerDamaged,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_FAULTS: Mapping[str, type[LedgerError]] = {
    "25006": LedgerReadOnly,  # read_only_sql_transaction: a standby
    "42501": LedgerReadOnly,  # insufficient_privilege
    "53100": LedgerFull,  # disk_full
    "40001": LedgerLocked,  # serialization_failure
    "40P01": LedgerLocked,  # deadlock_detected
    "55P03": LedgerLocked,  # lock_not_available: waited longer than lock_timeout
    "XX001": LedgerDamaged,  # data_corrupted
    "XX002": LedgerDamaged,  # index_corrupted
}

#: SQLite's message for a file that it cannot open, whatever the reason.
_CANNOT_OPEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}

#: undefined_table and undefined_column. SQLite has no separate code for them.
_NOT_THERE = {"42P01", "42703"}

_WORDS: Mapping[type[LedgerError], str] = {
    LedgerDamaged: "is not a database, or is damaged",
    LedgerFull: "cannot grow: the disk is full",
    LedgerLocked: "is held by another process",
    LedgerReadOnly: "cannot be written",
}

_SQLITE_HINTS: Mapping[int, str] = {
    sqlite3.SQLITE_ERROR: "If its schema is old, run 'lemmy-safety db upgrade'.",
    sqlite3.SQLITE_IOERR: (
        "Check the disk and the file system below the database; SQLite needs a local disk, not a network mount."
    ),
}

_RIGHTS_HINT = "Give the database user of DATABASE_URL all rights on its database, on a server that may be written."

_SERVER_HINT = "Check that the database server is up and that DATABASE_URL names its host, port, user and database."


@contextmanager
def translated(where: str, *, what_is_lost: Callable[[], LedgerError | None] = lambda: None) -> Iterator[None]:
    """Run a block; raise the database's errors as a ``LedgerError`` that names ``where``.

    ``what_is_lost`` is called if a table or column may be missing; the error that it returns replaces the original.

    :raises LedgerError: LedgerReplaced, LedgerLocked, LedgerReadOnly, LedgerFull, LedgerDamaged, or itself.
    """
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        raise _from_driver(error.orig, where, what_is_lost) from error
    except sqlite3.Error as error:
        raise _from_driver(error, where, what_is_lost) from error
    except (sqlalchemy.exc.SQLAlchemyError, CommandError) as error:
        raise LedgerError(f"The database {where} failed: {type(error).__name__}.") from error


def _from_driver(
    error: BaseException | None, where: str, what_is_lost: Callable[[], LedgerError | None]
) -> LedgerError:
    state, primary = getattr(error, "sqlstate", None), None
    if isinstance(error, sqlite3.Error):
        # 3.11 sets no code on errors of the module itself, such as a closed connection.
        primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        kind = SQLITE_FAULTS.get(primary, LedgerError)
        hint = _SQLITE_HINTS.get(primary)
        may_be_lost = primary == sqlite3.SQLITE_ERROR
    else:
        kind = _POSTGRES_FAULTS.get(state or "", LedgerError)
        # No SQLSTATE: the server was never reached. Classes 08, 28, 3D, 57: connection, login, no such database, shut
        # down.
        hint = _server_hint(kind, unreached=state is None or state[:2] in {"08", "28", "3D", "57"})
        may_be_lost = state in _NOT_THERE
    if primary in _CANNOT_OPEN and (short := files_shortage()) is not None:
        return LedgerError(f"The database {where} cannot be opened: {short[0].lower()}.", hint=short[1])
    if may_be_lost and (lost := what_is_lost()) is not None:
        return lost
    said = " ".join(foreign(error).split())
    return kind(f"The database {where} {_WORDS.get(kind, 'failed')} ({said}).", hint=hint)


def _server_hint(kind: type[LedgerError], *, unreached: bool) -> str | None:
    if kind is LedgerReadOnly:
        return _RIGHTS_HINT
    return _SERVER_HINT if unreached else None
