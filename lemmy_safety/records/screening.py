"""What the fast screen of a detector did."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatistics:
    """For one fast encoder that screens before the reference: how many frames it checked and cleared; the bound on its
    errors (similarities), the largest error seen, how often the bound grew and how many errors exceeded it.
    """

    name: str
    screened: int
    cleared: int
    error_bound: float
    largest_error: float
    widenings: int
    exceeded: int
    in_use: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenStatistics:
    """For all fast encoders together, in frames: ``cleared`` + ``confirmed`` = ``screened``; ``watched`` is a part of
    ``cleared``.
    """

    screened: int
    cleared: int
    confirmed: int
    watched: int
    stages: tuple[StageStatistics, ...]

    def since(self, earlier: ScreenStatistics | None) -> ScreenStatistics:
        """The difference to ``earlier``, of the same encoders; bounds and largest errors keep their current values."""
        if earlier is None:
            return self
        return ScreenStatistics(
            screened=self.screened - earlier.screened,
            cleared=self.cleared - earlier.cleared,
            confirmed=self.confirmed - earlier.confirmed,
            watched=self.watched - earlier.watched,
            stages=tuple(
                replace(
                    now,
                    screened=now.screened - before.screened,
                    cleared=now.cleared - before.cleared,
                    widenings=now.widenings - before.widenings,
                    exceeded=now.exceeded - before.exceeded,
                )
                for now, before in zip(self.stages, earlier.stages, strict=True)
            ),
        )
