"""Paths below the root on the server, as one SFTP session sees them: nothing is reached through a symbolic link.

sftp-server itself follows links, out of the store too, and blocks when asked to open a pipe; so every path is checked
before use, each folder separately, because ``realpath`` of some servers only tidies the text. SFTP cannot hold a folder
open and name files relative to it, so a checked folder can be replaced with a link before it is used, one round trip
later. A second check afterwards detects that: then the bytes are thrown away, and a deletion counts as failed.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageFull,
    StorageUnreachable,
)
from lemmy_safety.storage.base import too_large
from lemmy_safety.storage.ssh.sftp_wire import BAD_MESSAGE, FAILURE, NO_SUCH_FILE, PERMISSION_DENIED, SftpRefusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.ssh.sftp import Look, SftpSession
    from lemmy_safety.storage.ssh.sftp_wire import Attributes

# A parallel deletion may remove a new folder as empty before a file is put into it.
_ATTEMPTS = 5

#: Mode of written files: for this account only.
_MODE = 0o600

_HINT_LINK = "Links in the store are never followed."


def join(folder: bytes, name: bytes) -> bytes:
    """A path below a folder; the folder itself for an empty name."""
    return folder.rstrip(b"/") + b"/" + name if name else folder


class SshTree:
    """The tree below one root. Paths are bytes relative to it; keys appear in errors only."""

    def __init__(self, root: bytes, name: str) -> None:
        """``root`` is absolute and contains no link, as ``realpath`` returns it; ``name`` is the storage's."""
        self.root = root
        self._name = name

    def full(self, path: bytes) -> bytes:
        return join(self.root, path)

    def parents(self, path: bytes) -> list[bytes]:
        """The folders above a path, from the top, without the root."""
        parts = path.split(b"/")[:-1]
        return [self.full(b"/".join(parts[: count + 1])) for count in range(len(parts))]

    def folders(self, session: SftpSession, names: Sequence[str]) -> list[str]:
        """The paths that are folders; a path that may not be examined does not count."""
        paths = [self.full(name.encode()) for name in names]
        try:
            found = session.lstat_all(paths)
        except SftpRefusal:
            found = [self._facts_or_none(session, path) for path in paths]
        return [name for name, facts in zip(names, found, strict=True) if facts and is_kind(stat.S_ISDIR, facts)]

    def _facts_or_none(self, session: SftpSession, path: bytes) -> Attributes | None:
        with contextlib.suppress(SftpRefusal):
            return session.lstat(path)
        return None

    def regular(self, session: SftpSession, key: str, path: bytes, *, thorough: bool = False) -> Attributes:
        """As ``locate``, of a regular file only.

        :raises StorageError: BadKey, it is a link; ObjectGone, it is something else.
        """
        facts = self.locate(session, key, path, thorough=thorough)
        if is_kind(stat.S_ISLNK, facts):
            raise BadKey(f"{key!r} is a symbolic link.", hint=_HINT_LINK)
        if not is_kind(stat.S_ISREG, facts):
            raise ObjectGone(f"{key!r} is not a regular file.")
        if facts.size is None:
            raise StorageError(f"{key!r} in {self._name}: the server does not say how large it is.", hint="")
        return facts

    def locate(self, session: SftpSession, key: str, path: bytes, *, thorough: bool = False) -> Attributes:
        """Describe what lies at a path, none of whose folders is a link.

        ``thorough``: check each folder separately even if the server is known to resolve links.
        """
        full = self.full(path)
        folder = posixpath.dirname(full)
        try:
            look = session.look(folder, self._doubtful(session, path, thorough=thorough), full)
        except SftpRefusal as refusal:
            raise self.refused(key, refusal) from refusal
        return self._without_links(key, folder, look)

    def read(self, session: SftpSession, key: str, path: bytes, max_bytes: int, pace: Pace | None) -> bytes:
        """The content of a file, at most ``max_bytes`` and one byte; BadKey if a link got in the way.

        :raises StorageUnreachable: the file was replaced or written to while it was opened.
        """
        before = self.regular(session, key, path)
        if before.file_size > max_bytes:
            raise too_large(key, max_bytes)
        full = self.full(path)
        folder = posixpath.dirname(full)
        doubtful = self._doubtful(session, path)
        reading = session.read(folder, doubtful, full, size=before.file_size, limit=max_bytes + 1, pace=pace)
        after = self._without_links(key, folder, reading.look)
        if reading.opened not in (before, after) or not is_kind(stat.S_ISREG, reading.opened):
            raise StorageUnreachable(f"{key!r} changed in the moment in which it was opened.", hint="")
        return reading.content

    def ensure_gone(self, session: SftpSession, key: str, path: bytes, removed: Attributes) -> None:
        """Check that a file is gone after the server reported its removal.

        :raises StorageError: AccessDenied, it still exists; BadKey, a link got in the way, and the removed
            file may have been another one.
        """
        with contextlib.suppress(ObjectGone):
            if self.locate(session, key, path, thorough=True) == removed:
                raise AccessDenied(
                    f"{key!r} in {self._name}: the server says that it was deleted, but it is still there."
                )

    def _doubtful(self, session: SftpSession, path: bytes, *, thorough: bool = False) -> list[bytes]:
        """The folders above a path that must be checked separately: ten requests for each picture that is read."""
        return [] if session.resolves_links and not thorough else self.parents(path)

    def _without_links(self, key: str, folder: bytes, look: Look) -> Attributes:
        linked = any(parent is not None and is_kind(stat.S_ISLNK, parent) for parent in look.parents)
        if linked or look.real_folder not in (folder, None):
            raise BadKey(f"{key!r} leads through a symbolic link.", hint=_HINT_LINK)
        if look.real_folder is None or look.facts is None:
            raise ObjectGone(f"{key!r} in {self._name} does not exist (any more).")
        return look.facts

    def make_parents(self, session: SftpSession, key: str, path: bytes) -> None:
        """Create the missing folders above a key, none of them through a link."""
        folders = self.parents(path)
        missing = []
        for folder, facts in zip(folders, session.lstat_all(folders), strict=True):
            if facts is None:
                missing.append(folder)
            elif not is_kind(stat.S_ISDIR, facts):
                raise BadKey(f"{key!r} leads through something that is not a folder.", hint=_HINT_LINK)
        session.make_folders(missing)

    def move(self, session: SftpSession, key: str, path: bytes, new_key: str, new_path: bytes) -> None:
        """As ``Storage.move``."""
        try:
            facts = self.regular(session, key, path, thorough=True)
        except ObjectGone:
            self.regular(session, new_key, new_path)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            self.make_parents(session, new_key, new_path)
            self.check_free(session, key, new_key, new_path)
            try:
                session.rename(self.full(path), self.full(new_path))
            except SftpRefusal as refusal:
                if refusal.code != NO_SUCH_FILE or attempt == _ATTEMPTS:
                    self.check_free(session, key, new_key, new_path)
                    raise
                self.regular(session, key, path)
            else:
                break
        if self.regular(session, new_key, new_path) != facts:
            raise ObjectChanged(f"What was moved to {new_key!r} is not what lay at {key!r} a moment before.")
        session.remove_empty_folders(self.parents(path)[::-1])

    def check_free(self, session: SftpSession, key: str, new_key: str, new_path: bytes) -> None:
        if self.is_taken(session, new_key, new_path):
            raise ObjectChanged(f"{new_key!r} already exists; {key!r} was left alone.")

    def is_taken(self, session: SftpSession, key: str, path: bytes) -> bool:
        with contextlib.suppress(ObjectGone):
            self.locate(session, key, path)
            return True
        return False

    def write_new(self, session: SftpSession, key: str, path: bytes, part: bytes, data: bytes, *, again: bool) -> bool:
        """Create a file; False if something has that name. ``part`` is its name until it is complete.

        ``again``: an earlier try was interrupted, and may have left the part.
        """
        beside = self.full(posixpath.join(posixpath.dirname(path), part))
        if again:
            self._remove_part(session, beside)
        for _ in range(_ATTEMPTS):
            try:
                self.make_parents(session, key, path)
                if self.is_taken(session, key, path):
                    return False
                session.write_new(beside, data, mode=_MODE)
                session.rename(beside, self.full(path))
            except SftpRefusal as refusal:
                try:
                    why = self.why_not_written(session, key, refusal, len(data))
                finally:
                    self._remove_part(session, beside)
                if self.is_taken(session, key, path):
                    return False
                session.remove_empty_folders(self.parents(path)[::-1])
                if not isinstance(why, ObjectGone):
                    raise why from refusal
            else:
                self.regular(session, key, path)
                return True
        raise StorageUnreachable(f"The folder of {key!r} was removed again and again; nothing was written.")

    def _remove_part(self, session: SftpSession, part: bytes) -> None:
        with contextlib.suppress(SftpRefusal):
            session.remove(part)

    def why_not_written(self, session: SftpSession, key: str, refusal: SftpRefusal, size: int) -> StorageError:
        """Why a file of this size was refused: the protocol has one code for a full disk and everything else."""
        facts = session.statvfs(self.root) if refusal.code in (FAILURE, NO_SUCH_FILE) else None
        if facts is not None and facts.read_only:
            return AccessDenied(
                f"{key!r} in {self._name}: the file system is read-only.", hint="Mount it so that it can be written to."
            )
        if facts is not None and facts.free_bytes <= size:
            return StorageFull(f"{key!r} in {self._name}: the disk is full ({facts.free_bytes} bytes are free).")
        return self.refused(key, refusal)

    def refused(self, key: str, refusal: SftpRefusal) -> StorageError:
        where = f"{key!r} in {self._name}"
        if refusal.code == NO_SUCH_FILE:
            return ObjectGone(f"{where} does not exist (any more).")
        if refusal.code == PERMISSION_DENIED:
            return AccessDenied(f"{where}: permission denied by the server.")
        if refusal.code == BAD_MESSAGE:
            # sshd's answer for ENAMETOOLONG and EINVAL.
            return BadKey(f"{where} is a name that the server cannot have.")
        return StorageError(f"{where}: the server refused ({refusal}).")


def is_kind(kind: Callable[[int], bool], facts: Attributes) -> bool:
    return facts.mode is not None and kind(facts.mode)
