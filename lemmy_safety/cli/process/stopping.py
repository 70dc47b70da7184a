"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once.

A clean stop records what was decided and takes seconds. Ending at once is safe too: the ledger's guarantees survive it.
So the second signal does not wait, and the first one not for long: a hanging connection or a model that is loading
cannot be hurried, and a service manager was promised five seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn, Self

from lemmy_safety.cli.process.starting import INTERRUPTED, START_UP, STOP_SIGNALS

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: A pass ends within 4 s of a stop (``scan.scanner``); after that it is stuck. A busy machine takes a few tenths of a
#: second more, and five seconds were promised.
_PATIENCE_S = 4.3


class StopSignals:
    """Inside the ``with``, the first signal sets ``event``. Only for the main thread.

    Python runs handlers in the main thread, between two of its own instructions: not while that thread is in a
    library's native code, and not if the signal comes just before it begins to wait for the network. So the signal is
    also written to a socket at once, and a thread reads that.

    ``exit_code`` is the process's if the work inside did not end in time after a stop.
    """

    def __init__(self, *, exit_code: int = INTERRUPTED) -> None:
        self.event = threading.Event()
        self._exit_code = exit_code
        self._last_resort = threading.Timer(_PATIENCE_S, self._give_up)
        self._last_resort.daemon = True
        self._before: dict[int, Any] = {}
        self._terminal = _terminal_state()
        self._lock = threading.RLock()  # a handler may interrupt the thread that holds it
        self._handled = self._written = self._heard = 0

    def __enter__(self) -> Self:
        for name in STOP_SIGNALS:
            number = getattr(signal, name, None)
            # nohup makes SIGHUP ignored; keep it so.
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._received)
        # After this work the start is over: the remaining output must not be cut off.
        START_UP.interrupts()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._watch, args=(self._reader,), name="watch-signals", daemon=True).start()
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._last_resort.cancel()
        signal.set_wakeup_fd(self._wakeup_before)
        self._writer.close()  # which ends the thread
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _watch(self, reader: socket.socket) -> None:
        with reader:
            while written := reader.recv(64):
                for number in written:
                    if number in self._before:
                        self._note(written=1)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._note(handled=1)

    def _note(self, *, handled: int = 0, written: int = 0) -> None:
        """Each signal is written and handled, in either order. A late Python handles two of a kind as one."""
        with self._lock:
            self._handled += handled
            self._written += written
            heard = max(self._handled, self._written)
            is_news = heard > self._heard
            self._heard = heard
        if is_news and heard > 1:
            self._end(INTERRUPTED)
        if is_news:
            self.event.set()
            self._last_resort.start()
            _say(b"\nStopping; press Ctrl-C again to quit at once.\n")

    def _give_up(self) -> None:
        _say(b"Gave up waiting for a stuck task. All decisions made so far are saved.\n")
        self._end(self._exit_code)

    def _end(self, code: int) -> NoReturn:
        _restore_terminal(self._terminal)  # a passphrase prompt may have turned off the echo
        # Not sys.exit: threads stuck in a vendor's network call would keep the process alive.
        os._exit(code)


def _say(text: bytes) -> None:
    """Write to stderr; with os.write, because the signal may have interrupted a buffered write to it.

    An error here would surface anywhere in the main thread.
    """
    with contextlib.suppress(OSError):
        os.write(2, text)


def end_at_once_if_threads_are_left(code: object) -> None:
    """End the process with this exit code (of a ``SystemExit``) if a thread of ours is still working; else return.

    After a stop that did not wait for it, a model may still be computing. When the interpreter exits, it ends such
    threads in the middle of a library's C++, which then aborts the process: exit code 134 after a successful stop.
    """
    if not isinstance(code, int) or not any(thread.daemon for thread in threading.enumerate()):
        return
    with contextlib.suppress(OSError, ValueError):  # it has no reader any more
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _terminal_state() -> list[Any] | None:
    try:
        import termios  # noqa: PLC0415 - POSIX only; a Windows console keeps no such state
    except ImportError:
        return None
    try:
        return termios.tcgetattr(0)
    except termios.error:  # stdin is not a terminal
        return None


def _restore_terminal(state: list[Any] | None) -> None:
    if state is not None:
        import termios  # noqa: PLC0415 - same reason

        termios.tcsetattr(0, termios.TCSANOW, state)
