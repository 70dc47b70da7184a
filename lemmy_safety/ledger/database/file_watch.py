"""Checks whether an open SQLite database still has the files that it was opened with.

A program can keep writing to a deleted file, which is never read again. To notice that, each look-up and each write
first
asks the system which file has the name now: its device and file number, or, on file systems without such numbers, its
creation time. Opening the file to check would release SQLite's locks.

Windows does not let other programs delete or replace an open database, so nothing needs checking there.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError, LedgerReplaced

if TYPE_CHECKING:
    import os
    from pathlib import Path

#: Next to the database while it is open in WAL mode: recent writes, and their index.
_COMPANIONS = ("-wal", "-shm")

#: No such file; part of the path is no longer a folder; a network server has deleted it.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    number: int
    is_empty: bool


class FileWatch:
    """Create it once the database is open, and while a connection is kept open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = _identity_of(path)
        self._companions: dict[Path, _Identity] = {}
        for ending in _COMPANIONS:
            companion = path.with_name(path.name + ending)
            found = _identity_of(companion)
            if found is not None:
                self._companions[companion] = found

    def check(self) -> None:
        """Check that the files are still the original ones.

        :raises LedgerReplaced: one was deleted, moved, replaced, or emptied.
        :raises LedgerError: the system does not report it.
        """
        now = _identity_of(self._path)
        if now is None:
            raise LedgerReplaced(
                f"The database file {self._path} was deleted or replaced while it was in use: it is gone."
            )
        if now != self._database:
            what = "it is empty" if now.is_empty else "another file has its name"
            raise LedgerReplaced(f"The database file {self._path} was deleted or replaced while it was in use: {what}.")
        for companion, then in self._companions.items():
            found = _identity_of(companion)
            # In normal use it is emptied and refilled.
            if found is None or (found.device, found.number) != (then.device, then.number):
                raise LedgerReplaced(f"The file {companion} was deleted or replaced while the database was in use.")


def _identity_of(path: Path) -> _Identity | None:
    """None if there is no such file."""
    try:
        facts = path.stat()
    except OSError as error:
        if error.errno in _GONE:
            return None
        reason = error.strerror or type(error).__name__
        raise LedgerError(f"The database file {path} cannot be examined: {reason}.") from error
    return _Identity(facts.st_dev, facts.st_ino or _made_at(facts), facts.st_size == 0)


def _made_at(facts: os.stat_result) -> int:
    """When the file was created, in the system's own unit; 0 if it does not report that."""
    made: float = getattr(facts, "st_birthtime_ns", 0) or getattr(facts, "st_birthtime", 0)
    return int(made)
