"""The packets of SFTP version 3: requests out, answers back in any order, over one SSH channel.

The protocol is small and frozen (draft-ietf-secsh-filexfer-02, used by OpenSSH, ProFTPD and the rest). ``sftp`` decides
what to request.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    import paramiko

# Packet types and status codes of the draft, sections 3 and 7.
_INIT, _VERSION, _STATUS = 1, 2, 101
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, OPENDIR, READDIR = 3, 4, 5, 6, 7, 8, 11, 12
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, EXTENDED = 13, 14, 15, 16, 17, 18, 200
HANDLE, DATA, NAME, ATTRS, EXTENDED_REPLY = 102, 103, 104, 105, 201
_OK = 0
EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 1, 2, 3, 4, 5, 8

_HAS_SIZE, _HAS_OWNER, HAS_MODE, _HAS_TIMES, _HAS_MORE = 0x01, 0x02, 0x04, 0x08, 0x80000000

_OUR_VERSION = 3

#: OpenSSH sends and accepts packets of at most 256 KiB (SFTP_MAX_MSG_LENGTH); more is garbage, not an answer.
_MAX_PACKET = 256 * 1024 + 1024

#: The largest file of any file system in use (8 EiB); a larger number is not a size.
MOST_BYTES = 2**63 - 1

#: How much is read from the channel at once; its window is 2 MiB.
_RECEIVE_BYTES = 256 * 1024


class SftpRefusal(Exception):
    """The server understood and refused. ``code`` is a status of the draft, ``text`` the server's own words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text or f"SFTP status {code}")
        self.code = code


class SftpBroken(Exception):
    """The other side closed the channel or does not speak SFTP; the session is unusable.

    ``received`` is what came instead of a packet.
    """

    def __init__(self, reason: str, received: bytes = b"") -> None:
        super().__init__(reason)
        self.received = received


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the server reports about one file. ``size`` in bytes, ``mtime`` in whole seconds since 1970, modulo 2**32.

    ``mode`` is that of ``stat``, with the file type. Values that a server leaves out are None, an ``mtime`` 0.
    """

    size: int | None
    mtime: int
    mode: int | None

    @property
    def file_size(self) -> int:
        """:raises SftpRefusal: the server does not report it."""
        if self.size is None:
            raise SftpRefusal(FAILURE, "it does not say how large the file is")
        return self.size


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder, never ``.`` or ``..``."""

    name: bytes
    attributes: Attributes


class Fields:
    """Reads one field after the other from an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def number(self) -> int:
        return int(self._unpack(">I", 4))

    def long(self) -> int:
        return int(self._unpack(">Q", 8))

    def text(self) -> bytes:
        length = self.number()
        start, self._at = self._at, self._at + length
        if self._at > len(self._body):
            raise SftpBroken("an SFTP answer is cut short")
        return self._body[start : self._at]

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & _HAS_SIZE else None
        if size is not None and size > MOST_BYTES:
            raise SftpBroken("the server tells of a file that is larger than files can be")
        if flags & _HAS_OWNER:
            self.long()
        mode = self.number() if flags & HAS_MODE else None
        mtime = (self.long() & 0xFFFFFFFF) if flags & _HAS_TIMES else 0
        if flags & _HAS_MORE:
            for _ in range(self.number()):
                self.text()
                self.text()
        return Attributes(size, mtime, mode)

    def _unpack(self, form: str, length: int) -> int:
        try:
            (value,) = struct.unpack_from(form, self._body, self._at)
        except struct.error as error:
            raise SftpBroken("an SFTP answer is cut short") from error
        self._at += length
        return int(value)


class SftpWire:
    """Requests and answers of one session. Used by one thread at a time: there is one buffer.

    Requests are collected and sent together when the first answer is awaited.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._unwanted: set[int] = set()
        self._number = 0
        self._outgoing += struct.pack(">IBI", 5, _INIT, _OUR_VERSION)
        self.flush()
        kind, body = self._packet()
        if kind != _VERSION:
            raise SftpBroken("the server does not speak SFTP")
        version = Fields(body).number()
        if version < _OUR_VERSION:
            raise SftpBroken(f"the server speaks SFTP version {version} only")

    def ask(self, kind: int, *fields: bytes | int, raw: int = -1) -> int:
        """Queue a request; the field at index ``raw`` is written unchanged, other bytes with their length."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        body = bytearray(struct.pack(">BI", kind, self._number))
        for index, field in enumerate(fields):
            if isinstance(field, int):
                body += struct.pack(">I", field)
            elif index == raw:
                body += field
            else:
                body += struct.pack(">I", len(field)) + field
        self._outgoing += struct.pack(">I", len(body)) + body
        return self._number

    def forget(self, request: int) -> None:
        """Ignore the answer to this request when it comes."""
        if self._answers.pop(request, None) is None:
            self._unwanted.add(request)

    def flush(self) -> None:
        if self._outgoing:
            outgoing, self._outgoing = bytes(self._outgoing), bytearray()
            try:
                self._channel.sendall(outgoing)
            except OSError as error:
                if isinstance(error, TimeoutError) or not self._channel.closed:
                    raise
                raise SftpBroken("the server closed the SFTP session") from error

    def _answer(self, request: int) -> tuple[int, bytes]:
        self.flush()
        while request not in self._answers:
            kind, body = self._packet()
            number = Fields(body).number()
            if number in self._unwanted:
                self._unwanted.discard(number)
            else:
                self._answers[number] = (kind, body[4:])
        return self._answers.pop(request)

    def expect(self, wanted: int, request: int) -> Fields:
        """The answer to a request.

        :raises SftpRefusal: the server refused instead.
        """
        kind, body = self._answer(request)
        fields = Fields(body)
        if kind == _STATUS and wanted != _STATUS:
            self._raise_unless_ok(fields)
        if kind != wanted:
            raise SftpBroken(f"the server answered with packet type {kind} instead of {wanted}")
        return fields

    def done(self, request: int) -> None:
        """Wait until the request was carried out.

        :raises SftpRefusal: it was not.
        """
        self._raise_unless_ok(self.expect(_STATUS, request))

    def _raise_unless_ok(self, fields: Fields) -> None:
        code = fields.number()
        if code != _OK:
            raise SftpRefusal(code, foreign(fields.text().decode("utf-8", errors="replace")))

    def _packet(self) -> tuple[int, bytes]:
        head = self._take(4)
        (length,) = struct.unpack(">I", head)
        if not 1 <= length <= _MAX_PACKET:
            raise SftpBroken("the server sent something that is not SFTP", head + self._incoming)
        packet = self._take(length)
        return packet[0], packet[1:]

    def _take(self, length: int) -> bytes:
        while len(self._incoming) < length:
            received = self._channel.recv(_RECEIVE_BYTES)
            if not received:
                raise SftpBroken("the server closed the SFTP session", bytes(self._incoming))
            self._incoming += received
        taken = bytes(self._incoming[:length])
        del self._incoming[:length]
        return taken
