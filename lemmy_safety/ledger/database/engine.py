"""How the ledger connects: one engine for any number of reading threads and one writing thread at a time.

This module knows no tables. The choices for SQLite:

- WAL, so that readers (``flagged``, a second process) and the writer never wait for each other.
- ``synchronous=FULL``: in WAL mode NORMAL does not sync on commit, so a power cut could undo an intent whose action
  was already carried out, and the ledger would not know of it. FULL syncs once a commit, which grouped commits make
  cheap. ``fullfsync`` makes it true on macOS, where a plain fsync stops at the drive's cache.
- We begin transactions ourselves: Python's driver begins none for DDL and begins late for the rest. A migration must be
  all or nothing, and a writer takes the lock at once (BEGIN IMMEDIATE) instead of failing halfway.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from lemmy_safety.errors import LedgerError, SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.ledger.database.private_file import make_private
from lemmy_safety.ledger.database.urls import is_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL
    from sqlalchemy.engine import Connection, Dialect, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

#: Seconds to wait for another writer. A commit of 500 rows takes well under one; a migration of a large legacy
#: database takes several.
BUSY_TIMEOUT_S = 10.0

#: The page cache of each SQLite connection, in KiB. Hashes arrive in random order, so the inner pages of their index
#: are in constant use: about 1 MB per million rows. The system caches the pages below them; eight times as much here
#: was
#: no faster (300,000 rows), and this memory grows with the database.
_CACHE_KIB = 4 * 1024

#: Bytes that the WAL file may keep after a checkpoint; without a limit it keeps its largest size.
_WAL_BYTES = 64 * 1024 * 1024

#: Connections kept, and extra ones under load; a thread that finds none waits.
_POOL_SIZE, _POOL_OVERFLOW = 8, 24

#: PostgreSQL has no lock on the whole database, so writers of all processes queue on this arbitrary number.
_WRITER_LOCK = 0x6C656D6D79

_SQLITE_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    f"PRAGMA journal_size_limit = {_WAL_BYTES}",
)

#: What SQLAlchemy and drivers raise for unknown or unreadable options, before they contact the server.
_MISUSE = (TypeError, ValueError, LookupError, AttributeError)

#: The same, where a later try may succeed: missing certificates, threads that cannot be started.
_MISHAP = (RuntimeError, OSError)

_WRITES = "lemmy_safety_writes"


def make_engine(url: URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """An engine for ``writing`` and plain reading; connects to nothing yet. ``url`` comes from ``parse_url``.

    :raises SettingsError: the part after '?' has an option that SQLAlchemy does not know or cannot read.
    """
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": _POOL_SIZE, "max_overflow": _POOL_OVERFLOW}
    options["connect_args"] = _connect_options(url, busy_timeout_s)
    # A server restart since the last pass must not make the next pass fail.
    options["pool_pre_ping"] = not is_sqlite(url)
    try:
        engine = create_engine(url, **options)
    except (ArgumentError, NoSuchModuleError, *_MISUSE, *_MISHAP) as error:
        raise _bad_query(url.get_driver_name(), error) from error

    @event.listens_for(engine, "do_connect")
    def make_and_connect(
        dialect: Dialect, _record: object, arguments: list[Any], named: dict[str, Any]
    ) -> DBAPIConnection:
        make_private(url)
        return _connect(dialect, arguments, named)

    if is_sqlite(url):
        event.listen(engine, "connect", _prepare_sqlite)

    lock_timeout = f"SET LOCAL lock_timeout = {round(busy_timeout_s * 1000)}"

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        if is_sqlite(url):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        elif writes:
            # For this transaction only: behind PgBouncer others share the session and its settings.
            connection.exec_driver_sql(lock_timeout)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

    return engine


def _connect_options(url: URL, busy_timeout_s: float) -> dict[str, Any]:
    """Options for the driver in addition to the URL; the URL's own options win."""
    if is_sqlite(url):
        # One thread at a time uses a connection; the pool hands it from thread to thread.
        return {"check_same_thread": False, "timeout": busy_timeout_s}
    # Prepared statements belong to a session; behind PgBouncer the next transaction has another one.
    options = {"connect_timeout": math.ceil(busy_timeout_s), "prepare_threshold": None}
    return {name: value for name, value in options.items() if name not in url.query}


def _connect(dialect: Dialect, arguments: list[Any], named: dict[str, Any]) -> DBAPIConnection:
    """Connect as SQLAlchemy does; errors of other kinds than the driver's are about the URL's options."""
    try:
        return dialect.connect(*arguments, **named)
    except (*_MISUSE, *_MISHAP) as error:
        raise _bad_query(dialect.driver, error) from error
    except dialect.loaded_dbapi.ProgrammingError as error:
        if getattr(error, "sqlstate", None) is not None:  # the server reported it
            raise
        raise _bad_query(dialect.driver, error) from error


def _bad_query(driver: str, error: Exception) -> LedgerError | SettingsError:
    kind = LedgerError if isinstance(error, _MISHAP) else SettingsError
    # A codec encodes host names for DNS; it needs 1 to 63 characters between the dots.
    part = "host name" if isinstance(error, UnicodeError) else "part after '?'"
    said = foreign(error).partition("\n")[0]
    return kind(
        f"The driver {driver!r} cannot do what DATABASE_URL asks for: {said}.",
        hint=f"Check the {part} in DATABASE_URL.",
    )


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # None stops the driver from beginning transactions by itself; see the module docstring.
    connection.isolation_level = None
    cursor = connection.cursor()
    for statement in _SQLITE_SETTINGS:
        cursor.execute(statement)
    cursor.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the writer's lock from its start; committed at the end, rolled back on any error."""
    with engine.connect() as plain, plain.execution_options(**{_WRITES: True}).begin() as transaction:
        yield transaction.connection


@contextmanager
def upgrading(engine: Engine) -> Iterator[Connection]:
    """As ``writing``, but a migration may replace a table that others refer to.

    SQLite cannot drop columns before 3.35, so the table is copied and the old one dropped; with foreign keys on, that
    would delete its rows. They can be turned off only outside a transaction, see
    https://sqlite.org/lang_altertable.html,
    section 7; ``migrations.upgrade`` checks all of them before it ends.
    """
    if not is_sqlite(engine.url):
        with writing(engine) as connection:
            yield connection
        return
    with engine.connect() as plain:
        cursor = plain.connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF")
        try:
            with plain.execution_options(**{_WRITES: True}).begin() as transaction:
                yield transaction.connection
        finally:
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()


def use_wal(engine: Engine) -> None:
    """Switch a SQLite database to WAL permanently. Some network file systems cannot, and keep the journal."""
    if not is_sqlite(engine.url):
        return
    connection = engine.raw_connection()  # the journal's mode cannot change inside a transaction
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    finally:
        connection.close()
