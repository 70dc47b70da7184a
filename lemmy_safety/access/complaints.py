"""Limits log lines about callers, which must not be able to fill the disk."""

from __future__ import annotations

import time
from typing import Final

#: Seconds between two log lines about the same kind of problem.
_EVERY_S: Final = 10.0


class Complaints:
    """One kind of problem, logged at most once in ten seconds."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._unsaid = 0

    def due(self) -> int | None:
        """None if the last line is too recent. Otherwise log this one; returns how many were suppressed since."""
        now = time.monotonic()
        if now < self._due_at:
            self._unsaid += 1
            return None
        unsaid, self._unsaid = self._unsaid, 0
        self._due_at = now + _EVERY_S
        return unsaid
