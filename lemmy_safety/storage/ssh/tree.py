"""Paths below the root on the server, as one SFTP session sees them: nothing is reached through a symbolic link.

sftp-server itself follows links, out of the store too, and blocks when asked to open a pipe; so every path is looked at
before it is used. This module reads and writes no content.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, BadKey, ObjectChanged, ObjectGone, StorageError
from lemmy_safety.storage.ssh.sftp_wire import BAD_MESSAGE, NO_SUCH_FILE, PERMISSION_DENIED, SftpRefusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.storage.ssh.sftp import SftpSession
    from lemmy_safety.storage.ssh.sftp_wire import Attributes

_HINT_LINK = "Links in the store are never followed."


def join(folder: bytes, name: bytes) -> bytes:
    """A path below a folder; the folder itself for an empty name."""
    return folder.rstrip(b"/") + b"/" + name if name else folder


class SshTree:
    """The tree below one root. Paths are bytes relative to it; keys are named in errors only."""

    def __init__(self, root: bytes, name: str) -> None:
        """``root`` is absolute and holds no link itself, as ``realpath`` gives it; ``name`` is the storage's."""
        self.root = root
        self._name = name

    def full(self, path: bytes) -> bytes:
        return join(self.root, path)

    def parents(self, path: bytes) -> list[bytes]:
        """The folders above a path, from the top, without the root."""
        parts = path.split(b"/")[:-1]
        return [self.full(b"/".join(parts[: count + 1])) for count in range(len(parts))]

    def regular(self, session: SftpSession, key: str, path: bytes) -> Attributes:
        facts = self.locate(session, key, path)
        if is_kind(stat.S_ISLNK, facts):
            raise BadKey(f"{key!r} is a symbolic link.", hint=_HINT_LINK)
        if not is_kind(stat.S_ISREG, facts):
            raise ObjectGone(f"{key!r} is no regular file.")
        return facts

    def locate(self, session: SftpSession, key: str, path: bytes) -> Attributes:
        """Describe what lies at a path, none of whose folders is a link."""
        full = self.full(path)
        folder = posixpath.dirname(full)
        try:
            real, facts = session.locate(folder, full)
        except SftpRefusal as refusal:
            raise self.refused(key, refusal) from refusal
        if real != folder:
            raise BadKey(f"{key!r} leads through a symbolic link.", hint=_HINT_LINK)
        return facts

    def make_parents(self, session: SftpSession, key: str, path: bytes) -> None:
        """Make the folders above a key that are missing, none of them through a link."""
        folders = self.parents(path)
        missing = []
        for folder, facts in zip(folders, session.lstat_all(folders), strict=True):
            if facts is None:
                missing.append(folder)
            elif not is_kind(stat.S_ISDIR, facts):
                raise BadKey(f"{key!r} leads through something that is no folder.", hint=_HINT_LINK)
        session.make_folders(missing)

    def check_free(self, session: SftpSession, key: str, new_key: str, new_path: bytes) -> None:
        with contextlib.suppress(ObjectGone):
            self.locate(session, new_key, new_path)
            raise ObjectChanged(f"{new_key!r} already exists; {key!r} was left alone.")

    def refused(self, key: str, refusal: SftpRefusal) -> StorageError:
        where = f"{key!r} in {self._name}"
        if refusal.code == NO_SUCH_FILE:
            return ObjectGone(f"{where} does not exist (any more).")
        if refusal.code == PERMISSION_DENIED:
            return AccessDenied(f"{where}: permission denied by the server.")
        if refusal.code == BAD_MESSAGE:
            # sshd's word for ENAMETOOLONG and EINVAL.
            return BadKey(f"{where} is a name that the server cannot have.")
        return StorageError(f"{where}: the server refused ({refusal}).")


def is_kind(kind: Callable[[int], bool], facts: Attributes) -> bool:
    return facts.mode is not None and kind(facts.mode)
