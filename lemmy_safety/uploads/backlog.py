"""Which upload is next: those that somebody still waits for, as long as they can be answered in time, then the late ones.

First in, first out alone would break down under load: once the queue is as long as everybody's patience, each upload
would be judged just after its caller was answered without a verdict, and never one in time. So who has waited for more
than half of their time stands back for those who have not. As many as the machine can judge are answered in time then,
whatever comes; and without too much load nobody waits for that long, and all go in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Awaited(Protocol):
    """Something in a queue that knows whether anybody waits for it, and until when (times of the loop's clock)."""

    @property
    def awaited(self) -> bool: ...

    @property
    def half(self) -> float:
        """When half of the time for its answer is over; infinite where there is no such time."""
        ...

    @property
    def deadline(self) -> float: ...


T = TypeVar("T", bound=Awaited)


class Backlog(Generic[T]):
    """A short queue: taking from it walks it."""

    def __init__(self) -> None:
        self._items: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def put(self, item: T) -> None:
        self._items.append(item)

    def in_order(self, now: float, takes_s: Callable[[T], float] = lambda _item: 0.0) -> list[T]:
        """All of them, the next one first; ``takes_s`` are the seconds that one is expected to take.

        Those in the first half of their time as they came; then those in the second half, who has most of it left first,
        so that what can no longer be in time is last; then those that nobody waits for any more, as they came.
        """

        def place(item: T) -> tuple[int, float]:
            if not item.awaited:
                return 2, 0.0
            ready = now + takes_s(item)
            return (0, 0.0) if ready <= item.half else (1, ready - item.deadline)

        return sorted(self._items, key=place)  # stable

    def remove(self, item: T) -> None:
        """Remove one of them."""
        self._items.remove(item)

    def late(self) -> T | None:
        """The one that waited longest of those nobody waits for."""
        return next((item for item in self._items if not item.awaited), None)
