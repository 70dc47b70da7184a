"""The screen's contract: which pictures the reference rules cannot flag, by similarities that are a little off.

A screen is told similarities and a bound on their error. It clears a picture only if no picture within that bound can
get ``csam`` or ``underage_subject`` from the rules, so that the verdict needs no better similarities. What the rules
look like stands in ``new_rules_screen.py`` and ``older_rules_screen.py``; this module asks the rules themselves whether
those two have understood them, and refuses to screen otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from lemmy_safety.detectors.horde import HordeRules

    Similarities = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

#: Vectors on which ``verify`` asks the rules: about one second, once a start.
_VERIFIED = 1500

#: More similar than a picture ever is to a text.
_HIGH = 0.6

#: The largest error that ``verify`` tries, about that of an int8 model.
_TRIED_ERROR = 0.02


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


def learn_screen(rules: HordeRules) -> Screen:
    """The screen for these rules, verified on them.

    :raises ScreenUnavailable: the installed horde_safety works in another way than the screen knows, or DeepDanbooru
        has a say in the older rules' verdicts, which similarities cannot foretell.
    """
    # Both import this module for the contract.
    from lemmy_safety.detectors.new_rules_screen import NewRulesScreen  # noqa: PLC0415
    from lemmy_safety.detectors.older_rules_screen import OlderRulesScreen  # noqa: PLC0415

    try:
        screen = NewRulesScreen.learn(rules) if rules.use_new_safety else OlderRulesScreen.learn(rules)
        verify(screen, rules)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, ImportError) as error:
        raise ScreenUnavailable(f"{type(error).__name__}: {foreign(error)}") from error
    return screen


def verify(screen: Screen, rules: HordeRules, *, vectors: int = _VERIFIED, seed: int = 1) -> None:
    """Ask the rules about planted similarities: nothing that the screen proves may be untrue.

    Each vector is shown to the screen with errors as large as its bound, once all downwards, which hides most, and once
    each at random.

    :raises ScreenUnavailable: the rules contradict the screen.
    """
    draw = np.random.default_rng(seed)
    # Each word by itself as well, as similar as can be: those that should not matter must not.
    alone = np.eye(len(screen.words)) * _HIGH
    truth = np.concatenate([np.stack(list(planted_similarities(screen, vectors, draw))), alone])
    bounds = draw.choice([0.0, 0.001, 0.004, _TRIED_ERROR], len(truth))
    labels = [rules.judge_similarities(dict(zip(screen.words, row.tolist(), strict=True))).hits for row in truth]
    grave = np.array(["csam" in hits or "underage_subject" in hits for hits in labels])
    nsfw = np.array(["nsfw" in hits for hits in labels])
    for signs in (np.full(truth.shape, -1.0), draw.choice([-1.0, 1.0], truth.shape)):
        shown = truth + signs * bounds[:, np.newaxis]
        for bound in np.unique(bounds):
            rows = bounds == bound
            answer = screen.answer(shown[rows], float(bound))
            wrong = (answer.clear & grave[rows]) | (answer.nsfw_certain & ~nsfw[rows])
            wrong |= nsfw[rows] & ~answer.nsfw_possible
            if wrong.any():
                raise ScreenUnavailable(f"horde_safety contradicts it on {int(wrong.sum())} of {int(rows.sum())} tries")
    if grave.all() or not grave.any():
        raise ScreenUnavailable("it knows no similarities around which horde_safety changes its mind")


def planted_similarities(screen: Screen, count: int, draw: np.random.Generator) -> Iterator[Similarities]:
    """``count`` vectors (W,): a quiet background, over which some groups of words come near or over their limits."""
    base = np.full(len(screen.words), 0.2)
    for group in screen.limits:
        base[group.places] = np.minimum(base[group.places], group.values)
    for _ in range(count):
        vector = base - draw.uniform(0.004, 0.09) + draw.normal(0, draw.choice([0.001, 0.004, 0.012]), len(base))
        for group in screen.limits:
            if draw.random() < 0.6 or not len(group.places):  # noqa: PLR2004 - leaves two groups of five quiet
                continue
            few = draw.permutation(len(group.places))[: draw.integers(1, 5)]
            # Just around a limit is where a test that is not quite right would show.
            near = draw.uniform(-0.00012, 0.00012, len(few)), draw.uniform(-0.005, 0.05, len(few))
            vector[group.places[few]] = group.values[few] + near[draw.integers(2)]
        if draw.random() < 0.1:  # noqa: PLR2004 - one in ten: words that should not matter are as high as can be
            vector[draw.permutation(len(vector))[: draw.integers(1, 20)]] = draw.uniform(0.2, _HIGH)
        yield vector
