"""Which upload is next: those that somebody still waits for, in their order, and only then the late ones.

First in, first out alone would break down under load: once the queue is as long as everybody's patience, each upload
would be judged just after its caller was answered without a verdict, and never one in time.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Awaited(Protocol):
    """Something in a queue that knows whether anybody waits for it."""

    @property
    def awaited(self) -> bool: ...


T = TypeVar("T", bound=Awaited)


class Backlog(Generic[T]):
    """A short queue: taking from it walks it."""

    def __init__(self) -> None:
        self._items: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: T) -> bool:
        return item in self._items

    def put(self, item: T) -> None:
        self._items.append(item)

    def in_order(self) -> list[T]:
        """All of them, the next one first."""
        return sorted(self._items, key=lambda item: not item.awaited)  # stable: within each kind as they came

    def take(self, item: T) -> None:
        """Remove one of them."""
        self._items.remove(item)

    def late(self) -> T | None:
        """The one that waited longest of those nobody waits for."""
        return next((item for item in self._items if not item.awaited), None)
