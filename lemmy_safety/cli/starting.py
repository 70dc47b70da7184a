"""Signals that ask to stop, from the first moment on: before any library is imported, and until work begins.

A process begins without handlers. A signal then ends it with the system's own code, or with a traceback. The first
process of a container (PID 1) is not even told: the kernel drops a signal that has no handler there, and ``docker stop``
waits in vain. So this is the first thing that runs, and it imports nothing that takes time. What comes before is Python's
own start, of some 15 ms to 30 ms: in it the system's answer or a traceback of Python's own cannot be avoided.

A signal becomes a flag while the program loads, not an exception: an exception in the middle of an import can end in one
of the import system's callbacks, which Python prints and forgets.
"""

from __future__ import annotations

import _thread
import os
import signal

# typing takes longer to import than all else here, so its constant is spelled out. Type checkers know it by its name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

#: The exit code of what was interrupted before its end.
INTERRUPTED = 130

#: SIGBREAK is what Windows sends for Ctrl-Break and when a console closes, SIGHUP what others send for a terminal that
#: went away.
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


#: The file name of the import system's code. In one of its callbacks an exception is printed and forgotten.
_IMPORT_SYSTEM = "<frozen importlib"


class StartUp:
    """What a signal to stop means at each moment outside of ``StopSignals``; does nothing before ``begin``.

    First it is kept, because it is not known yet what is being started. Then ``ends_with`` or ``interrupts`` decides.
    """

    def __init__(self) -> None:
        self._begun = False
        self._asked = False
        self._code: int | None = None
        self._interrupts = False

    def begin(self) -> None:
        """Take the signals over. One that is ignored on purpose (``nohup``, ``&`` in a script) stays so."""
        self._begun = True
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

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            os._exit(self._code)
        if self._asked:
            os._exit(INTERRUPTED)
        if self._interrupts and frame is not None and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            # A command may import more while it works: the signal comes again a moment later.
            _thread.start_new_thread(lambda: _thread.interrupt_main(signal.Signals(number)), ())
            return
        self._asked = True
        if self._interrupts:
            raise KeyboardInterrupt


#: Of this process; there is one set of handlers.
START_UP = StartUp()
