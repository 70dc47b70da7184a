"""Common to the proofs for horde_safety's two rule sets: words, and the similarities from which they count.

A proof receives similarities and a bound on their error. It clears a picture only if no picture within that bound can
get
``csam`` or ``underage_subject`` from the rules, so that better similarities cannot change the verdict. ``new_rules.py``
and
``older_rules.py`` describe the rules; ``learning.py`` tests these descriptions on the rules themselves, and provides
no proof if they do not match.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.detectors.clip.heads.base import Proof

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from lemmy_safety.detectors.clip.heads.base import Similarities


@dataclass(frozen=True, slots=True)
class Limits:
    """Words that the rules count together, by their places, and the similarities from which each one counts."""

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


class RulesProof(Proof):
    """The proof for one rule set. ``words`` gives the order of the columns of similarities."""

    words: tuple[str, ...]

    #: The similarities around which the rules' result changes, for tests that look for mistakes.
    limits: tuple[Limits, ...]
