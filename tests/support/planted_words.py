"""Text features that put real picture features where a test wants them: around the limits, or far below them.

Random weights know nothing of children or nudity, so the words' features are made up: each is a direction in which the
pictures' own features differ. Which words these are is asked of horde_safety's tables; none stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    from lemmy_safety.detectors.horde import HordeRules

    Vector = npt.NDArray[np.float64]

#: Words of each kind that some pictures resemble. Three young ones, because two together count as well.
_LOUD = 3


class _Pictures:
    """Features of pictures, as a centre and directions in which they differ most, first."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features = features.double().numpy()
        self.centre = self.features.mean(axis=0)
        _, _, self.directions = np.linalg.svd(self.features - self.centre, full_matrices=True)
        self.scores = (self.features - self.centre) @ self.directions.T
        self.spread = self.scores.std(axis=0) + 1e-12
        #: The direction that all pictures have least of.
        self.nowhere = np.linalg.svd(self.features, full_matrices=True)[2][-1]

    def word(self, level: float, along: dict[int, float]) -> Vector:
        """A unit vector to which the mean picture is ``level`` similar, and others more by ``along`` times their place
        (in standard deviations) on those directions."""
        sloped = sum(
            (slope / self.spread[axis] * self.directions[axis] for axis, slope in along.items()), 0 * self.centre
        )
        level -= float(sloped @ self.centre)
        vector: Vector = sloped + level * self.centre / (self.centre @ self.centre)
        # What is missing of length 1 goes where no picture notices.
        shared, missing = float(vector @ self.nowhere), 1 - float(vector @ vector)
        if missing <= 0:
            raise ValueError("The pictures are too much alike for words that tell them apart.")
        return vector + (np.sqrt(shared**2 + missing) - shared) * self.nowhere

    def place(self, axis: int, share: float) -> float:
        """How far along a direction, in standard deviations, this share of the pictures is."""
        return float(np.quantile(self.scores[:, axis] / self.spread[axis], 1 - share))


def planted_words(
    rules: HordeRules,
    features: torch.Tensor,
    *,
    confirmed: float,
    nude: float = 0.1,
    seed: int = 1,
    steep: float = 0.03,
) -> dict[tuple[str, ...], torch.Tensor]:
    """Features of all word lists of the present rules, by list, such that about this share of the pictures ``features``
    (N, D) resembles a young subject (so that no screen can clear it), and the share ``nude`` nudity.

    All other words are some 0.05 below their limits, give or take. ``steep`` is how much more similar a picture gets by
    one standard deviation: the flatter, the more pictures lie close to a limit.
    """
    draw = np.random.default_rng(seed)
    pictures = _Pictures(features)
    checker = rules.checker
    young, nudity = list(checker.underage_danger_concepts)[:_LOUD], list(checker.nsfw_isolated_concepts)[:_LOUD]
    adults = list(checker.human_predicates_isolated)[:_LOUD]
    limits = {**checker.all_nsfw_concepts, **checker.all_predicates, **checker.underage_danger_concepts}
    planted = {}
    for word, limit in limits.items():
        noise = {axis: float(draw.normal(0, 0.004)) for axis in range(3)}
        planted[word] = pictures.word(limit - draw.uniform(0.04, 0.08), noise)
    for words, axis, share in ((young, 0, confirmed), (nudity, 1, nude), (adults, 2, 0.3)):
        for word in words:
            if share:
                level = limits[word] - steep * pictures.place(axis, share)
                planted[word] = pictures.word(level, {axis: steep})
    if not confirmed:
        for word in checker.underage_danger_concepts:
            planted[word] = pictures.word(0.08, {0: 0.005})
    return {words: torch.from_numpy(np.stack([planted[word] for word in words])).float() for words in rules.word_lists}
