"""Learns the screen for the installed rules, and asks the rules themselves whether it has understood them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.detectors.clip.heads.horde.proof.base import ScreenUnavailable
from lemmy_safety.detectors.clip.heads.horde.proof.new_rules import NewRulesScreen
from lemmy_safety.detectors.clip.heads.horde.proof.older_rules import OlderRulesScreen
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.detectors.clip.heads.horde.proof.base import Screen, Similarities
    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

#: Vectors on which ``verify`` asks the rules: about one second, once a start.
_VERIFIED = 1500

#: More similar than a picture ever is to a text.
_HIGH = 0.6

#: The largest error that ``verify`` tries, about that of an int8 model.
_TRIED_ERROR = 0.02


def learn_screen(rules: HordeRules) -> Screen:
    """The screen for these rules, verified on them.

    :raises ScreenUnavailable: the installed horde_safety works in another way than the screen knows, or DeepDanbooru
        has a say in the older rules' verdicts, which similarities cannot foretell.
    """
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
