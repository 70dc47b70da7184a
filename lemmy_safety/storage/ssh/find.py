"""Lists the files below a folder on the server with GNU ``find`` in the account's shell: 20,000 files per round trip.

It is used wherever it proves to work; SFTP-only accounts use the other way (``sftp_listing``). Both describe
a file alike (``found``).
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageError, StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.found import EPOCH, FoundFile, denied, microseconds
from lemmy_safety.storage.ssh.sftp_wire import MOST_BYTES
from lemmy_safety.storage.wanted_keys import LOST_AND_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from lemmy_safety.storage.ssh.connection import SshConnections

_LOG = logging.getLogger(__name__)

#: SFTP version 3 has 32 bits for a time.
_TIME_MODULUS = 2**32

#: What ``date +%s`` answers, up to the year 5138.
_SECONDS = re.compile(rb"[0-9]{1,11}")

_SECOND_US = 1_000_000

#: Exit status for a root that cannot be entered; find's own are 0 and 1.
_NO_ROOT = 77

#: Longest answer that is read when the shell is tried out.
_MOST_PROBE_BYTES = 65_536
# A path has at most 4,096 bytes on Linux, and 32,767 anywhere; a time and a size precede it.
_MOST_RECORD_BYTES = 64 * 1024


class FindListing:
    """Listing by GNU find over exec."""

    def __init__(self, connections: SshConnections, root: bytes, name: str) -> None:
        self._connections = connections
        self._root = root
        self._name = name
        self._available: bool | None = None
        self._probing = threading.Lock()

    def available(self) -> bool:
        """Whether the account has a shell that sees the same root and a find with -printf; determined once.

        An SFTP-only account answers any command with its own text and status 1, a busybox has no -printf, and
        some shells quote differently: only the exact answer to a request with a random mark counts.
        """
        with self._probing:
            if self._available is None:
                self._available = self._probe()
                _LOG.debug("%s: listing by %s", self._name, "find" if self._available else "SFTP")
            return self._available

    def clock(self) -> datetime | None:
        """The server's time in whole seconds; None if it does not report it."""
        answer = b""
        with self._connections.command(b"exec env LC_ALL=C date +%s", _LOG.debug) as command:
            for chunk in command.output():
                answer += chunk
                if len(answer) > _MOST_PROBE_BYTES:
                    return None
            command.exit_status()
        told = answer.strip()
        return EPOCH + timedelta(seconds=int(told)) if _SECONDS.fullmatch(told) else None

    def files(self, starts: Sequence[bytes], since: datetime | None) -> Iterator[FoundFile]:
        """Files below the start folders (relative to the root; empty: the root itself), in the server's order.

        :raises StorageError: AccessDenied at the end, after everything else, if a folder may not be read;
            StorageUnreachable if the listing was cut off.
        """
        since_us = None if since is None else microseconds(since)
        complaints = _FindComplaints()
        with self._connections.command(self._command(starts, since), complaints.hear) as command:
            for record in split_records(command.output()):
                found, modified_us = parse_record(record)
                if since_us is None or modified_us >= since_us or modified_us < _SECOND_US:
                    yield found
            status = command.exit_status()
        if status != 0:
            complaints.raise_for(status, self._name)

    def _command(self, starts: Sequence[bytes], since: datetime | None) -> bytes:
        places = [_quoted(b"./" + start if start else b".") for start in starts]
        parts = [b"cd", _quoted(self._root), b"|| exit %d; exec env LC_ALL=C find" % _NO_ROOT, *places]
        parts.append(b"-path ./%s -prune -o -type f" % LOST_AND_FOUND.encode())
        if since is not None and since > EPOCH:
            # "Newer" is exclusive, and find parses only whole seconds; we do the exact comparison.
            # A file of unknown time (1970) may be new.
            parts.append(rb"\( -newermt @%d -o ! -newermt @0 \)" % (int(since.timestamp()) - 1))
        parts.append(rb"-printf '%T@ %s %p\0'")
        return b" ".join(parts)

    def _probe(self) -> bool:
        mark = secrets.token_hex(16) + " '\\\\ \" `!$HOME"
        expected = b"\n".join([mark.encode(), self._root, b"find"])
        script = b" ".join(
            [
                b"printf '%s\\n'",
                _quoted(mark.encode()),
                b"&& cd",
                _quoted(self._root),
                b"&& pwd -P && exec env LC_ALL=C find . -maxdepth 0 -newermt @0 -printf find",
            ]
        )
        answer = b""
        try:
            with self._connections.command(script, _LOG.debug) as command:
                for chunk in command.output():
                    answer += chunk
                    if len(answer) > _MOST_PROBE_BYTES:
                        return False
                command.exit_status()
        except StorageUnreachable as error:
            # Some servers close the channel, or the whole connection, on a command. If we can tell, that was the
            # reason.
            _LOG.debug("no shell: %s", error.message)
            self._connections.run(lambda session: session.realpath(self._root))
            return False
        return answer == expected


class _FindComplaints:
    """What find prints on stderr, read line by line: the number of refused folders, and anything worse."""

    def __init__(self) -> None:
        self._refused = 0
        self._first_refused = ""
        self._others = ""

    def hear(self, line: str) -> None:
        if line.endswith("Permission denied"):
            self._first_refused = self._first_refused or line.removeprefix("find: ").rpartition(":")[0]
            self._refused += 1
        # Files that vanished while find ran are not errors.
        elif line.strip() and not line.endswith("No such file or directory"):
            self._others = foreign(line)

    def raise_for(self, status: int, name: str) -> None:
        """Turn a status other than 0 into an error, unless it only means that something vanished."""
        if status == _NO_ROOT:
            raise denied(name, 1, "the root")
        if self._others or status != 1:
            raise StorageError(
                f"Listing {name} by find failed with status {status}: {self._others or 'no reason given'}."
            )
        if self._refused:
            raise denied(name, self._refused, self._first_refused)


def split_records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The text before each NUL.

    :raises EOFError: the output ends in the middle of a record.
    :raises StorageError: a record is longer than any path.
    """
    rest = b""
    for chunk in chunks:
        *records, rest = (rest + chunk).split(b"\0")
        yield from records
        # A server that never ends a record would make us read and keep its output for ever.
        if len(rest) > _MOST_RECORD_BYTES:
            raise StorageError(f"find on the server wrote something unexpected: {rest[:80]!r}")
    if rest:
        raise EOFError("the listing was cut off")


def parse_record(record: bytes) -> tuple[FoundFile, int]:
    """One record of find (``1700000000.1234567890 1024 ./01/a1/x.webp``) and its mtime in microseconds since 1970.

    :raises StorageError: not a record.
    """
    try:
        time, size, path = record.split(b" ", 2)
        whole, _, fraction = time.partition(b".")
        modified_us = int(whole) * _SECOND_US + int(fraction[:6].ljust(6, b"0"))
        found = FoundFile(path.removeprefix(b"./"), int(size), int(whole) % _TIME_MODULUS)
    except ValueError as error:
        raise _unexpected(record) from error
    if not 0 <= found.size <= MOST_BYTES or not found.path:
        raise _unexpected(record)
    return found, modified_us


def _unexpected(record: bytes) -> StorageError:
    return StorageError(f"find on the server wrote something unexpected: {record[:80]!r}")


def _quoted(text: bytes) -> bytes:
    return shlex.quote(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
