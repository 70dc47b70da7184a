"""Incoming bodies of uploads, and which of them gives way when others need its slot or its memory.

A body is stalled while we wait for its sender and hardly any bytes come. The one that has been stalled longest gives
way, and only if another upload waits: a slow body that makes progress keeps its slot.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lemmy_safety.uploads.bodies import STALL_S, BadBody, BodyFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive

#: Bytes that count as progress: otherwise single bytes would be enough to keep a slot.
_STEP_BYTES = 64


class IncomingBodies:
    """The bodies of one service. Belongs to one event loop."""

    def __init__(self) -> None:
        self._bodies: dict[IncomingBody, None] = {}

    def begin(self, end: Callable[[], None]) -> IncomingBody:
        """A body is about to come; ``end`` is called when it has to give way."""
        body = IncomingBody(end)
        self._bodies[body] = None
        return body

    def leave(self, body: IncomingBody) -> None:
        """It is complete, or no longer wanted. Leaving twice is fine."""
        self._bodies.pop(body, None)

    def make_way(self) -> bool:
        """End the body that has been stalled longest; False if none has been for ``STALL_S`` seconds."""
        now = asyncio.get_running_loop().time()
        longest = max(self._bodies, key=lambda body: body.stood_still_s(now), default=None)
        if longest is None or longest.stood_still_s(now) < STALL_S:
            return False
        self.leave(longest)
        longest.give_way()
        return True


class IncomingBody:
    """One body. It is compared by identity."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._patience: asyncio.Timeout | None = None
        self._waits_since = 0.0
        # Since the last progress. Our own processing between two waits does not count as the sender's time.
        self._waited_s = 0.0
        self._bytes = 0

    def stood_still_s(self, now: float) -> float:
        """Seconds that its sender has made no progress; 0 while we do not wait for it."""
        return 0.0 if self._patience is None else self._waited_s + now - self._waits_since

    async def wait(self, receive: Receive) -> Message:
        """Wait for the next piece.

        :raises BadBody: the body gave way to others.
        """
        loop = asyncio.get_running_loop()
        self._waits_since = loop.time()
        try:
            async with asyncio.timeout(None) as self._patience:
                message = await receive()
        except TimeoutError:
            raise BadBody(BodyFault.TOO_SLOW, "body too slow") from None
        finally:
            self._patience = None
        self._waited_s += loop.time() - self._waits_since
        self._bytes += len(message.get("body", b""))
        if self._bytes >= _STEP_BYTES:
            self._waited_s, self._bytes = 0.0, 0
        return message

    def give_way(self) -> None:
        """Wait no longer."""
        self._end()
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())
