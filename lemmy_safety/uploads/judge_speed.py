"""How many media to judge together, learned from how long the last batches took.

A full batch is right for a graphics card. A CPU may need a second for a single picture: a full batch would make all of
its uploads wait for the last one, and few would be answered in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a batch may take: short against the budget, so that an upload that arrives just after it began is still
#: in time.
_TARGET_S = 1.0

#: How much the last batch counts: after a slow one (warming up, a busy machine) five usual ones bring it back.
_WEIGHT = 0.4


class Weighed(Protocol):
    """Something to judge that knows how many frames it has."""

    @property
    def frames(self) -> int: ...


T = TypeVar("T", bound=Weighed)


class JudgeSpeed:
    """Averages of the last batches; without any, batches of one medium."""

    def __init__(self) -> None:
        self._per_frame_s: float | None = None
        #: Seconds for one medium on average, whatever it is; None before the first.
        self.per_medium_s: float | None = None

    def note(self, media: int, frames: int, seconds: float) -> None:
        """Record how long a batch of that many media and frames took."""
        if frames < 1:
            return
        self._per_frame_s = _averaged(self._per_frame_s, seconds / frames)
        self.per_medium_s = _averaged(self.per_medium_s, seconds / media)

    def takes_s(self, item: T) -> float:
        """Expected seconds for one medium; 0 without measurements."""
        return item.frames * (self._per_frame_s or 0.0)

    def is_enough(self, waiting: Sequence[T], most: int) -> bool:
        """Whether the next batch is full; never without measurements."""
        if self._per_frame_s is None:
            return False
        return len(waiting) >= most or self._too_long(sum(item.frames for item in waiting))

    def choose(self, waiting: Sequence[T], most: int) -> tuple[list[T], bool]:
        """The next batch from a queue that is not empty, and whether it is full."""
        frames = 0
        for count, item in enumerate(waiting):
            frames += item.frames
            if count and (count >= most or self._too_long(frames)):
                return list(waiting[:count]), True
        return list(waiting), len(waiting) >= most or self._too_long(frames + 1)

    def _too_long(self, frames: int) -> bool:
        return self._per_frame_s is None or frames * self._per_frame_s > _TARGET_S


def _averaged(known: float | None, measured: float) -> float:
    return measured if known is None else known + _WEIGHT * (measured - known)
