"""Bodies of uploads on their way in, and which of them gives way when others want its place or its memory.

A body stands still while we wait for its sender, and less than a few bytes come. The one that has stood still for longest
gives way, and only where somebody waits: a slow body that makes progress keeps its place.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lemmy_safety.uploads.bodies import STALL_S, BadBody, BodyFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive

#: Bytes that count as progress: a sender of single bytes would keep a place for little.
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
        """It is here, or is not waited for any more. Leaving twice is fine."""
        self._bodies.pop(body, None)

    def make_way(self) -> bool:
        """End the body that has stood still for longest; False where none has for ``STALL_S`` seconds."""
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
        # Since the last progress. What we do with the bytes between two waits is not the sender's time.
        self._waited_s = 0.0
        self._bytes = 0

    def stood_still_s(self, now: float) -> float:
        """For how many seconds its sender has made no progress; 0 while we do not wait for it."""
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
