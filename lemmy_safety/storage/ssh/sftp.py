"""What can be done with files over SFTP, with paths as bytes and requests in flight together.

paramiko's own ``SFTPClient`` is not used, for four reasons met in practice: one file name that is not UTF-8 makes it
raise ``UnicodeDecodeError`` for the whole folder; a refusal by the server and a broken line are both an ``OSError``
without errno; its prefetch starts a thread per file that nobody can stop when the line breaks; and a listing costs at
least four round trips a folder.

This module knows no keys and no root, opens no connection and translates no error: it raises ``SftpRefusal`` and
``SftpBroken``, and lets the channel's own exceptions pass.
"""

from __future__ import annotations

import stat
import struct
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lemmy_safety.storage.ssh.sftp_wire import (
    EOF,
    FAILURE,
    NO_SUCH_FILE,
    UNSUPPORTED,
    Attributes,
    Entry,
    SftpBroken,
    SftpRefusal,
    SftpWire,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

# Packet types of draft-ietf-secsh-filexfer-02, section 3.
_OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _OPENDIR, _READDIR = 3, 4, 5, 6, 7, 8, 11, 12
_REMOVE, _MKDIR, _RMDIR, _REALPATH, _STAT, _RENAME, _EXTENDED = 13, 14, 15, 16, 17, 18, 200
_HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED_REPLY = 102, 103, 104, 105, 201
_FLAG_READ, _FLAG_WRITE, _FLAG_CREATE, _FLAG_EXCLUSIVE = 0x01, 0x02, 0x08, 0x20

#: Where f_fsid stands in the answer to statvfs.
_FSID_INDEX = 8

#: The largest read that every server must answer in full (the draft, section 3: 34000 byte packets).
PIECE_BYTES = 32_768

#: Read requests in flight for one file; OpenSSH's own sftp keeps 64 (its -R option).
READS_IN_FLIGHT = 64

#: Folder requests in flight for one folder; each answer of OpenSSH holds up to 100 names.
_FOLDER_READS = 32


@dataclass(frozen=True, slots=True)
class Look:
    """What the server says of a path: where its folder really is, what each folder above it is, and what it is itself.

    None stands for what does not exist.
    """

    real_folder: bytes | None
    parents: tuple[Attributes | None, ...]
    facts: Attributes | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a file, what was open, and what lay at its path once it was open."""

    content: bytes
    opened: Attributes
    look: Look


class SftpSession:
    """One SFTP session. Used by one thread at a time.

    All methods raise SftpRefusal, SftpBroken, and what the channel raises (``OSError``, ``TimeoutError``).
    """

    def __init__(self, channel: paramiko.Channel, *, resolves_links: bool = False) -> None:
        """``resolves_links``: the server's ``realpath`` is known to do so, not only to tidy the text."""
        self.channel = channel
        self.resolves_links = resolves_links
        self._wire = SftpWire(channel)

    def realpath(self, path: bytes) -> bytes:
        """The absolute path with every symbolic link resolved."""
        return self._name(self._wire.ask(_REALPATH, path))

    def stat(self, path: bytes) -> Attributes:
        return self._attributes(self._wire.ask(_STAT, path))

    def lstat(self, path: bytes) -> Attributes:
        return self._attributes(self._wire.ask(_LSTAT, path))

    def lstat_all(self, paths: Sequence[bytes]) -> list[Attributes | None]:
        """``lstat`` of each path in one round trip; None for those that do not exist."""
        return self._all_attributes([self._wire.ask(_LSTAT, path) for path in paths])

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
        """The id of the file system that holds a path; None where the server cannot say.

        OpenSSH's extension ``statvfs@openssh.com`` (its PROTOCOL file, section 4.4); sizes come before the id.
        """
        try:
            fields = self._wire.expect(_EXTENDED_REPLY, self._wire.ask(_EXTENDED, b"statvfs@openssh.com", path))
        except SftpRefusal as refusal:
            if refusal.code == UNSUPPORTED:
                return None
            raise
        return [fields.long() for _ in range(_FSID_INDEX + 1)][_FSID_INDEX]

    def is_empty(self, path: bytes) -> bool:
        """Whether a folder holds nothing at all; one round of names is read to find out."""
        handle = self._handle(self._wire.ask(_OPENDIR, path))
        try:
            names = self._names(self._wire.ask(_READDIR, handle))
            while names is not None and not names:
                names = self._names(self._wire.ask(_READDIR, handle))
        except SftpRefusal:
            self._close(handle)
            raise
        self._close(handle)
        return names is None

    def look(self, folder: bytes, parents: Sequence[bytes], path: bytes) -> Look:
        """``realpath`` of the folder, ``lstat`` of the folders above the path and of the path, in one round trip.

        The path comes last: a server answers in the order in which it was asked.
        """
        return self._seen(self._ask_to_look(folder, parents, path))

    def read(self, folder: bytes, parents: Sequence[bytes], path: bytes, *, size: int, limit: int) -> Reading:
        """The content, at most ``limit`` bytes of it. ``size`` is what it probably holds; asking ahead relies on it.

        The path is looked at after it was opened, without a round trip of its own.
        """
        handle = self._handle(self._wire.ask(_OPEN, path, _FLAG_READ, 0))
        first = self._wire.ask(_FSTAT, handle)
        others = self._ask_to_look(folder, parents, path)
        try:
            content = self._read_handle(handle, size, limit)
            opened = self._attributes(first)
        except SftpRefusal:
            for request in (first, *others):
                self._wire.forget(request)
            self._close(handle)
            raise
        self._close(handle)
        return Reading(content, opened, self._seen(others))

    def _ask_to_look(self, folder: bytes, parents: Sequence[bytes], path: bytes) -> list[int]:
        return [self._wire.ask(_REALPATH, folder), *(self._wire.ask(_LSTAT, each) for each in (*parents, path))]

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
        opening = [self._wire.ask(_OPENDIR, path) for path in paths]
        handles: list[bytes | SftpRefusal] = []
        for request in opening:
            try:
                handles.append(self._handle(request))
            except SftpRefusal as no:
                handles.append(no)
        # Two requests each: the names, and the end. Longer folders are asked further below.
        asked = [
            deque([self._wire.ask(_READDIR, handle), self._wire.ask(_READDIR, handle)])
            if isinstance(handle, bytes)
            else deque()
            for handle in handles
        ]
        found: list[list[Entry] | SftpRefusal] = []
        for path, handle, requests in zip(paths, handles, asked, strict=True):
            if isinstance(handle, SftpRefusal):
                found.append(handle)
                continue
            try:
                found.append(self._entries(path, handle, requests))
            except SftpRefusal as refusal:
                found.append(refusal)
        # All at the end: whatever is queued is sent when the next answer is waited for, in a packet of its own.
        for handle in handles:
            if isinstance(handle, bytes):
                self._wire.forget(self._wire.ask(_CLOSE, handle))
        self._wire.flush()
        return found

    def remove(self, path: bytes) -> None:
        """Remove a file or a symbolic link."""
        self._wire.done(self._wire.ask(_REMOVE, path))

    def remove_empty_folders(self, paths: Sequence[bytes]) -> None:
        """Try to remove each folder, in order; the server keeps those that hold something, and that is fine."""
        for request in [self._wire.ask(_RMDIR, path) for path in paths]:
            try:
                self._wire.done(request)
            except SftpRefusal:
                continue

    def make_folders(self, paths: Sequence[bytes]) -> None:
        """Make folders, in order, with the server's default permissions.

        Those that another client made meanwhile are refused with FAILURE, and that is fine.
        """
        requests = [self._wire.ask(_MKDIR, path, 0) for path in paths]
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
        """Rename; OpenSSH refuses with FAILURE when ``new_path`` exists (its posix-rename extension overwrites)."""
        self._wire.done(self._wire.ask(_RENAME, path, new_path))

    def write_new(self, path: bytes, content: bytes) -> None:
        """Make a small file (at most PIECE_BYTES) that must not exist yet."""
        handle = self._handle(self._wire.ask(_OPEN, path, _FLAG_WRITE | _FLAG_CREATE | _FLAG_EXCLUSIVE, 0))
        try:
            self._wire.done(self._wire.ask(_WRITE, handle, struct.pack(">Q", 0), content, raw=1))
        finally:
            self._wire.done(self._wire.ask(_CLOSE, handle))

    def _read_handle(self, handle: bytes, size: int, limit: int) -> bytes:
        content = bytearray()
        pending: deque[tuple[int, int]] = deque()
        offset = 0
        # One byte more than expected, so that a file that has grown is noticed without another round trip.
        end = min(size + 1, limit)
        while True:
            while offset < end and len(pending) < READS_IN_FLIGHT:
                length = min(PIECE_BYTES, end - offset)
                position = struct.pack(">Q", offset)
                pending.append((length, self._wire.ask(_READ, handle, position, length, raw=1)))
                offset += length
            if not pending:
                if end >= limit:
                    return bytes(content)
                end = min(end + READS_IN_FLIGHT * PIECE_BYTES, limit)
                continue
            length, request = pending.popleft()
            piece = self._data(request)
            if piece is not None:
                if len(piece) > length:
                    raise SftpBroken("the server sent more than was asked for")
                content += piece
                if len(piece) == length:
                    continue
            for _, other in pending:
                self._wire.forget(other)
            if piece is None or not piece or len(content) >= size:
                return bytes(content)
            # A short piece before the end: allowed to servers that read less at a time. Ask from there on.
            pending.clear()
            offset = len(content)

    def _entries(self, path: bytes, handle: bytes, requests: deque[int]) -> list[Entry]:
        entries: list[Entry] = []
        ahead = len(requests)
        try:
            while (names := self._names(requests.popleft())) is not None:
                entries += [self._with_mode(path, entry) for entry in names]
                if not requests:
                    ahead = min(ahead * 2, _FOLDER_READS)
                    requests += [self._wire.ask(_READDIR, handle) for _ in range(ahead)]
        finally:
            for request in requests:
                self._wire.forget(request)
        return entries

    def _with_mode(self, path: bytes, entry: Entry) -> Entry:
        attributes = entry.attributes
        if attributes.mode is None or attributes.size is None:
            attributes = self.lstat(path + b"/" + entry.name)
        if attributes.mode is not None and stat.S_ISREG(attributes.mode):
            attributes = replace(attributes, size=attributes.file_size)
        return Entry(entry.name, attributes)

    def _close(self, handle: bytes) -> None:
        """Give a handle back without waiting for the answer."""
        self._wire.forget(self._wire.ask(_CLOSE, handle))
        self._wire.flush()

    def _handle(self, request: int) -> bytes:
        return self._wire.expect(_HANDLE, request).text()

    def _attributes(self, request: int) -> Attributes:
        return self._wire.expect(_ATTRS, request).attributes()

    def _name(self, request: int) -> bytes:
        fields = self._wire.expect(_NAME, request)
        if fields.number() != 1:
            raise SftpBroken("the server did not answer with one name")
        return fields.text()

    def _names(self, request: int) -> list[Entry] | None:
        """One answer to READDIR; None at the end of the folder."""
        try:
            fields = self._wire.expect(_NAME, request)
        except SftpRefusal as refusal:
            if refusal.code == EOF:
                return None
            raise
        entries = []
        for _ in range(fields.number()):
            name = fields.text()
            fields.text()  # the line as of ls -l
            attributes = fields.attributes()
            if name not in (b".", b".."):
                entries.append(Entry(name, attributes))
        return entries

    def _data(self, request: int) -> bytes | None:
        """One answer to READ; None at the end of the file."""
        try:
            return self._wire.expect(_DATA, request).text()
        except SftpRefusal as refusal:
            if refusal.code == EOF:
                return None
            raise
