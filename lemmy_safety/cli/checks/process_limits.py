"""Whether this process may use what a pass needs: open files, and threads with the memory that each reserves.

``doctor`` itself needs less, so it would find no error although every pass fails.
"""

from __future__ import annotations

import _thread
import sys
from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.cli.output.text import plural
from lemmy_safety.shortages import FILES_HINT, open_files_limit, shortage

#: Open files in a pass, measured as 34 with 10 threads and two decoders: databases, libraries, connections, and the
#: pipes of each decoder. A thread has a folder and a file open, or a connection.
_FILES_BESIDE = 32
_FILES_PER_THREAD = 2
_FILES_PER_DECODER = 8

#: Threads of a pass besides those that fetch and those that wait for a decoder: they list, judge, record and show
#: progress.
_THREADS_BESIDE = 6

#: Measured as 1.48 GB of address space in total with 10 threads: the system's allocator reserves this much for each.
_ADDRESSES_PER_THREAD = 64 * 1024 * 1024

#: A thread's first allocation makes the system's allocator reserve memory for it (64 MB of address space with glibc).
_SOME_BYTES = 64 * 1024


#: A thread that has not started after this many seconds has failed.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLow:
    """A limit: its name, its value, and how to raise it."""

    name: str
    detail: str
    fix: str


def too_few_files(*, threads: int, decoders: int) -> TooLow | None:
    """The limit of open files, if it is too low for a pass with this many fetch threads and decoders."""
    limit = open_files_limit()
    wanted = _FILES_BESIDE + _FILES_PER_THREAD * threads + _FILES_PER_DECODER * decoders
    if limit is None or limit >= wanted:
        return None
    detail = f"this process may have {plural(limit, 'file')} open, and a pass with these settings wants {wanted:,}"
    return TooLow(name="open files", detail=detail, fix=FILES_HINT)


def too_few_threads(*, threads: int, decoders: int) -> TooLow | None:
    """The limit of threads or memory, if the threads of such a pass cannot be started now."""
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
    """If address space is limited (``ulimit -v``), a trial of this many threads may fail by chance.

    :raises MemoryError: a pass with this many threads needs more.
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
    """Run this many threads at the same time, for a moment.

    Not those of ``threading``: if memory runs out while one starts, its start waits forever.

    :raises RuntimeError: the system allows no more.
    :raises MemoryError: the system has no memory for them.
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
