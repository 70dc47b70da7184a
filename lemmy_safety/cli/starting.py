"""Signals that ask to stop, from the first moment on: before any library is imported, and until work begins.

A process begins without handlers. A signal then ends it with the system's own code, or with a traceback. The first
process of a container (PID 1) is not even told: the kernel drops a signal that has no handler there, and ``docker stop``
waits in vain. So this is the first thing that runs, and it imports nothing that takes time. What comes before is Python's
own start, of some 15 ms to 30 ms: in it the system's answer or a traceback of Python's own cannot be avoided.

A signal becomes a flag while the program loads, not an exception: nothing is known yet of how the command should end.
After that it is an exception. One that is raised where Python cannot pass it on (a generator that is being closed, a
callback of the import system) is printed and forgotten there, so it is raised again a moment later.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys

# typing takes longer to import than all else here, so its constant is spelled out. Type checkers know it by its name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

#: The exit code of what was interrupted before its end.
INTERRUPTED = 130

#: SIGBREAK is what Windows sends for Ctrl-Break and when a console closes, SIGHUP what others send for a terminal that
#: went away.
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


class StartUp:
    """What a signal to stop means at each moment outside of ``StopSignals``; does nothing before ``begin``.

    First it is kept, because it is not known yet what is being started. Then ``ends_with`` or ``interrupts`` decides.
    """

    def __init__(self) -> None:
        self._begun = False
        self._asked = False
        self._code: int | None = None
        self._interrupts = False
        self._forgot: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def begin(self) -> None:
        """Take the signals over. One that is ignored on purpose (``nohup``, ``&`` in a script) stays so."""
        self._begun = True
        self._forgot, sys.unraisablehook = sys.unraisablehook, self._forgotten
        for name in STOP_SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._received)

    def ends_with(self, code: int) -> None:
        """No work has begun, or all is over: from now on a signal ends the process at once with this code.

        So does one that came before.
        """
        self._code = code
        if self._begun and self._asked:
            os._exit(code)

    def interrupts(self) -> None:
        """From now on the first signal is a ``KeyboardInterrupt``, whichever it is, and a second one ends at once.

        :raises KeyboardInterrupt: a signal came before.
        """
        self._code, self._interrupts = None, True
        if self._begun and self._asked:
            raise KeyboardInterrupt

    def tells_of_forgotten(self, tell: Callable[[sys.UnraisableHookArgs], object]) -> None:
        """How to show an exception that Python cannot pass on, in the place of Python's own way."""
        self._forgot = tell

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        if self._asked:
            os._exit(INTERRUPTED)
        if frame is not None and frame.f_code is StartUp._forgotten.__code__:
            _again_in_a_moment(number)  # an exception would be forgotten there, too
            return
        self._asked = True
        if self._interrupts:
            raise KeyboardInterrupt(number)

    def _forgotten(self, lost: sys.UnraisableHookArgs) -> None:
        """Called by Python instead of passing on an exception that it has nowhere to pass on to."""
        if self._interrupts and isinstance(lost.exc_value, KeyboardInterrupt) and lost.exc_value.args:
            self._asked = False
            _again_in_a_moment(lost.exc_value.args[0])
        else:
            self._forgot(lost)


def _again_in_a_moment(number: int) -> None:
    """Send the signal to the main thread again, once it has left the place where an exception is forgotten."""
    main = _thread.get_ident()

    def send() -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, number)
        else:  # Windows, where nothing ends a wait of the main thread
            _thread.interrupt_main(signal.Signals(number))

    _thread.start_new_thread(send, ())


#: Of this process; there is one set of handlers.
START_UP = StartUp()
