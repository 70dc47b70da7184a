"""Restrictions that a decoding process sets on itself before it reads the first untrusted byte.

Everything here affects the whole process, so never call it in the main program.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import AvifImagePlugin

from lemmy_safety.errors import MissingExtra
from lemmy_safety.media.memory import MOST_AT_ONCE
from lemmy_safety.packages import imported

if TYPE_CHECKING:
    from collections.abc import Iterator

# A medium may reserve address space that it never uses; its real use is watched from outside (``process``).
# This limit is for an allocation that would be over before the next check.
_ADDRESS_SPACE_FACTOR: Final = 2
# Half of the scale: among large processes the kernel kills a decoder before a database.
_OOM_SCORE: Final = "500"
# Numbers of <malloc.h>; the C library refuses a higher threshold, so larger blocks are still returned at once.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_MMAP_THRESHOLD: Final = 32 * 1024 * 1024
_LARGEST_INT: Final = 2**31 - 1
_KEPT_PART: Final = 16
# The parent process ends a medium that is over its time. This is for when it cannot: it was killed itself.
_OVERTIME_FACTOR: Final = 2


def ignore_stop_signals() -> None:
    """Ignore signals to stop: Ctrl-C, a closed terminal and a service manager reach all processes; only one may
    respond.

    Otherwise a stop would look as if the media being decoded had crashed their decoder.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_IGN)


def leave_no_core_dump() -> None:
    """A core dump would write the current picture to a disk; on Windows, this prevents the dialogue and the report."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - exists on Windows only

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
        return
    import resource  # noqa: PLC0415 - exists on POSIX only

    # Linux passes dumps to a collecting program whatever the limit is, unless it is exactly 1, and no file is that
    # small.
    wanted = 1 if sys.platform == "linux" else 0
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def decode_in_one_thread() -> None:
    """Libraries start as many threads as there are cores, and there are already as many of these processes.

    Only for libraries with a process-wide setting; others get theirs with each medium.
    """
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with contextlib.suppress(MissingExtra), imported("pillow_heif", extra="heic", needed_for="HEIC"):
        from pillow_heif import options  # noqa: PLC0415 - an extra

        options.DECODE_THREADS = 1


def limit_memory(memory_bytes: int) -> None:
    """Linux: fail allocations far over ``memory_bytes`` above the current mapping, and be killed first if memory is
    short.

    Call it after everything is imported. Other systems do not enforce such a limit.
    """
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 - same reason

    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    # Below its limit a process can always have what FFmpeg may ask for at once: a refusal then is not a shortage.
    limit = mapped + max(_ADDRESS_SPACE_FACTOR * memory_bytes, memory_bytes + MOST_AT_ONCE)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(OSError):  # containers may forbid it, and then the kernel chooses without our hint
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def keep_freed_memory(memory_bytes: int) -> None:
    """GNU/Linux: keep up to a sixteenth of ``memory_bytes`` for the next medium.

    Otherwise the C library returns each picture's memory, and the kernel clears every page of it for the next one:
    that is an eighth of all decoding time.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, min(memory_bytes // _KEPT_PART, _LARGEST_INT))


class Overtime:
    """Ends this process if one medium takes far too long, even if the interpreter can no longer run."""

    def __init__(self, timeout_s: float) -> None:
        self._seconds = timeout_s * _OVERTIME_FACTOR
        if sys.platform == "win32":
            # faulthandler writes a traceback here before it ends a process.
            self._nowhere = Path(os.devnull).open("wb")  # noqa: SIM115 - open as long as the process is

    @contextmanager
    def watch(self) -> Iterator[None]:
        """For one medium."""
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, self._seconds)  # SIGALRM has no handler, so the system ends us
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._nowhere)  # starts a thread each time
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
