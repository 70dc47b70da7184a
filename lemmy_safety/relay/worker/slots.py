"""How much somebody may take on at a time, where that changes with how fast he is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Room:
    """Places for as many as ``places()`` says at the moment. Belongs to one event loop."""

    def __init__(self, places: Callable[[], int]) -> None:
        """It is asked anew whenever somebody leaves: what makes it grow must happen by then."""
        self._places = places
        self._held = 0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Take a place, as soon as there is one."""
        while self._held >= self._places():
            self._left.clear()
            await self._left.wait()
        self._held += 1

    def leave(self) -> None:
        """Give a place back."""
        self._held -= 1
        self._left.set()
