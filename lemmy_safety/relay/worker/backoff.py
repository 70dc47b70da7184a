"""How long to leave a server alone that is away, and how often to say so."""

from __future__ import annotations

import asyncio
import logging
import random

log = logging.getLogger(__name__)

#: After trouble: the first pause, doubled up to the last one. An upload waits 8 s, so a server that is back after a
#: restart must be found well within that.
_FIRST_S = 0.25
_LAST_S = 4.0

#: Seconds between two log lines about a server that is still away.
_COMPLAIN_EVERY_S = 60.0


class Backoff:
    """Shared by everybody in one event loop who asks the same server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._longest = 0.0
        self._grow_at = 0.0
        self._complain_at = 0.0
        self._trouble_at = 0.0

    def now(self) -> float:
        """When a question is asked, for ``answered``."""
        return asyncio.get_running_loop().time()

    async def after(self, trouble: Exception) -> None:
        """Wait, longer each time until somebody was answered."""
        now = self._trouble_at = self.now()
        if not self._longest or now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_EVERY_S
            log.warning("no answer from %s: %s; trying again", self._server, trouble)
        if now >= self._grow_at:  # not once for each of those who met the same trouble
            self._longest = min(_LAST_S, 2 * self._longest or _FIRST_S)
            self._grow_at = now + self._longest
        # Spread, so that not everybody comes back in the same moment.
        await asyncio.sleep(self._longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def answered(self, *, asked_at: float) -> None:
        """The server is there, unless this is an answer it gave before it went, to a question older than the trouble."""
        if not self._longest or asked_at < self._trouble_at:
            return
        log.info("%s answers again", self._server)
        self._longest = self._grow_at = 0.0
