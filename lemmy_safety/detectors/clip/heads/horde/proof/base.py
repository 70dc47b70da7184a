"""The screen's contract: which pictures the reference rules cannot flag, by similarities that are a little off.

A screen is told similarities and a bound on their error. It clears a picture only if no picture within that bound can
get ``csam`` or ``underage_subject`` from the rules, so that the verdict needs no better similarities. What the rules
look like stands in ``new_rules.py`` and ``older_rules.py``; ``learning.py`` asks the rules themselves whether those two
have understood them, and refuses to screen otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Similarities = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]


class ScreenUnavailable(Exception):
    """The rules are not what the screen takes them for; every picture must be judged by the rules themselves."""


@dataclass(frozen=True, slots=True)
class ScreenAnswer:
    """What is proven of N pictures, each field (N,).

    ``clear``: the rules cannot say ``csam`` or ``underage_subject``. ``nsfw_possible``: they may say ``nsfw``;
    ``nsfw_certain``: they will.
    """

    clear: Flags
    nsfw_possible: Flags
    nsfw_certain: Flags


@dataclass(frozen=True, slots=True)
class Limits:
    """Words that the rules look at together, by their places, and the similarities from which each one counts."""

    places: npt.NDArray[np.intp]
    values: npt.NDArray[np.float64]

    @classmethod
    def of(cls, limits: Sequence[tuple[int, float]]) -> Limits:
        return cls(
            np.array([place for place, _ in limits], dtype=np.intp),
            np.array([value for _, value in limits], dtype=np.float64),
        )

    def reached(self, similarities: Similarities) -> npt.NDArray[np.intp]:
        """How many of the words count, (N,), in similarities (N, W)."""
        counts: npt.NDArray[np.intp] = np.count_nonzero(similarities[:, self.places] > self.values, axis=1)
        return counts


class Screen(ABC):
    """The conservative test for one rule set. ``words`` gives the order of the columns of similarities."""

    words: tuple[str, ...]

    #: The similarities around which the rules change their mind, for those who look for mistakes.
    limits: tuple[Limits, ...]

    def answer(self, similarities: Similarities, error_bound: float) -> ScreenAnswer:
        """What the rules can say of pictures with these similarities (N, W), each off by up to ``error_bound``.

        A picture with a similarity that is not a number is never cleared.
        """
        if not 0 <= error_bound < np.inf:
            raise ValueError(f"An error bound of {error_bound} bounds nothing.")
        sound: Flags = np.logical_and.reduce(np.isfinite(similarities), axis=1)
        known = np.where(sound[:, np.newaxis], similarities.astype(np.float64), 0.0)
        answer = self.proven(known - error_bound, known + error_bound)
        return ScreenAnswer(answer.clear & sound, answer.nsfw_possible | ~sound, answer.nsfw_certain & sound)

    @abstractmethod
    def proven(self, low: Similarities, high: Similarities) -> ScreenAnswer:
        """What the rules can say of pictures whose similarities lie between ``low`` and ``high``, each (N, W)."""
