"""Handles stop signals from the first moment on: before any library is imported, and until work begins.

A process starts without handlers. A signal then ends it with the system's own code, or with a traceback. The first
process of a container (PID 1) does not even receive it: the kernel drops a signal without a handler there, and ``docker
stop`` waits in vain. So this module runs first, and its imports are fast. Only Python's own start comes before, about
15 ms to 30 ms: in that time the system's default action or a traceback cannot be avoided.

A signal becomes a flag while the program loads, not an exception: it is not known yet how the command should end. After
that it is an exception. Where Python cannot propagate it (a generator that is being closed, a callback of the import
system), it is printed and dropped, so it is raised again a moment later.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys

# Importing typing takes longer than everything else here, so its constant is defined here. Type checkers know its name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

#: The exit code of an interrupted command.
INTERRUPTED = 130

#: Windows sends SIGBREAK for Ctrl-Break and when a console closes; other systems send SIGHUP when a terminal closes.
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


class StartUp:
    """What a stop signal does at each moment outside ``StopSignals``; inactive before ``begin``.

    At first it is stored, because the command is not known yet. Then ``ends_with`` or ``interrupts`` decides.
    """

    def __init__(self) -> None:
        self._begun = False
        self._asked = False
        self._code: int | None = None
        self._interrupts = False
        self._forgot: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def begin(self) -> None:
        """Install the handlers. A signal that is ignored on purpose (``nohup``, ``&`` in a script) stays ignored."""
        self._begun = True
        self._forgot, sys.unraisablehook = sys.unraisablehook, self._forgotten
        for name in STOP_SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._received)

    def ends_with(self, code: int) -> None:
        """No work has begun, or all is done: from now on a signal ends the process at once with this code.

        So does one that came before.
        """
        self._code = code
        if self._begun and self._asked:
            os._exit(code)

    def interrupts(self) -> None:
        """From now on the first signal, of any kind, is a ``KeyboardInterrupt``, and a second one ends at once.

        :raises KeyboardInterrupt: a signal came before.
        """
        self._code, self._interrupts = None, True
        if self._begun and self._asked:
            raise KeyboardInterrupt

    def tells_of_forgotten(self, tell: Callable[[sys.UnraisableHookArgs], object]) -> None:
        """Set how to show an exception that Python cannot propagate, instead of Python's own way."""
        self._forgot = tell

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        if self._asked:
            os._exit(INTERRUPTED)
        if frame is not None and frame.f_code is StartUp._forgotten.__code__:
            _again_in_a_moment(number)  # an exception would be dropped there, too
            return
        self._asked = True
        if self._interrupts:
            raise KeyboardInterrupt(number)

    def _forgotten(self, lost: sys.UnraisableHookArgs) -> None:
        """Called by Python instead of propagating an exception that cannot be propagated."""
        if self._interrupts and isinstance(lost.exc_value, KeyboardInterrupt) and lost.exc_value.args:
            self._asked = False
            _again_in_a_moment(lost.exc_value.args[0])
        else:
            self._forgot(lost)


def _again_in_a_moment(number: int) -> None:
    """Send the signal to the main thread again, once it has left the place where exceptions are dropped."""
    main = _thread.get_ident()

    def send() -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, number)
        else:  # Windows, where a wait of the main thread cannot be interrupted
            _thread.interrupt_main(signal.Signals(number))

    _thread.start_new_thread(send, ())


#: One per process, as there is one set of handlers.
START_UP = StartUp()
