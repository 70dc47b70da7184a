"""What a storage found out about its server while it was used, in sentences for an admin.

A server that differs from the rules costs something: a slower listing, a check that says nothing. Each such finding is
logged once, and the pass's summary and ``doctor`` repeat it. It holds for the life of this process.
"""

from __future__ import annotations

import logging
import threading

_log = logging.getLogger(__name__)


class Learned:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[str, None] = {}

    def note(self, place: str, text: str) -> None:
        """Keep one sentence about ``place`` (storage name or address), and log it when it is new."""
        sentence = f"{place} {text}"
        with self._lock:
            new = sentence not in self._notes
            self._notes[sentence] = None
        if new:
            _log.warning("%s", sentence)

    @property
    def notes(self) -> tuple[str, ...]:
        """All sentences, oldest first."""
        with self._lock:
            return tuple(self._notes)
