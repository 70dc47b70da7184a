"""Standard output and standard error whose failures do not affect the work.

A closed pipe (``| head -1``), a full disk behind stdout, a closed terminal, a key that the encoding cannot represent:
each of these used to raise an exception in the middle of the work, such as a series of deletions. Here a write cannot
fail. The first error is kept, the work goes on, and the exit code reports at the end that output was lost.

Characters that the encoding cannot represent are escaped. This module imports nothing heavy: it runs first.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class HeldRaw(io.RawIOBase):
    """The raw end of a stream. ``failure`` is the first write error; None if everything was written."""

    def __init__(self, raw: io.RawIOBase | None, *, goes_on: bool) -> None:
        """``raw`` is None if the stream was closed before we began.

        ``goes_on``: later writes are tried, as for a log on a disk that was full for a while. Without it nothing is
        written after an error, so that a document is cut off rather than left with a gap.
        """
        super().__init__()
        self._raw = raw
        self._goes_on = goes_on
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._raw is None:
            raise io.UnsupportedOperation("the stream was closed before we began")
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw is not None and self._raw.isatty()

    def write(self, data: ReadableBuffer, /) -> int:
        whole = memoryview(data).nbytes
        if self.failure is not None and not self._goes_on:
            return whole
        try:
            return self._written(data)
        except OSError as error:
            self.failure = self.failure or error
            return whole

    def _written(self, data: ReadableBuffer) -> int:
        if self._raw is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        while (count := self._raw.write(data)) is None:
            # The pipe is full, and another program that shares it made it non-blocking.
            select.select([], [self._raw], [])
        return count


class StandardStreams:
    """Replaces ``sys.stdout`` and ``sys.stderr`` for the rest of the process."""

    def __init__(self) -> None:
        keep_standard_descriptors_taken()
        self._out, self._err = _held(sys.stdout, goes_on=False), _held(sys.stderr, goes_on=True)
        sys.stdout, sys.stderr = _text(self._out, sys.stdout), _text(self._err, sys.stderr)
        if sys.stdin is None:  # closed as well: no user can be asked
            sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process

    def failure(self) -> OSError | None:
        """Flush both. Returns the first write error of either."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):  # closed by a library
                stream.flush()
        return self._out.failure or self._err.failure


def keep_standard_descriptors_taken() -> None:
    """Keep files opened later from getting the number of a closed stream (``>&-``, ``2>&-``).

    Otherwise the database gets that number, and what a library or a signal handler writes to stderr lands in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # This is the lowest free number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _held(stream: TextIO | None, *, goes_on: bool) -> HeldRaw:
    buffer = getattr(stream, "buffer", None)
    return HeldRaw(getattr(buffer, "raw", buffer), goes_on=goes_on)


def _text(raw: HeldRaw, before: TextIO | None) -> io.TextIOWrapper:
    """A text stream like the one before, except that it escapes characters missing from its encoding."""
    if before is not None:
        before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=bool(getattr(before, "line_buffering", False)),
        write_through=bool(getattr(before, "write_through", False)),
    )
