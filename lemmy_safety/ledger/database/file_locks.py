"""Checks whether the file system of a SQLite database supports SQLite's locks and shared memory.

Network mounts often do not: NFS without a lock service, CIFS, 9p, sshfs and other FUSE file systems, shared folders of
virtual machines. SQLite then reports "database is locked" or "disk I/O error", which sends people looking for another
process or a broken disk. Some of these file systems grant every lock without keeping any: SQLite reports nothing, and
two
processes damage the database. So we try a new database next to the real one, which no other process can hold.
``doctor``
does this, and so does every failed attempt to open a database. A working pass writes only to its database.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import struct
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerFull, LedgerNoLocks
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds to wait for a free lock. A virus scanner may have the new file open for a moment.
_PATIENCE_S = 1.0

#: SQLite's errors for a file that only we use, https://www.sqlite.org/rescode.html: primary codes, then extended ones.
_LOCKS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS})
_LOCK_FAILED = frozenset(
    {
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_IOERR_BLOCKED,
    }
)
_MEMORY_FAILED = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
    }
)

_ENDINGS = ("", "-wal", "-shm", "-journal")

#: ``struct flock`` of 64-bit Linux: type, whence, start, length, process. Other systems have other layouts.
_FLOCK = struct.Struct("hhqqi4x")


def check_locks(path: Path) -> None:
    """Try locks and shared memory in the database's folder. Does not report other reasons why a file cannot be made
    there.

    :raises LedgerFull: this process may not make a file as long as a database (``ulimit -f``).
    :raises LedgerNoLocks: the file system refuses locks, or grants them without keeping them.
    """
    with _probe_beside(path) as probe:
        missing = _missing_in(probe)
        if not missing and not _keeps_locks(probe):
            missing = "it takes locks and does not keep them"
    limit = _file_size_limit()
    if missing and limit is not None:
        raise LedgerFull(
            f"No file of this process may be longer than {limit:,} bytes, and the database {path.absolute()} needs more.",
            hint="Raise the limit: ulimit -f unlimited in a shell, LimitFSIZE=infinity in a systemd unit.",
        )
    if missing:
        raise LedgerNoLocks(
            f"The folder {path.absolute().parent} lies on a file system on which SQLite cannot work: {missing}."
        )


def _file_size_limit() -> int | None:
    """How long a file of this process may become, in bytes; None if there is no limit."""
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


@contextlib.contextmanager
def _probe_beside(path: Path) -> Iterator[Path]:
    probe = path.absolute().with_name(f".lemmy-safety-probe-{secrets.token_hex(8)}")
    try:
        yield probe
    finally:
        for ending in _ENDINGS:
            with contextlib.suppress(OSError):
                probe.with_name(probe.name + ending).unlink()


def _missing_in(probe: Path) -> str:
    """What SQLite lacks for a database there; empty if it lacks nothing, or fails for another reason."""
    try:
        with closing(sqlite3.connect(probe, timeout=_PATIENCE_S, isolation_level=None)) as connection:
            # The probe need not survive a power cut, so it does not sync.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE probe (id INTEGER)")
            connection.execute("COMMIT")
            with closing(sqlite3.connect(probe, timeout=_PATIENCE_S, isolation_level=None)) as second:
                second.execute("BEGIN IMMEDIATE")
                second.execute("INSERT INTO probe VALUES (1)")
                second.execute("COMMIT")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _MEMORY_FAILED:
            return f"it has no shared memory ({foreign(error)})"
        if code & 0xFF in _LOCKS or code in _LOCK_FAILED:
            return f"it refuses locks on a new file ({foreign(error)})"
    return ""


def _keeps_locks(probe: Path) -> bool:
    """Whether a second lock on the same bytes is refused. Tried only where locks of one process can conflict."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:  # noqa: PLR2004 - bytes in a pointer
        return True
    import fcntl  # noqa: PLC0415 - Windows has none

    lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    try:
        with probe.open("w+b") as first, probe.open("r+b") as second:
            fcntl.fcntl(first, fcntl.F_OFD_SETLK, lock)
            try:
                fcntl.fcntl(second, fcntl.F_OFD_SETLK, lock)
            except OSError:
                return True
    except OSError:
        return True  # another kind of lock, which such a system need not have
    return False
