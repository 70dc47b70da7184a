"""Child processes end with the program that started them, even while they are in native code.

When a program is killed, the system closes its end of a pipe. A thread of the child that reads from that pipe notices,
but
cannot run while a library holds the interpreter. So the child also asks the system for a signal in that case, and
handles
it in C. Windows has no such signal: there a child in native code lives until it returns, or its time is up.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO

_NO_PIPE = -1


class Lifeline:
    """The program's end of a pipe to one child; nothing is ever written to it.

    The child is started with ``subprocess``'s ``pass_fds`` set to ``inherited`` and calls ``end_with(number)`` first.
    """

    def __init__(self) -> None:
        """:raises OSError: the system provides no pipe."""
        self.number = _NO_PIPE
        self._end: IO[bytes] | None = None
        if sys.platform != "win32":
            self.number, end = os.pipe()
            self._end = os.fdopen(end, "wb", buffering=0)

    @property
    def inherited(self) -> tuple[int, ...]:
        return () if self.number == _NO_PIPE else (self.number,)

    def hand_over(self) -> None:
        """Close the child's end in this process, once the child has it or could not be started."""
        if self.number != _NO_PIPE:
            os.close(self.number)

    def cut(self) -> None:
        """End the child. Cutting twice is fine."""
        if self._end is not None:
            self._end.close()


def end_with(pipe: int) -> None:
    """End this process as soon as no process can write to ``pipe`` any more; nothing may ever be written to it again.

    For processes of ours that have nothing to save. Does nothing on Windows.
    """
    if sys.platform == "win32" or pipe == _NO_PIPE:
        return
    import fcntl  # noqa: PLC0415 - exists on POSIX only

    # The signal's default action differs: Linux ends the process, macOS ignores it. A Python handler would wait
    # for the interpreter.
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGIO, ctypes.cast(libc["_exit"], ctypes.c_void_p))
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # it was already closed
        os._exit(1)
