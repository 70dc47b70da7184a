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

    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

    Vector = npt.NDArray[np.float64]

#: Words for nudity and for a subject that some pictures resemble. Of the young ones it is one: two would count
#: together from lower similarities on, and the share of pictures that resemble them would not be what was asked for.
_LOUD = 3


class _Pictures:
    """Features of pictures, and the directions in which they differ most, first."""

    def __init__(self, features: torch.Tensor) -> None:
        rows = features.double().numpy()
        _, _, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        places = (rows - rows.mean(axis=0)) @ directions.T
        #: Where each picture is along each direction, in standard deviations.
        self.places = places / (places.std(axis=0) + 1e-12)
        # Directions in which pictures hardly differ are left out, or words would be longer than 1.
        self._inverse = np.linalg.pinv(rows, rcond=0.03)
        #: The direction that all pictures have least of.
        self._nowhere = np.linalg.svd(rows, full_matrices=True)[2][-1]

    def word(self, level: float, along: dict[int, float]) -> Vector:
        """A unit vector to which a picture is ``level`` similar, and more by ``along`` times its place on a direction."""
        wanted = level + sum(
            (slope * self.places[:, axis] for axis, slope in along.items()), np.zeros(len(self.places))
        )
        vector: Vector = self._inverse @ wanted
        # What is missing of length 1 goes where no picture notices.
        shared, missing = float(vector @ self._nowhere), 1 - float(vector @ vector)
        if missing <= 0:
            raise ValueError("The pictures are too much alike for words that tell them apart.")
        return vector + (np.sqrt(shared**2 + missing) - shared) * self._nowhere

    def quantile(self, axis: int, share: float) -> float:
        """How far along a direction, in standard deviations, this share of the pictures is."""
        return float(np.quantile(self.places[:, axis], 1 - share))


def planted_words(
    rules: HordeRules,
    features: torch.Tensor,
    *,
    confirmed: float,
    nude: float = 0.1,
    seed: int = 1,
    steep: float = 0.03,
    margin: float = 0.0,
) -> dict[tuple[str, ...], torch.Tensor]:
    """Features of all word lists of the present rules, by list, such that about this share of the pictures ``features``
    (N, D) resembles a young subject (so that no screen can clear it), and the share ``nude`` nudity.

    All other words are some 0.05 below their limits, give or take. ``steep`` is how much more similar a picture gets by
    one standard deviation: the flatter, the more pictures lie close to a limit. A screen that errs by up to ``margin``
    cannot clear what is so close to a limit: the share is of these.
    """
    draw = np.random.default_rng(seed)
    pictures = _Pictures(features)
    checker = rules.checker
    young, nudity = list(checker.underage_danger_concepts)[:1], list(checker.nsfw_isolated_concepts)[:_LOUD]
    adults = list(checker.human_predicates_isolated)[:_LOUD]
    limits = {**checker.all_nsfw_concepts, **checker.all_predicates}
    alone = {**limits, **checker.underage_danger_concepts}
    planted = {}
    for word, limit in limits.items():
        noise = {axis: float(draw.normal(0, 0.004)) for axis in range(3)}
        planted[word] = pictures.word(limit - draw.uniform(0.04, 0.08), noise)
    for words, axis, share, below in ((young, 0, confirmed, margin), (nudity, 1, nude, 0.0), (adults, 2, 0.3, 0.0)):
        for word in words:
            if share:
                level = alone[word] - below - steep * pictures.quantile(axis, share)
                planted[word] = pictures.word(level, {axis: steep})
    if not confirmed:
        for word in checker.underage_danger_concepts:
            planted[word] = pictures.word(0.08, {0: 0.005})
    return {words: torch.from_numpy(np.stack([planted[word] for word in words])).float() for words in rules.word_lists}
