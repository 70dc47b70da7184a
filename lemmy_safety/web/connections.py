"""How many connections may be open, and which are closed when there are more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds before a new connection counts as idle: a caller's first bytes follow right after it connects, and a burst of
#: callers is accepted before the first of them is read.
GRACE_S = 0.5


class Occupant(Protocol):
    """A connection. It is compared by identity."""

    def give_way(self) -> None:
        """Close at once, without a request to answer."""


class Places:
    """The connection slots of one group of callers. Belongs to one event loop.

    A connection is idle while none of its requests waits for an answer: before its first request is complete, between
    two requests, and while the rest of a body is read that no longer matters. The one that has been idle longest gives
    way to a new one. Trickling bytes do not count as activity, or a caller that never completes a request could keep
    its slot.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``most`` connections have a slot; ``clock`` gives seconds."""
        self._most = most
        self._clock = clock
        self._busy: set[Occupant] = set()
        self._idle: dict[Occupant, float] = {}  # since when, oldest first

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    def enter(self, newcomer: Occupant) -> bool:
        """Give a new, idle connection a slot. False if all slots are busy or were taken a moment ago."""
        if len(self) >= self._most and not self._make_room():
            return False
        self._idle[newcomer] = self._clock()
        return True

    def becomes_busy(self, occupant: Occupant) -> None:
        """It has a request to answer. No effect on a connection without a slot."""
        if self._idle.pop(occupant, None) is not None:
            self._busy.add(occupant)

    def becomes_idle(self, occupant: Occupant) -> None:
        """Its request was answered."""
        if occupant in self._busy:
            self._busy.remove(occupant)
            self._idle[occupant] = self._clock()

    def leave(self, occupant: Occupant) -> None:
        """It is closed. Leaving twice, or without a slot, is fine."""
        self._busy.discard(occupant)
        self._idle.pop(occupant, None)

    def _make_room(self) -> bool:
        longest = next(iter(self._idle.items()), None)
        if longest is None or self._clock() - longest[1] < GRACE_S:
            return False
        self.leave(longest[0])
        longest[0].give_way()
        return True
