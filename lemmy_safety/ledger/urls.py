"""Which database is meant: URLs, the drivers behind them, and what messages call them. Connects to nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReadOnly, MissingExtra
from lemmy_safety.installing import how_to_install, how_to_install_again
from lemmy_safety.packages import is_leftover, is_there
from lemmy_safety.url_logins import ENCODING_HINT, without_login

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

_URL_HINT = (
    "Use sqlite:////path/to/lemmy_safety.db, postgresql+psycopg://user:password@host/database or "
    "mysql+pymysql://user:password@host/database."
)

#: Drivers that the tests run on (the last against MariaDB); all others are used on trust.
_TESTED = frozenset({"sqlite+pysqlite", "postgresql+psycopg", "mysql+pymysql"})

#: The driver where the URL names only the database. SQLAlchemy's own choices for these differ between its versions.
_DRIVERS: Mapping[str, str] = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
}

#: Our extras with drivers.
_EXTRAS: Mapping[str, str] = {"psycopg": "postgres", "pymysql": "mysql"}

#: Packages that are not called like the module or the kind of database that they are for.
_PACKAGES: Mapping[str, str] = {
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "psycopg2": "psycopg2-binary",
    "cockroachdb": "sqlalchemy-cockroachdb",
    "db2": "ibm_db_sa",
    "duckdb": "duckdb-engine",
    "firebird": "sqlalchemy-firebird",
    "hana": "sqlalchemy-hana",
}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, absolute, so that it means the same file wherever the process goes.

    :raises LedgerError: the name cannot be written as a URL.
    """
    absolute = str(path.absolute())
    text = URL.create("sqlite", database=absolute).render_as_string(hide_password=False)
    if make_url(text).database != absolute:  # SQLAlchemy before 2.1 does not quote '?'
        raise LedgerError(f"The database file name {absolute!r} cannot be used.", hint="Choose a name without '?'.")
    return text


def parse_url(url: str) -> URL:
    """The URL with its driver settled and installed. A driver that the tests do not run on gets one logged warning.

    :raises LedgerError: not a URL, or of a database that nothing installed here knows. The text is not repeated: it
        may hold a password.
    :raises MissingExtra: one of our extras brings its driver.
    """
    try:
        parsed = make_url(url)
        name = parsed.drivername
    except (ArgumentError, ValueError):
        # Not chained: older versions of the library put the whole text, password included, into their message.
        hint = f"{ENCODING_HINT} {_URL_HINT}" if "@" in url else _URL_HINT
        raise LedgerError("DATABASE_URL is not a database URL.", hint=hint) from None
    if name.partition("+")[0] == "mariadb":
        # The same dialect under a second name, by which types and options would have to be told twice.
        name = name.replace("mariadb", "mysql", 1)
    parsed = parsed.set(drivername=_DRIVERS.get(name, name))
    if not is_sqlite(parsed) and not _login_ends_at_the_last_at(url, parsed):
        # Otherwise a piece of the password is taken for the host, looked up in DNS, and shown in messages.
        raise LedgerError("It is not clear where the password in DATABASE_URL ends.", hint=ENCODING_HINT)
    if is_sqlite(parsed) and parsed.database in {None, "", ":memory:"}:
        raise LedgerError("A database in memory cannot keep what was decided.", hint=_URL_HINT)
    if parsed.get_backend_name() == "mysql" and not parsed.database:
        raise LedgerError("DATABASE_URL names no database on the server.", hint=_URL_HINT)
    _check_driver(parsed)
    return parsed


def _login_ends_at_the_last_at(url: str, parsed: URL) -> bool:
    """Whether what was parsed as the place of the database is all that follows the last ``@``."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at:
        return True
    meant = make_url(f"{scheme}://{place}")
    same = ("host", "port", "database", "query")
    return bool(login) and all(getattr(meant, name) == getattr(parsed, name) for name in same)


def _check_driver(url: URL) -> None:
    kind = url.get_backend_name()
    try:
        dialect = url.get_dialect()
        if dialect.is_async:
            raise LedgerError(f"The driver of {url.drivername!r} works only with asyncio.", hint=_URL_HINT)
        driver_module = dialect.import_dbapi()
        package = driver_module.__name__.partition(".")[0]
        if is_leftover(package):
            raise _damaged(package, kind, f"only a folder is left of {package}")
    except NoSuchModuleError as error:
        package = _PACKAGES.get(kind)
        raise LedgerError(
            f"SQLAlchemy has no dialect {url.drivername!r} here.",
            hint=how_to_install(package)
            if package
            else f"Install the package that brings it (https://docs.sqlalchemy.org/dialects). {_URL_HINT}",
        ) from error
    except ImportError as error:
        module = (error.name or url.get_driver_name()).partition(".")[0]
        if module in _EXTRAS and is_there(module):
            raise _damaged(module, kind, str(error)) from error
        if module in _EXTRAS:
            raise MissingExtra(_EXTRAS[module], needed_for=f"A database of the kind {kind!r}") from error
        raise LedgerError(
            f"The driver of {url.drivername!r} cannot be imported: {error}.",
            hint=how_to_install(_PACKAGES.get(module, module)),
        ) from error
    driver = f"{kind}+{dialect.driver}"
    if driver not in _TESTED:
        _log.warning("Databases through %s are not tested with lemmy-safety; make backups.", driver)


def _damaged(package: str, kind: str, cause: str) -> LedgerError | MissingExtra:
    if package in _EXTRAS:
        return MissingExtra(_EXTRAS[package], needed_for=f"A database of the kind {kind!r}", cause=cause, damaged=True)
    return LedgerError(
        f"The driver {package} is damaged here: {cause}.", hint=how_to_install_again(_PACKAGES.get(package, package))
    )


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
    return without_login(f"{url.get_backend_name()}://{place}/{url.database or ''}")


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
    except (OSError, ValueError) as error:  # a name that is too long, or holds NUL
        reason = getattr(error, "strerror", None) or error
        raise LedgerError(
            f"The database {path} cannot be reached: {reason}.", hint="Set SQLITE_FILENAME to another file."
        ) from error
