"""Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the process at once.

A clean stop records what was decided and is over within seconds. Ending at once is safe too: every promise in the
ledger survives it, which is why the second signal does not wait for anything.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from lemmy_safety.cli.failures import INTERRUPTED

if TYPE_CHECKING:
    from types import FrameType, TracebackType

#: SIGBREAK is what Windows sends for Ctrl-Break and when a console closes.
_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")


class StopSignals:
    """While inside the ``with``, ``event`` is set by the first signal. Only for the main thread."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._before: dict[int, Any] = {}
        self._terminal = _terminal_state()

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        if self.event.is_set():
            _restore_terminal(self._terminal)  # a passphrase prompt may have switched the echo off
            # Not sys.exit: threads stuck in a vendor's network call would keep the process alive.
            os._exit(INTERRUPTED)
        self.event.set()
        # os.write, because the signal may have come in the middle of a buffered write to the same stream.
        os.write(2, b"\nStopping; once more to end at once.\n")


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
