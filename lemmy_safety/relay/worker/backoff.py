"""How long to wait before asking an unreachable server again, and how often to log that."""

from __future__ import annotations

import asyncio
import logging
import random

log = logging.getLogger(__name__)

#: After an error: the first pause, doubled up to the last one. An upload waits 8 s, so a restarted server must be found
#: well within that.
_FIRST_S = 0.25
_LAST_S = 4.0

#: Seconds between two log lines about a server that is still unreachable.
_COMPLAIN_EVERY_S = 60.0


class Backoff:
    """Shared by all tasks in one event loop that ask the same server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._longest = 0.0
        self._grow_at = 0.0
        self._complain_at = 0.0
        self._trouble_at = 0.0

    def now(self) -> float:
        """The time of a request, for ``answered``."""
        return asyncio.get_running_loop().time()

    async def after(self, trouble: Exception) -> None:
        """Wait, longer each time until the server answers."""
        now = self._trouble_at = self.now()
        if not self._longest or now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_EVERY_S
            log.warning("no answer from %s: %s; trying again", self._server, trouble)
        if now >= self._grow_at:  # not once per task that met the same error
            self._longest = min(_LAST_S, 2 * self._longest or _FIRST_S)
            self._grow_at = now + self._longest
        # Random, so that the tasks do not all come back at the same moment.
        await asyncio.sleep(self._longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def answered(self, *, asked_at: float) -> None:
        """The server is back, unless this answers a request older than the error, from before it went away."""
        if not self._longest or asked_at < self._trouble_at:
            return
        log.info("%s answers again", self._server)
        self._longest = self._grow_at = 0.0
