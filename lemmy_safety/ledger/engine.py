"""How the ledger connects: one engine for any number of reading threads and one writing thread at a time.

Nothing here knows a table. The choices for SQLite:

- WAL, so that readers (``flagged``, a second process) and the writer never wait for each other.
- ``synchronous=FULL``: in WAL mode NORMAL does not sync on commit, so a power cut could take back an intent whose
  deed is already done, and the ledger would not know of it. FULL syncs once a commit, which grouped commits make
  cheap. ``fullfsync`` makes it true on macOS, where a plain fsync stops at the drive's cache.
- Transactions are begun by us, because Python's driver by itself begins none for DDL and begins late for the rest:
  a migration must be all or nothing, and a writer takes the lock at once (BEGIN IMMEDIATE) instead of failing halfway.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReadOnly, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection

#: Seconds to wait for another writer. A commit of 500 rows takes well under one; a migration of a large ancestor
#: database takes several.
BUSY_TIMEOUT_S = 10.0

#: The page cache of each SQLite connection, in KiB. Hashes arrive in random order, so the inner pages of their index
#: are touched all the time; SQLite's own 2 MiB hold them for some 100,000 rows only.
_CACHE_KIB = 32 * 1024

#: Bytes that the WAL file may keep after a checkpoint; without a limit it stays as large as it ever was.
_WAL_BYTES = 64 * 1024 * 1024

#: Connections kept, and extra ones under load; a thread that finds none waits.
_POOL_SIZE, _POOL_OVERFLOW = 8, 24

#: PostgreSQL has no lock on the whole database, so writers of all processes queue on this arbitrary number.
_WRITER_LOCK = 0x6C656D6D79

_WRITES = "lemmy_safety_writes"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, absolute, so that it means the same file wherever the process goes.

    :raises LedgerError: the name cannot be written as a URL.
    """
    absolute = str(path.expanduser().absolute())
    text = URL.create("sqlite", database=absolute).render_as_string(hide_password=False)
    if make_url(text).database != absolute:  # SQLAlchemy before 2.1 does not quote '?'
        raise LedgerError(f"The database file name {absolute!r} cannot be used.", hint="Choose a name without '?'.")
    return text


def parse_url(url: str) -> URL:
    """The URL with its driver settled.

    :raises LedgerError: not a URL, or of a database that is not supported. The text is not repeated: it may hold a
        password.
    """
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        # Not chained: older versions of the library put the whole text, password included, into their message.
        raise LedgerError("DATABASE_URL is not a database URL.", hint=_URL_HINT) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise LedgerError(f"Databases of the kind {name!r} ({parsed.drivername}) are not supported.", hint=_URL_HINT)
    if is_sqlite(parsed) and parsed.database in {None, "", ":memory:"}:
        raise LedgerError("A database in memory cannot keep what was decided.", hint=_URL_HINT)
    return parsed


_URL_HINT = "Use sqlite:////path/to/lemmy_safety.db or postgresql+psycopg://user:password@host/database."


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite URL; None for a server and for SQLite's own ``file:`` names."""
    if not is_sqlite(url) or url.database is None or url.database.startswith("file:"):
        return None
    return Path(url.database)


def shown_url(url: URL) -> str:
    """What messages call the database: the file, or the server without user, password and options."""
    path = sqlite_file(url)
    if path is not None:
        return str(path)
    place = url.host or ""
    if url.port is not None:
        place = f"{place}:{url.port}"
    return f"{url.get_backend_name()}://{place}/{url.database or ''}"


def check_file(url: URL, *, may_create: bool) -> None:
    """Refuse a SQLite file whose place is wrong, before anything creates it.

    :raises LedgerError: no such folder, or no such file and none may be made.
    :raises LedgerDamaged: the name is a folder's.
    :raises LedgerReadOnly: the folder may not be entered.
    """
    path = sqlite_file(url)
    if path is None:
        return
    try:
        if path.is_dir():
            raise LedgerDamaged(f"The database {path} is a folder, not a file.")
        if not path.parent.is_dir():
            raise LedgerError(
                f"The folder of the database {path} does not exist.", hint="Create it, or set SQLITE_FILENAME."
            )
        if not may_create and not path.exists():
            raise LedgerError(
                f"There is no database {path}.", hint="A first run, or 'lemmy-safety db upgrade', makes it."
            )
    except PermissionError as error:
        raise LedgerReadOnly(f"The database {path} cannot be reached: no permission.") from error


def make_engine(url: URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """An engine for ``writing`` and plain reading; connects to nothing yet.

    :raises MissingExtra: PostgreSQL is asked for and its driver is not installed.
    """
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": _POOL_SIZE, "max_overflow": _POOL_OVERFLOW}
    if is_sqlite(url):
        # Each connection is used by one thread at a time; the pool hands them from thread to thread.
        options["connect_args"] = {"check_same_thread": False, "timeout": busy_timeout_s}
    else:
        # A server that was restarted since the last pass must not cost that pass.
        options["pool_pre_ping"] = True
        if "connect_timeout" not in url.query:
            options["connect_args"] = {"connect_timeout": max(1, round(busy_timeout_s))}
    try:
        engine = create_engine(url, **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingExtra("postgres", needed_for="A PostgreSQL database") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        if is_sqlite(url):
            # None stops the driver from beginning transactions by itself; see the module's first lines.
            connection.isolation_level = None
        cursor = connection.cursor()
        for statement in _session_settings(url, busy_timeout_s):
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        if is_sqlite(url):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        elif writes:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

    return engine


def _session_settings(url: URL, busy_timeout_s: float) -> tuple[str, ...]:
    if not is_sqlite(url):
        return (f"SET lock_timeout = {round(busy_timeout_s * 1000)}",)
    return (
        "PRAGMA foreign_keys = ON",
        "PRAGMA synchronous = FULL",
        "PRAGMA fullfsync = ON",
        f"PRAGMA cache_size = -{_CACHE_KIB}",
        f"PRAGMA journal_size_limit = {_WAL_BYTES}",
    )


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the writer's lock from its start; committed at the end, rolled back on any error."""
    with engine.connect() as plain, plain.execution_options(**{_WRITES: True}).begin() as transaction:
        yield transaction.connection


def use_wal(engine: Engine) -> None:
    """Switch a SQLite database to WAL for good. File systems that cannot do it (some network ones) keep the journal."""
    if not is_sqlite(engine.url):
        return
    connection = engine.raw_connection()  # the journal's mode cannot change inside a transaction
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    finally:
        connection.close()
