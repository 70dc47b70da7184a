"""Limits of a process or a machine (memory, open files, threads) that look like other errors: gives them their name."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES_HINT: Final = "Raise the limit of open files: ulimit -n 1024, LimitNOFILE=1024 in a systemd unit, --ulimit nofile=1024 in a container."
_MEMORY_HINT: Final = (
    "Give the process more memory (ulimit -v, MemoryMax= in a systemd unit, the container's limit), or lower "
    "LEMMY_SAFETY_MEMORY_MB, LEMMY_SAFETY_THREADS and LEMMY_SAFETY_DECODE_WORKERS."
)
_THREADS_HINT: Final = (
    "Raise the limits of threads and memory: ulimit -u and -v, TasksMax= in a systemd unit, --pids-limit in a container; "
    "or lower LEMMY_SAFETY_THREADS."
)

_FILES: Final = ("Too many files are open", FILES_HINT)
_MEMORY: Final = ("There is not enough memory", _MEMORY_HINT)
_THREADS: Final = ("No more threads can be started", _THREADS_HINT)

_NUMBERS: Final = {errno.EMFILE: _FILES, errno.ENFILE: _FILES, errno.ENOMEM: _MEMORY}

#: Messages of loaders and Python that come without an error number, in lower case.
_WORDS: Final = {
    "can't start new thread": _THREADS,
    "failed to map segment from shared object": _MEMORY,
    "cannot allocate memory": _MEMORY,
    "cannot apply additional memory protection": _MEMORY,
    "out of memory": _MEMORY,
    "too many open files": _FILES,
}


#: A process that can open fewer files than this is short of them: a database needs three at a time, and threads that
#: have some open now may close them in a moment.
_SPARE_FILES: Final = 16


def open_files_limit() -> int | None:
    """How many files this process may have open; None if the system has no such limit, or does not report it."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def files_shortage() -> tuple[str, str] | None:
    """As ``shortage``, for errors that do not say why a file could not be opened: whether hardly any more can be."""
    with ExitStack() as opened:
        try:
            for _ in range(_SPARE_FILES):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return _of(error)
    return None


def shortage(error: BaseException) -> tuple[str, str] | None:
    """What ran out, and how to provide more of it, if that caused an error or one of its causes."""
    return next((found for each in _chain(error) if (found := _of(each)) is not None), None)


def _of(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return _NUMBERS[error.errno]
    if isinstance(error, OSError | ImportError | RuntimeError):
        said = str(error).lower()
        return next((found for words, found in _WORDS.items() if words in said), None)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
