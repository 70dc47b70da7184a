"""Derives the proof from the installed rules, and verifies it on the rules themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.detectors.clip.heads.base import ProofUnavailable
from lemmy_safety.detectors.clip.heads.horde.labels import NSFW
from lemmy_safety.detectors.clip.heads.horde.proof.new_rules import NewRulesProof
from lemmy_safety.detectors.clip.heads.horde.proof.older_rules import OlderRulesProof
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.detectors.clip.heads.base import Similarities
    from lemmy_safety.detectors.clip.heads.horde.proof.base import RulesProof
    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules

#: Vectors on which ``verify`` runs the rules: about one second, once a start.
_VERIFIED = 1500

#: More similar than a picture ever is to a text.
_HIGH = 0.6

#: The largest error that ``verify`` tries, about that of an int8 model.
_TRIED_ERROR = 0.02


def learn_proof(rules: HordeRules) -> RulesProof:
    """The proof for these rules, verified on them.

    :raises ProofUnavailable: the installed horde_safety works differently than the proof assumes, or DeepDanbooru
        takes part in the older rules' verdicts, which similarities cannot predict.
    """
    try:
        proof = NewRulesProof.learn(rules) if rules.use_new_safety else OlderRulesProof.learn(rules)
        verify(proof, rules)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, ImportError) as error:
        raise ProofUnavailable(f"{type(error).__name__}: {foreign(error)}") from error
    return proof


def verify(proof: RulesProof, rules: HordeRules, *, vectors: int = _VERIFIED, seed: int = 1) -> None:
    """Run the rules on planted similarities: everything that the proof claims must be true.

    The proof gets each vector with errors as large as its bound: once all downwards, which hides most, and once
    each at random.

    :raises ProofUnavailable: the rules contradict the proof.
    """
    draw = np.random.default_rng(seed)
    # Each word alone as well, as similar as possible: words that should not matter must not.
    alone = np.eye(len(proof.words)) * _HIGH
    truth = np.concatenate([np.stack(list(planted_similarities(proof, vectors, draw))), alone])
    bounds = draw.choice([0.0, 0.001, 0.004, _TRIED_ERROR], len(truth))
    labels = [rules.judge_similarities(dict(zip(proof.words, row.tolist(), strict=True))).hits for row in truth]
    grave = np.array(["csam" in hits or "underage_subject" in hits for hits in labels])
    nsfw = np.array([NSFW in hits for hits in labels])
    for signs in (np.full(truth.shape, -1.0), draw.choice([-1.0, 1.0], truth.shape)):
        shown = truth + signs * bounds[:, np.newaxis]
        for bound in np.unique(bounds):
            rows = bounds == bound
            proven = proof.about(shown[rows], float(bound))
            wrong = (proven.cannot_flag & grave[rows]) | (proven.certain[NSFW] & ~nsfw[rows])
            wrong |= nsfw[rows] & ~proven.possible[NSFW]
            if wrong.any():
                raise ProofUnavailable(f"horde_safety contradicts it on {int(wrong.sum())} of {int(rows.sum())} tries")
    if grave.all() or not grave.any():
        raise ProofUnavailable("it knows no similarities around which horde_safety changes its mind")


def planted_similarities(proof: RulesProof, count: int, draw: np.random.Generator) -> Iterator[Similarities]:
    """``count`` vectors (W,): a quiet background in which some groups of words come near or over their limits."""
    base = np.full(len(proof.words), 0.2)
    for group in proof.limits:
        base[group.places] = np.minimum(base[group.places], group.values)
    for _ in range(count):
        vector = base - draw.uniform(0.004, 0.09) + draw.normal(0, draw.choice([0.001, 0.004, 0.012]), len(base))
        for group in proof.limits:
            if draw.random() < 0.6 or not len(group.places):  # noqa: PLR2004 - leaves two groups of five quiet
                continue
            few = draw.permutation(len(group.places))[: draw.integers(1, 5)]
            # An incorrect test would show just around a limit.
            near = draw.uniform(-0.00012, 0.00012, len(few)), draw.uniform(-0.005, 0.05, len(few))
            vector[group.places[few]] = group.values[few] + near[draw.integers(2)]
        if draw.random() < 0.1:  # noqa: PLR2004 - one in ten: words that should not matter are as high as possible
            vector[draw.permutation(len(vector))[: draw.integers(1, 20)]] = draw.uniform(0.2, _HIGH)
        yield vector
