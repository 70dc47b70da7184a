"""Until when a file is looked at. What was seen by then is judged, unlike what a decoding process saw that was stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadline:
    """Seconds from now on that may be spent."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @property
    def over(self) -> bool:
        return self._clock() >= self._end

    def part(self, share: float) -> Deadline:
        """A share (0..1) of what is left, for one of several things that have this time together."""
        if share == 1:
            return self
        return Deadline(share * max(0.0, self._end - self._clock()), self._clock)

    def __str__(self) -> str:
        """Such as ``within 20 s``."""
        return f"within {round(self.seconds, 1):g} s"
