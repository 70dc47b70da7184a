"""The time limit for examining a file. What was seen by then is judged; a stopped process's work is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


# Bytes of work, which take some milliseconds.
_BETWEEN_GLANCES: Final = 1 << 20


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
        """A share (0..1) of the time left, for one of several things that share it."""
        if share == 1:
            return self
        return Deadline(share * max(0.0, self._end - self._clock()), self._clock)

    def __str__(self) -> str:
        """Such as ``within 20 s``."""
        return f"within {round(self.seconds, 1):g} s"


class Pace:
    """A share of a deadline for work measured in bytes: it checks the clock after each megabyte."""

    def __init__(self, deadline: Deadline, share: float = 1) -> None:
        """``share`` (0..1) is of the time left when the clock is first checked."""
        self._deadline = deadline
        self._share = share
        self._part: Deadline | None = None
        self._done = 0
        self._over = False

    def is_over(self, size: int = 0) -> bool:
        """Whether the time is up; called before work on ``size`` bytes. Stays true once it is."""
        self._done += size
        if self._done >= _BETWEEN_GLANCES and not self._over:
            self._done = 0
            self._part = self._part or self._deadline.part(self._share)
            self._over = self._part.over
        return self._over

    def __str__(self) -> str:
        return str(self._part or self._deadline)
