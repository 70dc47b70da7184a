"""Reading no faster than a caller allows: the pace is asked before bytes can be on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

#: Called with a number of bytes before so many can arrive. Waits as long as it likes. An exception from it ends the
#: read, and the connection is not used again.
Pace: TypeAlias = "Callable[[int], None]"

#: Bytes that are received at a time under a pace.
PIECE_BYTES = 1 << 15

#: Bytes of a stream that a system receives for a program that has not read them yet: Linux begins a connection with a
#: window of 64 KiB (``tcp_rmem``), holds up to 110 KiB in all, and widens it only for programs that read fast.
AHEAD_BYTES = 3 * PIECE_BYTES


class PacedStream:
    """One object that arrives as a stream. The pace is asked for what the system may already be receiving, too."""

    def __init__(self, pace: Pace | None, size: int) -> None:
        """``size``: the bytes that will probably come. Without a pace nothing waits."""
        self._pace = pace
        self._size = size
        self._asked = 0

    def wait(self, received: int = 0) -> None:
        """Before the stream is opened, and before more of it is received than the ``received`` bytes."""
        due = min(received + AHEAD_BYTES, self._size)
        if self._pace is not None and due > self._asked:
            self._pace(due - self._asked)
            self._asked = due

    def piece(self, received: int, most: int) -> int:
        """How many bytes may be received now, at most ``most``. Waits first."""
        self.wait(received)
        return most if self._pace is None else min(most, PIECE_BYTES)
