"""Which upload is next: those with a waiting caller that can still be answered in time, then the late ones.

First in, first out alone would break down under load: once the queue is as long as the callers' deadlines, every upload
would be judged just after its caller was answered without a verdict, and none in time. So requests past half of their
deadline yield to fresher ones. Then as many as the machine can judge are answered in time, under any load. Without
overload no request waits that long, and all are served in order of arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Awaited(Protocol):
    """Something in a queue that knows whether a caller waits for it, and until when (times of the loop's clock)."""

    @property
    def awaited(self) -> bool: ...

    @property
    def half(self) -> float:
        """When half of the time for its answer is over; infinite without a deadline."""
        ...

    @property
    def deadline(self) -> float: ...


T = TypeVar("T", bound=Awaited)


class Backlog(Generic[T]):
    """A short queue: removing an item walks through it."""

    def __init__(self) -> None:
        self._items: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def put(self, item: T) -> None:
        self._items.append(item)

    def in_order(self, now: float, takes_s: Callable[[T], float] = lambda _item: 0.0) -> list[T]:
        """All of them, the next one first; ``takes_s`` gives the expected seconds for one item.

        First those in the first half of their time, in order of arrival. Then those in the second half, most time left
        first, so that those that can no longer be in time are last. Then those without a waiting caller, in order of
        arrival.
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
        """Of those without a waiting caller, the one that has waited longest."""
        return next((item for item in self._items if not item.awaited), None)
