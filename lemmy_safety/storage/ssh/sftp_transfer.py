"""The bytes of one open file over SFTP, with many requests in flight."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from lemmy_safety.storage.ssh.sftp_wire import DATA, EOF, READ, WRITE, SftpBroken, SftpRefusal

if TYPE_CHECKING:
    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.ssh.sftp_wire import SftpWire

#: The largest read that every server must answer completely, and the largest write that it must accept (the draft,
#: section
#: 3: 34000 byte packets).
PIECE_BYTES = 32_768

#: Read requests in flight for one file; OpenSSH's own sftp keeps 64 (its -R option).
READS_IN_FLIGHT = 64

#: Pieces on their way to the server; 512 KiB fill the line between two answers.
WRITES_IN_FLIGHT = 16


def read_handle(wire: SftpWire, handle: bytes, size: int, limit: int, pace: Pace | None) -> bytes:
    """The content of an open file, at most ``limit`` bytes of it. ``size`` is its probable size.

    ``pace`` is asked before each piece is requested.
    """
    content = bytearray()
    pending: deque[tuple[int, int]] = deque()
    offset = 0
    # One byte more than expected, to notice a file that has grown without another round trip.
    end = min(size + 1, limit)
    while True:
        while offset < end and len(pending) < READS_IN_FLIGHT:
            length = min(PIECE_BYTES, end - offset)
            pending.append((length, _ask_for(wire, handle, offset, length, pace)))
            offset += length
        if not pending:
            if end >= limit:
                return bytes(content)
            end = min(end + READS_IN_FLIGHT * PIECE_BYTES, limit)
            continue
        length, request = pending.popleft()
        piece = data_in(wire, request)
        if piece is not None:
            if len(piece) > length:
                raise SftpBroken("the server sent more than was asked for")
            content += piece
            if len(piece) == length:
                continue
        for _, other in pending:
            wire.forget(other)
        if piece is None or not piece or len(content) >= size:
            return bytes(content)
        # A short piece before the end: servers may read less at a time. Continue from there.
        pending.clear()
        offset = len(content)


def _ask_for(wire: SftpWire, handle: bytes, offset: int, length: int, pace: Pace | None) -> int:
    if pace is not None:
        wire.flush()  # so that earlier pieces arrive one by one, not all after the last wait
        pace(length)
    return wire.ask(READ, handle, struct.pack(">Q", offset), length, raw=1)


def write_handle(wire: SftpWire, handle: bytes, content: bytes) -> None:
    """Write the content of an open, empty file.

    :raises SftpRefusal: the server refused a piece; others may be written.
    """
    pending: deque[int] = deque()
    try:
        for offset in range(0, len(content), PIECE_BYTES):
            piece = content[offset : offset + PIECE_BYTES]
            pending.append(wire.ask(WRITE, handle, struct.pack(">Q", offset), piece, raw=1))
            if len(pending) >= WRITES_IN_FLIGHT:
                wire.done(pending.popleft())
        while pending:
            wire.done(pending.popleft())
    except SftpRefusal:
        for request in pending:
            wire.forget(request)
        raise


def data_in(wire: SftpWire, request: int) -> bytes | None:
    """One answer to READ; None at the end of the file."""
    try:
        return wire.expect(DATA, request).text()
    except SftpRefusal as refusal:
        if refusal.code == EOF:
            return None
        raise
