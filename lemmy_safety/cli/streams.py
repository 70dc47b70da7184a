"""Standard output and standard error that never decide what is done.

A closed pipe (``| head -1``), a full disk behind stdout, a terminal that went away, an encoding that has no sign for a
key: each of these used to be an exception in the middle of whatever was printed about, such as a row of deletions. Here
a write cannot fail. The first failure is kept, the work goes on, and the exit code says at the end that output was lost.

What the encoding cannot show is escaped. This module imports nothing heavy: it is the first thing that runs.
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
    """The raw end of a stream. ``failure`` is the first error of a write; None as long as everything was written."""

    def __init__(self, raw: io.RawIOBase | None, *, goes_on: bool) -> None:
        """``raw`` is None where the stream was closed before we began.

        ``goes_on``: later writes are tried again, as for a log on a disk that was full for a while. Without it nothing
        follows a failure, so that a document is cut off rather than left with a hole.
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
            # Another program that shares the pipe has made it non-blocking, and it is full.
            select.select([], [self._raw], [])
        return count


class StandardStreams:
    """Takes the place of ``sys.stdout`` and ``sys.stderr`` for the rest of the process."""

    def __init__(self) -> None:
        keep_standard_descriptors_taken()
        self._out, self._err = _held(sys.stdout, goes_on=False), _held(sys.stderr, goes_on=True)
        sys.stdout, sys.stderr = _text(self._out, sys.stdout), _text(self._err, sys.stderr)
        if sys.stdin is None:  # closed as well: there is nobody to be asked
            sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for the rest of the process

    def failure(self) -> OSError | None:
        """The first error of a write to either, after everything that was printed was flushed."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError):  # closed by a library
                stream.flush()
        return self._out.failure or self._err.failure


def keep_standard_descriptors_taken() -> None:
    """Let no file that is opened later have the number of a stream that was closed (``>&-``, ``2>&-``).

    Otherwise the database gets that number, and what a library or a signal handler writes to stderr lands in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _held(stream: TextIO | None, *, goes_on: bool) -> HeldRaw:
    buffer = getattr(stream, "buffer", None)
    return HeldRaw(getattr(buffer, "raw", buffer), goes_on=goes_on)


def _text(raw: HeldRaw, before: TextIO | None) -> io.TextIOWrapper:
    """A text stream like the one before it, except for what it does with signs that its encoding does not have."""
    if before is not None:
        before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=bool(getattr(before, "line_buffering", False)),
        write_through=bool(getattr(before, "write_through", False)),
    )
