"""How many bytes of undecoded objects, and of decoded frames, may be in memory at the same time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.scan.pipeline import PipelineStopped

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True, eq=False)
class _Request:
    """Memory that a thread waits for."""

    size: int
    granted: bool = False


class ByteBudget:
    """A semaphore over bytes. An object larger than the whole budget passes when nothing else is inside."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._aborted = False
        self._requests: list[_Request] = []
        self._changed = threading.Condition()

    def take_now(self, size: int) -> bool:
        """Acquire without waiting. Returns whether there was room."""
        with self._changed:
            if self._aborted or not self._fits(size):
                return False
            self._used += size
            return True

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._limit

    def acquire(self, size: int, *, when_waiting: Callable[[], None] | None = None) -> None:
        """Wait until ``size`` bytes fit. ``when_waiting`` is called once if it has to wait; it must not block.

        :raises PipelineStopped: the run was stopped meanwhile.
        """
        with self._changed:
            if self._aborted:
                raise PipelineStopped
            if self._fits(size):
                self._used += size
                return
            request = _Request(size)
            self._requests.append(request)
            if when_waiting is not None:
                when_waiting()
            self._changed.wait_for(lambda: self._aborted or request.granted)
            if self._aborted:
                raise PipelineStopped

    def release(self, size: int) -> None:
        """Return what was acquired. Waiting requests that fit now are granted at once, in their order."""
        with self._changed:
            self._used -= size
            for request in self._requests:
                if self._fits(request.size):
                    self._used += request.size
                    request.granted = True
            self._requests = [request for request in self._requests if not request.granted]
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake all waiting threads; they get PipelineStopped."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many requests wait for room now. A granted one does not count, even if its thread has not run yet."""
        return len(self._requests)

    @property
    def used(self) -> int:
        """Bytes inside now."""
        return self._used
