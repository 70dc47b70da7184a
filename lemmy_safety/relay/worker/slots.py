"""How many media a worker may hold at a time, adapted to its measured speed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Slots:
    """As many slots as ``places()`` currently says. Belongs to one event loop."""

    def __init__(self, places: Callable[[], int]) -> None:
        """``places`` is called again only when a slot is freed: it must have grown by then."""
        self._places = places
        self._held = 0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Take a slot, as soon as there is one."""
        while self._held >= self._places():
            self._left.clear()
            await self._left.wait()
        self._held += 1

    def leave(self) -> None:
        """Give a slot back."""
        self._held -= 1
        self._left.set()
