"""How often a log says something about callers: they must not be able to fill the disk."""

from __future__ import annotations

import time
from typing import Final

#: Seconds between two log lines about the same kind of trouble.
_EVERY_S: Final = 10.0


class Complaints:
    """One kind of trouble, which is said at most once in ten seconds."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._unsaid = 0

    def due(self) -> int | None:
        """None when the last line is too fresh; else how many were left unsaid since it, and this one is to be said."""
        now = time.monotonic()
        if now < self._due_at:
            self._unsaid += 1
            return None
        unsaid, self._unsaid = self._unsaid, 0
        self._due_at = now + _EVERY_S
        return unsaid
