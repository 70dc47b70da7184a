"""Whether this process may have what a pass takes: open files, and threads with the memory that each of them reserves.

``doctor`` takes less, and would find nothing wrong where each pass fails.
"""

from __future__ import annotations

import _thread
import sys
from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.cli.text import plural
from lemmy_safety.shortages import FILES_HINT, open_files_limit, shortage

#: Files that are open in a pass, measured as 34 with 10 threads and two decoders: databases, libraries, connections; and pipes of
#: each decoder. A thread has a folder and a file open, or a connection.
_FILES_BESIDE = 32
_FILES_PER_THREAD = 2
_FILES_PER_DECODER = 8

#: Threads of a pass beside those that fetch and those that wait for a decoder: they list, judge, record and show progress.
_THREADS_BESIDE = 6

#: Measured as 1.48 GB of addresses in all with 10 threads: the system's allocator reserves so much for each.
_ADDRESSES_PER_THREAD = 64 * 1024 * 1024

#: What a thread allocates makes the system's allocator reserve room for it (64 MB of addresses with glibc).
_SOME_BYTES = 64 * 1024


#: A thread that has not begun after so many seconds has failed to.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLow:
    """A limit, by name, what it is, and how to raise it."""

    name: str
    detail: str
    fix: str


def too_few_files(*, threads: int, decoders: int) -> TooLow | None:
    """The limit of open files, where it is too low for a pass with so many threads that fetch, and decoders."""
    limit = open_files_limit()
    wanted = _FILES_BESIDE + _FILES_PER_THREAD * threads + _FILES_PER_DECODER * decoders
    if limit is None or limit >= wanted:
        return None
    detail = f"this process may have {plural(limit, 'file')} open, and a pass with these settings wants {wanted:,}"
    return TooLow(name="open files", detail=detail, fix=FILES_HINT)


def too_few_threads(*, threads: int, decoders: int) -> TooLow | None:
    """The limit of threads or of memory, where as many threads as the pass has cannot be started now."""
    wanted = threads + decoders + _THREADS_BESIDE
    try:
        _see_addresses_for(wanted)
        _start(wanted)
    except (RuntimeError, MemoryError) as error:
        short = shortage(error)
        if short is None:
            raise
        detail = f"a pass with these settings wants {wanted} threads at a time: {short[0].lower()}"
        return TooLow(name="threads", detail=detail, fix=short[1])
    return None


def _see_addresses_for(threads: int) -> None:
    """Where addresses are limited (``ulimit -v``), whether a trial of so many threads succeeds is a matter of luck.

    :raises MemoryError: a pass with so many threads takes more.
    """
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 - not on Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # /proc is not mounted
        return
    if limit < pages * resource.getpagesize() + threads * _ADDRESSES_PER_THREAD:
        raise MemoryError


def _start(number: int) -> None:
    """Have so many threads at the same time, for a moment.

    Not those of ``threading``: where memory ends while one of them begins, its start waits for ever.

    :raises RuntimeError: the system allows no more.
    :raises MemoryError: it has no memory for them.
    """
    end = _thread.allocate_lock()
    end.acquire()
    begun = []
    try:
        for _ in range(number):
            has_begun = _thread.allocate_lock()
            has_begun.acquire()
            _thread.start_new_thread(_live, (has_begun, end))
            begun.append(has_begun)
        if not all(has_begun.acquire(timeout=_PATIENCE_S) for has_begun in begun):
            raise MemoryError
    finally:
        end.release()


def _live(has_begun: _thread.LockType, end: _thread.LockType) -> None:
    try:
        bytearray(_SOME_BYTES)
    except MemoryError:
        return
    has_begun.release()
    with end:
        pass
