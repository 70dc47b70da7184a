"""File operations over SFTP, with paths as bytes and several requests in flight.

paramiko's own ``SFTPClient`` is not used, for four reasons met in practice: one file name that is not UTF-8 makes it
raise ``UnicodeDecodeError`` for the whole folder; a refusal by the server and a broken connection are both an
``OSError``
without errno; its prefetch starts a thread per file that cannot be stopped when the connection breaks; and a listing
costs at least four round trips a folder.

This module knows no keys and no root, opens no connection and translates no errors: it raises ``SftpRefusal`` and
``SftpBroken``, and lets the channel's own exceptions pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.storage.ssh.sftp_folders import names_in, scan_folders
from lemmy_safety.storage.ssh.sftp_transfer import read_handle, write_handle
from lemmy_safety.storage.ssh.sftp_wire import (
    ATTRS,
    CLOSE,
    EXTENDED,
    EXTENDED_REPLY,
    FAILURE,
    FSTAT,
    HANDLE,
    HAS_MODE,
    LSTAT,
    MKDIR,
    NAME,
    NO_SUCH_FILE,
    OPEN,
    OPENDIR,
    PERMISSION_DENIED,
    READDIR,
    REALPATH,
    REMOVE,
    RENAME,
    RMDIR,
    STAT,
    UNSUPPORTED,
    Attributes,
    SftpBroken,
    SftpRefusal,
    SftpWire,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.ssh.sftp_wire import Entry

# Of OPEN: draft-ietf-secsh-filexfer-02, section 6.3.
_FLAG_READ, _FLAG_WRITE, _FLAG_CREATE, _FLAG_EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

#: The answers for an unsupported extension: unknown, or denied by the server's own list (sftp-server -P).
_NOT_OFFERED = (UNSUPPORTED, PERMISSION_DENIED)

#: SSH2_FXE_STATVFS_ST_RDONLY.
_READ_ONLY = 0x01


@dataclass(frozen=True, slots=True)
class FileSystem:
    """``free_bytes`` are those available to this account."""

    identity: int
    free_bytes: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What the server reports for a path: the real path of its folder, each folder above it, and the path itself.

    None means that it does not exist.
    """

    real_folder: bytes | None
    parents: tuple[Attributes | None, ...]
    facts: Attributes | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a file, the file that was open, and what was at its path once it was open."""

    content: bytes
    opened: Attributes
    look: Look


class SftpSession:
    """One SFTP session. Used by one thread at a time.

    All methods raise SftpRefusal, SftpBroken, and the channel's exceptions (``OSError``, ``TimeoutError``).
    """

    def __init__(self, channel: paramiko.Channel, *, resolves_links: bool = False) -> None:
        """``resolves_links``: the server's ``realpath`` is known to resolve links, not only to tidy the text."""
        self.channel = channel
        self.resolves_links = resolves_links
        self._wire = SftpWire(channel)

    def realpath(self, path: bytes) -> bytes:
        """The absolute path with every symbolic link resolved."""
        return self._name(self._wire.ask(REALPATH, path))

    def stat(self, path: bytes) -> Attributes:
        return self._attributes(self._wire.ask(STAT, path))

    def lstat(self, path: bytes) -> Attributes:
        return self._attributes(self._wire.ask(LSTAT, path))

    def lstat_all(self, paths: Sequence[bytes]) -> list[Attributes | None]:
        """``lstat`` of each path in one round trip; None for those that do not exist."""
        return self._all_attributes([self._wire.ask(LSTAT, path) for path in paths])

    def _all_attributes(self, requests: Sequence[int]) -> list[Attributes | None]:
        found: list[Attributes | None] = []
        for index, request in enumerate(requests):
            try:
                found.append(self._attributes(request))
            except SftpRefusal as refusal:
                if refusal.code != NO_SUCH_FILE:
                    for other in requests[index + 1 :]:
                        self._wire.forget(other)
                    raise
                found.append(None)
        return found

    def file_system(self, path: bytes) -> int | None:
        """The id of the file system that holds a path; None if the server cannot tell."""
        facts = self.statvfs(path)
        return None if facts is None else facts.identity

    def statvfs(self, path: bytes) -> FileSystem | None:
        """The file system that holds a path; None if the server cannot tell.

        OpenSSH's extension ``statvfs@openssh.com`` (its PROTOCOL file, section 4.4).
        """
        try:
            fields = self._wire.expect(EXTENDED_REPLY, self._wire.ask(EXTENDED, b"statvfs@openssh.com", path))
        except SftpRefusal as refusal:
            if refusal.code in _NOT_OFFERED:
                return None
            raise
        _, unit, _, _, available, _, _, _, identity, flags = (fields.long() for _ in range(10))
        return FileSystem(identity=identity, free_bytes=unit * available, read_only=bool(flags & _READ_ONLY))

    def is_empty(self, path: bytes) -> bool:
        """Whether a folder is completely empty; reads one batch of names to find out."""
        handle = self._handle(self._wire.ask(OPENDIR, path))
        try:
            names = names_in(self._wire, self._wire.ask(READDIR, handle))
            while names is not None and not names:
                names = names_in(self._wire, self._wire.ask(READDIR, handle))
        except SftpRefusal:
            self._close(handle)
            raise
        self._close(handle)
        return names is None

    def look(self, folder: bytes, parents: Sequence[bytes], path: bytes) -> Look:
        """``realpath`` of the folder, ``lstat`` of the folders above the path and of the path, in one round trip.

        The path comes last: a server answers requests in order.
        """
        return self._seen(self._ask_to_look(folder, parents, path))

    def read(
        self,
        folder: bytes,
        parents: Sequence[bytes],
        path: bytes,
        *,
        size: int,
        limit: int,
        pace: Pace | None = None,
    ) -> Reading:
        """The content, at most ``limit`` bytes of it. ``size`` is its probable size, used to request ahead.

        The path is checked after the file was opened, without an additional round trip.
        """
        handle = self._handle(self._wire.ask(OPEN, path, _FLAG_READ, 0))
        first = self._wire.ask(FSTAT, handle)
        others = self._ask_to_look(folder, parents, path)
        try:
            content = read_handle(self._wire, handle, size, limit, pace)
            opened = self._attributes(first)
        except SftpRefusal:
            for request in (first, *others):
                self._wire.forget(request)
            self._close(handle)
            raise
        self._close(handle)
        return Reading(content, opened, self._seen(others))

    def _ask_to_look(self, folder: bytes, parents: Sequence[bytes], path: bytes) -> list[int]:
        return [self._wire.ask(REALPATH, folder), *(self._wire.ask(LSTAT, each) for each in (*parents, path))]

    def _seen(self, requests: Sequence[int]) -> Look:
        real, *others = requests
        folder = None
        try:
            folder = self._name(real)
        except SftpRefusal as refusal:
            if refusal.code != NO_SUCH_FILE:
                for request in others:
                    self._wire.forget(request)
                raise
        *parents, facts = self._all_attributes(others)
        return Look(folder, tuple(parents), facts)

    def scan_folders(self, paths: Sequence[bytes]) -> list[list[Entry] | SftpRefusal]:
        """The entries of each folder, or why the server refused to list it; all folders share the round trips."""
        return scan_folders(self._wire, paths)

    def remove(self, path: bytes) -> None:
        """Remove a file or a symbolic link."""
        self._wire.done(self._wire.ask(REMOVE, path))

    def remove_empty_folders(self, paths: Sequence[bytes]) -> None:
        """Try to remove each folder, in order; the server keeps those that are not empty, which is fine."""
        for request in [self._wire.ask(RMDIR, path) for path in paths]:
            try:
                self._wire.done(request)
            except SftpRefusal:
                continue

    def make_folders(self, paths: Sequence[bytes]) -> None:
        """Create folders, in order, with the server's default permissions.

        The server refuses those that another client made meanwhile with FAILURE, which is fine.
        """
        requests = [self._wire.ask(MKDIR, path, 0) for path in paths]
        refusals = []
        for request in requests:
            try:
                self._wire.done(request)
            except SftpRefusal as refusal:
                refusals.append(refusal)
        for other in refusals:
            if other.code != FAILURE:
                raise other

    def rename(self, path: bytes, new_path: bytes) -> None:
        """Rename; OpenSSH refuses with FAILURE if ``new_path`` exists (its posix-rename extension overwrites)."""
        self._wire.done(self._wire.ask(RENAME, path, new_path))

    def write_new(self, path: bytes, content: bytes, *, mode: int) -> None:
        """Create a file that must not exist yet, and sync it to disk if the server supports that.

        OpenSSH's extension ``fsync@openssh.com`` (its PROTOCOL file, section 4.6).
        """
        flags = _FLAG_WRITE | _FLAG_CREATE | _FLAG_EXCLUSIVE
        handle = self._handle(self._wire.ask(OPEN, path, flags, HAS_MODE, mode))
        try:
            write_handle(self._wire, handle, content)
            self._sync(handle)
        except SftpRefusal:
            self._close(handle)
            raise
        # Network file systems and quotas may refuse as late as here.
        self._wire.done(self._wire.ask(CLOSE, handle))

    def _sync(self, handle: bytes) -> None:
        try:
            self._wire.done(self._wire.ask(EXTENDED, b"fsync@openssh.com", handle))
        except SftpRefusal as refusal:
            if refusal.code not in _NOT_OFFERED:
                raise

    def _close(self, handle: bytes) -> None:
        """Close a handle without waiting for the answer."""
        self._wire.forget(self._wire.ask(CLOSE, handle))
        self._wire.flush()

    def _handle(self, request: int) -> bytes:
        return self._wire.expect(HANDLE, request).text()

    def _attributes(self, request: int) -> Attributes:
        return self._wire.expect(ATTRS, request).attributes()

    def _name(self, request: int) -> bytes:
        fields = self._wire.expect(NAME, request)
        if fields.number() != 1:
            raise SftpBroken("the server did not answer with one name")
        return fields.text()
