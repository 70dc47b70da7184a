"""Which database is meant: URLs, their drivers, and how messages name them. Connects to nothing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lemmy_safety.errors import LedgerDamaged, LedgerError, LedgerReadOnly, SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.packages import imported
from lemmy_safety.url_logins import ENCODING_HINT, without_login

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL_HINT = "Use sqlite:////path/to/lemmy_safety.db or postgresql://user:password@host/database."

_HIGHEST_PORT = 65_535

#: How a URL may begin, and the driver for it. We build for and test only these two kinds of database.
_DRIVERS: Mapping[str, str] = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def sqlite_url(path: Path) -> str:
    """The absolute URL of a SQLite file, which means the same file after the process changes its folder.

    :raises SettingsError: the name cannot be written as a URL.
    """
    absolute = str(path.absolute())
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError:
        raise SettingsError(
            f"The database file name {absolute!r} cannot be used: it is not UTF-8.", hint="Choose another name."
        ) from None
    text = URL.create("sqlite", database=absolute).render_as_string(hide_password=False)
    if make_url(text).database != absolute:  # SQLAlchemy before 2.1 does not quote '?'
        raise SettingsError(f"The database file name {absolute!r} cannot be used.", hint="Choose a name without '?'.")
    return text


def parse_url(url: str, *, what: str = "DATABASE_URL") -> URL:
    """Parse a URL, and choose its driver, which must be installed.

    :raises SettingsError: not a URL, or one that cannot be used, of another kind of database, or for another driver.
        The
        message does not repeat the text: it may hold a password.
    :raises MissingExtra: the driver for PostgreSQL is missing or damaged.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: older versions of the library put the whole text, including the password, into their message.
        hint = f"{ENCODING_HINT} {_URL_HINT}" if "@" in url else _URL_HINT
        raise SettingsError(f"{what} is not a database URL.", hint=hint) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise _unsupported(parsed.drivername, what)
    parsed = parsed.set(drivername=driver)
    if is_sqlite(parsed):
        if parsed.database in {None, "", ":memory:"}:
            raise SettingsError("A database in memory cannot keep what was decided.", hint=_URL_HINT)
        return parsed
    if not _login_ends_at_the_last_at(url, parsed):
        # Otherwise part of the password is taken for the host, looked up in DNS, and shown in messages.
        raise SettingsError(f"It is not clear where the password in {what} ends.", hint=ENCODING_HINT)
    host, name = parsed.host or "", parsed.database or ""
    if "=" in host or any(map(str.isspace, host)) or ("=" in name and any(map(str.isspace, name))):
        # A libpq connection string after the scheme: its password would be taken for a host and shown.
        raise SettingsError(
            f"{what} is not a database URL: there is a blank or '=' in it.", hint=f"{ENCODING_HINT} {_URL_HINT}"
        )
    if parsed.port is not None and not 0 < parsed.port <= _HIGHEST_PORT:
        raise SettingsError(
            f"The port in {what}, {parsed.port}, is not one: they go from 1 to {_HIGHEST_PORT}.",
            hint="PostgreSQL listens on 5432, where no other is set; that one can be left out.",
        )
    with imported("psycopg", extra="postgres", needed_for="A PostgreSQL database"):
        parsed.get_dialect().import_dbapi()
    return parsed


def _unsupported(scheme: str, what: str) -> SettingsError:
    kind = scheme.partition("+")[0]
    if kind in _DRIVERS:
        return SettingsError(
            f"{what} begins with {scheme}://, a driver that is not supported.",
            hint=f"Write {kind}:// without a driver. {_URL_HINT}",
        )
    return SettingsError(
        f"{what} begins with {scheme}://, a database that is not supported; SQLite and PostgreSQL are.",
        hint=f"{_URL_HINT} How to move: docs/upgrading.md.",
    )


def _login_ends_at_the_last_at(url: str, parsed: URL) -> bool:
    """Whether the parsed location of the database is everything after the last ``@``."""
    scheme, _, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at:
        return True
    meant = make_url(f"{scheme}://{place}")
    same = ("host", "port", "database", "query")
    return bool(login) and all(getattr(meant, name) == getattr(parsed, name) for name in same)


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite URL; None for a server and for SQLite's own ``file:`` names."""
    if not is_sqlite(url) or url.database is None or url.database.startswith("file:"):
        return None
    return Path(url.database)


def opened_file(url: URL) -> Path | None:
    """The file that SQLite opens, also for its own names (https://www.sqlite.org/uri.html); None if it opens none."""
    name = url.database
    if not is_sqlite(url) or not name or ":memory:" in name or url.query.get("mode") == "memory":
        return None
    if name.startswith("file:"):
        name = unquote(urlsplit(name).path)
        if os.name == "nt" and name[2:3] == ":":
            name = name.removeprefix("/")
    return Path(name)


def shown_url(url: URL) -> str:
    """How messages name the database: the file, or the server without user, password and options."""
    path = sqlite_file(url)
    if path is not None:
        return str(path)
    place = url.host or ""
    if url.port is not None:
        place = f"{place}:{url.port}"
    return without_login(f"{url.get_backend_name()}://{place}/{url.database or ''}")


def check_file(url: URL, *, may_create: bool) -> None:
    """Refuse a wrong path for a SQLite file before anything opens or creates it.

    :raises SettingsError: the name is too long, or holds NUL.
    :raises LedgerError: no such folder, or no such file and it may not be created.
    :raises LedgerDamaged: the path is something else: a folder, a device, a pipe, a socket, a link to itself.
    :raises LedgerReadOnly: the folder may not be entered.
    """
    path = opened_file(url)
    if path is None:
        return
    try:
        if not path.parent.is_dir():
            raise LedgerError(
                f"The folder of the database {path} does not exist.", hint="Create it, or set SQLITE_FILENAME."
            )
        what = _what_is_there(path)
    except PermissionError as error:
        raise LedgerReadOnly(f"The database {path} cannot be reached: no permission.") from error
    except (OSError, ValueError) as error:
        reason = foreign(getattr(error, "strerror", None) or error)
        # No file can have a name that is too long, or holds NUL.
        never = isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG
        raise (SettingsError if never else LedgerError)(
            f"The database {path} cannot be reached: {reason}.", hint="Set SQLITE_FILENAME to another file."
        ) from error
    if what is None and not may_create:
        raise LedgerError(
            f"There is no database {path}.", hint="The first pass creates it, and so does 'lemmy-safety db upgrade'."
        )
    if what:
        raise LedgerDamaged(f"The database {path} is not a regular file, but a {what}.")


def _what_is_there(path: Path) -> str | None:
    """What is there if it is not a regular file; "" for a regular file, None if nothing exists."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "link to itself"
        raise
    kinds = ((stat.S_ISREG, ""), (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISSOCK, "socket"))
    return next((what for is_it, what in kinds if is_it(mode)), "device")
