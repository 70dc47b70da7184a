"""How many bytes a second passes may read from the storage."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from lemmy_safety.scan.pipeline import PipelineStopped

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds of unused time that may be made up for. Without it, each late wake-up of a thread would be lost.
_SLACK_S = 0.1


class RateLimit:
    """Spreads the bytes of all threads evenly over time. In any T seconds no more than T + 0.1 seconds' worth and one
    reservation become free.
    """

    def __init__(self, bytes_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds and never goes back."""
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._reserved_until = clock()

    def reserve(self, number: int) -> float:
        """Reserve the time that so many bytes take, after all earlier reservations. Returns the seconds until it is
        over, when they may come.
        """
        with self._lock:
            now = self._clock()
            begins = max(self._reserved_until, now - _SLACK_S)
            self._reserved_until = begins + number / self._bytes_per_s
            return max(0.0, self._reserved_until - now)

    @property
    def is_used_up(self) -> bool:
        """Whether a read would have to wait now."""
        return self._reserved_until > self._clock()


class PassPace:
    """The pace of one pass: waits for each reservation, until the pass ends."""

    def __init__(self, rate: RateLimit) -> None:
        self._rate = rate
        self._aborted = threading.Event()

    def __call__(self, number: int) -> None:
        """:raises PipelineStopped: the pass was stopped meanwhile."""
        if self._aborted.wait(self._rate.reserve(number)):
            raise PipelineStopped

    def abort(self) -> None:
        """Wake all waiting threads; they get PipelineStopped."""
        self._aborted.set()
