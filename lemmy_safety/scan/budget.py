"""How many bytes of undecoded objects, and of decoded frames, may be in memory at the same time."""

from __future__ import annotations

import threading

from lemmy_safety.scan.pipeline import PipelineStopped


class ByteBudget:
    """A counting gate over bytes. An object larger than the whole budget passes when nothing else is inside."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._aborted = False
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until ``size`` bytes fit.

        :raises PipelineStopped: the run was stopped meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._used == 0 or self._used + size <= self._limit)
            if self._aborted:
                raise PipelineStopped
            self._used += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake everybody who waits; they end with PipelineStopped."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    @property
    def used(self) -> int:
        """Bytes inside at this moment."""
        return self._used
