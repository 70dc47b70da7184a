"""Findings about a storage's server, made while using it, in sentences for an admin.

A server that breaks the rules has a cost: a slower listing, or a check that proves nothing. Each finding is
logged once, and the pass's summary and ``doctor`` repeat it. It is kept for the life of this process.
"""

from __future__ import annotations

import logging
import threading

_log = logging.getLogger(__name__)


class Learned:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[str, str] = {}

    def note(self, place: str, text: str, *, topic: str = "") -> None:
        """Keep one sentence about ``place`` (storage name or address), and log it if it is new.

        Of several sentences on one topic, the latest is kept and the first is logged.
        """
        sentence = f"{place} {text}"
        with self._lock:
            new = (topic or sentence) not in self._notes
            self._notes[topic or sentence] = sentence
        if new:
            _log.warning("%s", sentence)

    def forget(self, topic: str) -> None:
        """What was noted on this topic is no longer true."""
        with self._lock:
            self._notes.pop(topic, None)

    @property
    def notes(self) -> tuple[str, ...]:
        """All sentences, oldest first."""
        with self._lock:
            return tuple(self._notes.values())
