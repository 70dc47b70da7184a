"""At most so many requests a second, so that an instance stays quick while we ask it thousands of things."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """Lets one caller after the other through. ``pause`` waits for some seconds; a stop may end its wait early."""

    def __init__(
        self,
        per_second: float,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = 1 / per_second
        self._pause = pause
        self._clock = clock
        self._next = 0.0

    def wait_for_turn(self) -> None:
        """Return when the next request may be sent."""
        now = self._clock()
        if self._next > now:
            self._pause(self._next - now)
        self._next = max(now, self._next) + self._interval_s

    def rest(self, seconds: float) -> None:
        """Wait before another try."""
        self._pause(seconds)
