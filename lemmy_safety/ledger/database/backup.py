"""Complete copies of a SQLite database: before its schema changes, and on an admin's request.

SQLite's own backup interface copies what a reader sees, including the WAL, while others read and write. A copy gets its
final name only when it is complete and on disk; a process killed earlier leaves a file that ends in ``.part``.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shlex
import shutil
import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lemmy_safety.errors import ActionRefused, LedgerError, LedgerFull, LedgerReadOnly
from lemmy_safety.foreign import foreign
from lemmy_safety.ledger.database.disk_space import LEAST_ROOM
from lemmy_safety.ledger.database.faults import SQLITE_FAULTS
from lemmy_safety.ledger.database.private_file import create_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import URL, Engine

_log = logging.getLogger(__name__)

#: Pre-upgrade copies kept next to a database, including the new one.
KEPT = 2

#: Pages copied at a time: 64 MiB with pages of 4096 bytes. Python handles signals between two steps.
_STEP_PAGES = 16_384

_STAMP = "%Y%m%dT%H%M%SZ"

#: The end of a copy's name, after the name of the database: its schema, and the time as above.
_END_OF_COPY = re.compile(r"\.schema-(\w{1,32})-(\d{8}T\d{6}Z)")

#: The same for every kind of copy made here.
_END_OF_ANY_COPY = re.compile(r"\.(?:schema-\w{1,32}|backup)-(\d{8}T\d{6}Z)")

_NOTHING_CHANGED = "Nothing was changed."

_SYSTEM_FAULTS: Mapping[int, type[LedgerError]] = {
    errno.ENOSPC: LedgerFull,
    errno.EDQUOT: LedgerFull,
    errno.EACCES: LedgerReadOnly,
    errno.EPERM: LedgerReadOnly,
    errno.EROFS: LedgerReadOnly,
}

#: Files that SQLite keeps next to a database; a backup must not overwrite them.
_OWN_ENDINGS = ("", "-wal", "-shm", "-journal")


def copy_before_upgrade(engine: Engine, revision: str, now: datetime, *, growth: int) -> Path | None:
    """Copy the SQLite database next to itself; returns the copy's path, or None if the database is not a file.

    ``growth`` is how many times its size the upgrade may write. The caller holds the writer's lock and has written
    nothing yet. Removes older copies, see ``KEPT``.

    :raises LedgerFull: the disk has no room for the copy and the upgrade.
    :raises LedgerError: the copy cannot be made.
    """
    with _source(engine) as source:
        file = _file_of(source)
        if file is None:
            return None
        copy = file.with_name(f"{file.name}.schema-{revision}-{now.strftime(_STAMP)}")
        with _explained(file, copy, fix=f"Fix that, and start again. {_NOTHING_CHANGED}"):
            _check_room(file, copy.parent, (1 + growth) * _bytes_of(source), what="the copy and the upgrade")
            # Only one process at a time copies here, so a file with this name was left by one that was killed.
            part = file.with_name(f"{file.name}.schema.part")
            part.unlink(missing_ok=True)
            _write(source, part, copy)
    _log.info("The database is at schema %s and will be upgraded. Its copy of before is %s.", revision, copy)
    _remove_older(file, copy, revision)
    return copy


def back_up(engine: Engine, target: Path | None, *, overwrite: bool, now: datetime) -> Path:
    """Copy a SQLite database, even while others write to it; returns the copy's path.

    ``target`` is a file, or a folder in which the name includes the time; None is the database's own folder.

    :raises ActionRefused: the target exists, or is the database itself, or the database is on a server.
    :raises LedgerError: the copy cannot be made; LedgerFull if the disk has no room.
    """
    if engine.dialect.name != "sqlite":
        raise ActionRefused(
            "A PostgreSQL database is backed up with PostgreSQL's own program.", hint=f"Run: {dump_command(engine.url)}"
        )
    with _source(engine) as source:
        file = _file_of(source)
        if file is None:
            raise ActionRefused("A database in memory has no file to copy.")
        place = file.parent if target is None else Path(os.path.realpath(target))
        with _explained(file, place, fix="Choose another place."):
            if place.is_dir():
                place /= f"{file.name}.backup-{now.strftime(_STAMP)}"
            _check_target(file, place, overwrite=overwrite)
            _check_room(file, place.parent, _bytes_of(source), what="the backup")
            _write(source, place.with_name(f"{place.name}.{secrets.token_hex(4)}.part"), place)
    return place


def copies_of(file: Path) -> list[Path]:
    """The copies and backups next to a SQLite database that have names given here, the latest first."""
    try:
        found = sorted(((match[1], path) for match, path in _copies(file, _END_OF_ANY_COPY)), reverse=True)
    except OSError:  # a folder that may be entered but not listed
        return []
    return [path for _, path in found]


def dump_command(url: URL) -> str:
    """The ``pg_dump`` command for a PostgreSQL database, with everything in its URL except the password."""
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - an extra, which is there when there is such a URL

    _, named = url.get_dialect()().create_connect_args(url)
    place = make_conninfo(**{name: value for name, value in named.items() if "password" not in name})
    return f"pg_dump --format=custom --file=lemmy_safety.dump {shlex.quote(place)}"


@contextmanager
def _source(engine: Engine) -> Iterator[sqlite3.Connection]:
    """A connection with an open read transaction: the copy is of this moment, and other writers never restart it."""
    with closing(engine.raw_connection()) as pooled:
        source = cast("sqlite3.Connection", pooled.driver_connection)
        source.execute("BEGIN")
        try:
            source.execute("SELECT count(*) FROM sqlite_master")
            yield source
        finally:
            source.execute("ROLLBACK")


def _file_of(source: sqlite3.Connection) -> Path | None:
    """The file as SQLite resolves it, including links and names such as ``file:x.db?vfs=unix``."""
    named = next(name for _, schema, name in source.execute("PRAGMA database_list") if schema == "main")
    return Path(named) if named else None


def _bytes_of(source: sqlite3.Connection) -> int:
    (pages,) = source.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
    return int(pages * page_bytes)


def _check_room(file: Path, folder: Path, needed: int, *, what: str) -> None:
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < needed + LEAST_ROOM:  # file systems that do not report their size say 0
        raise LedgerFull(
            f"The database {file} is not copied: {what} need {needed + LEAST_ROOM:,} bytes, and {disk.free:,} are free in "
            f"{folder}.",
            hint=f"Free room there, or move the database to a larger disk. {_NOTHING_CHANGED}",
        )


def _check_target(file: Path, target: Path, *, overwrite: bool) -> None:
    if target in {file.with_name(file.name + ending) for ending in _OWN_ENDINGS}:
        raise ActionRefused(f"{target} belongs to the database itself.", hint="Choose another file.")
    # A link that remains after realpath() leads to itself.
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise ActionRefused(f"{target} is not a file.", hint="Choose another file.")
    if target.exists() and not overwrite:
        raise ActionRefused(f"{target} exists.", hint="Overwrite it with --force, or choose another file.")


def _write(source: sqlite3.Connection, part: Path, copy: Path) -> None:
    try:
        create_private(part)
        with closing(sqlite3.connect(part)) as target:
            # A half-made copy is thrown away, so it needs no journal, which would survive a kill under another name.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA fullfsync = ON")
            source.backup(target, pages=_STEP_PAGES, progress=_hear_signals)
        _sync(part)
        part.replace(copy)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows cannot open folders
        _sync(copy.parent)


def _hear_signals(_status: int, _left: int, _pages: int) -> None:
    """Do nothing. Python runs signal handlers during the call, and an exception from one ends the copying."""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_older(file: Path, copy: Path, revision: str) -> None:
    """Keep the new copy and the latest of each other schema; the new copy replaces an older one of the same schema.

    So a start that is killed again and again during its upgrade neither fills the disk nor removes the copy from
    before.
    """
    found = [(match[2], match[1], path) for match, path in _copies(file, _END_OF_COPY)]
    others = sorted((one for one in found if one[2] != copy), reverse=True)
    kept = [path for _, older, path in others if older != revision][: KEPT - 1]
    for _, _, path in others:
        if path in kept:
            _log.info("The copy %s of an earlier upgrade is kept.", path)
            continue
        try:
            path.unlink()
        except OSError as error:
            _log.warning("The old copy %s cannot be removed: %s.", path, error.strerror)
        else:
            _log.info("The old copy %s is removed; the last %d are kept.", path, KEPT)


def _copies(file: Path, ending: re.Pattern[str]) -> Iterator[tuple[re.Match[str], Path]]:
    for path in file.parent.iterdir():
        match = ending.fullmatch(path.name.removeprefix(file.name)) if path.name.startswith(file.name) else None
        if match:
            yield match, path


@contextmanager
def _explained(file: Path, copy: Path, *, fix: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, OSError):
            kind = _SYSTEM_FAULTS.get(error.errno or 0, LedgerError)
        else:
            kind = SQLITE_FAULTS.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF, LedgerError)
        reason = foreign(getattr(error, "strerror", None) or error)
        raise kind(f"The database {file} cannot be copied to {copy}: {reason}.", hint=fix) from error
