"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once.

A clean stop records what was decided and is over within seconds. Ending at once is safe too: every promise in the
ledger survives it. So the second signal waits for nothing, and neither does the first one for long: a connection that
hangs or weights that are being loaded cannot be asked to hurry, and a service manager was promised five seconds.
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

from lemmy_safety.cli.starting import INTERRUPTED, START_UP, STOP_SIGNALS

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: A pass that was asked to stop ends itself within 4 s (``scan.scanner``); what has not ended then is stuck. A busy
#: machine takes some tenths of a second more, and five seconds were promised.
_PATIENCE_S = 4.3


class StopSignals:
    """While inside the ``with``, ``event`` is set by the first signal. Only for the main thread.

    Python runs handlers in the main thread, between two of its own instructions: not while that thread is in a library's
    native code, and not if the signal comes just before it begins to wait for the network. So the signal is also written
    to a socket, which happens at once, and a thread reads that.

    ``exit_code`` is the process's when what is inside did not end in time after being asked.
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
            # nohup has SIGHUP ignored, and that is to stay so.
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._received)
        # What comes after this work is no longer the start: output is written that must not be cut off.
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
        """Each signal is written and handled, in either order. Python handles two of a kind as one if it is late."""
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
            _say(b"\nStopping; once more to end at once.\n")

    def _give_up(self) -> None:
        _say(b"Something hangs and was left behind; what was decided is recorded.\n")
        self._end(self._exit_code)

    def _end(self, code: int) -> NoReturn:
        _restore_terminal(self._terminal)  # a passphrase prompt may have switched the echo off
        # Not sys.exit: threads stuck in a vendor's network call would keep the process alive.
        os._exit(code)


def _say(text: bytes) -> None:
    """Write to stderr; os.write, because the signal may have come in the middle of a buffered write to it.

    An error here would surface in the middle of whatever the main thread does.
    """
    with contextlib.suppress(OSError):
        os.write(2, text)


def end_at_once_if_threads_are_left(code: object) -> None:
    """End the process with this exit code (of a ``SystemExit``) where a thread still works for us; else return.

    After a stop that did not wait for it, a model may still be computing. When the interpreter ends it ends such threads
    in the middle of a library's C++, which then aborts the process: exit code 134 after a stop in which all went well.
    """
    if not isinstance(code, int) or not any(thread.daemon for thread in threading.enumerate()):
        return
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
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
    except termios.error:  # stdin is no terminal
        return None


def _restore_terminal(state: list[Any] | None) -> None:
    if state is not None:
        import termios  # noqa: PLC0415 - idem

        termios.tcsetattr(0, termios.TCSANOW, state)
