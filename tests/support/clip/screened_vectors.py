"""The screen against horde_safety on planted similarities that a fast encoder got wrong in the worst way.

Run ``python -m support.clip.screened_vectors 200000`` (with ``tests`` on the path) for any number of vectors and both rule
sets: first with the screen told the true bound of the errors, which must give no disagreement, then with the bound
forced too small, which must give some, or the check could not fail.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from support.clip.horde_vectors import PlantedRules, TableDanbooru

from lemmy_safety.detectors.clip.heads.horde.labels import NSFW
from lemmy_safety.detectors.clip.heads.horde.proof.learning import learn_proof

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

#: Errors as large as those of half precision, of int8, and of none at all.
BOUNDS = (0.0, 0.0005, 0.003, 0.015)

_CHUNK = 500


@dataclass
class Tally:
    """How many vectors there were, how many the screen cleared, for how many it was sure of ``nsfw``, and how many of
    each the package judges otherwise."""

    vectors: int = 0
    cleared: int = 0
    sure: int = 0
    wrong_outcomes: int = 0
    wrong_nsfw: int = 0

    @property
    def disagreements(self) -> int:
        return self.wrong_outcomes + self.wrong_nsfw


def compare_screened(
    count: int, *, use_new_safety: bool, seed: int, told: float = 1.0, danbooru: TableDanbooru | None = None
) -> Tally:
    """Show the screen each vector with errors up to a bound, of which it is told ``told`` times the true size.

    Half of the vectors have all similarities too low by the whole bound: that is the worst direction, because nothing
    can be hit by lower similarities that is not by higher ones. The others err at random, by the whole bound as well.
    """
    planted = PlantedRules(use_new_safety=use_new_safety, danbooru=danbooru)
    proof = learn_proof(planted.rules)
    draw = np.random.default_rng(seed)
    tally = Tally()
    vectors = planted.vectors(count, seed=seed)
    for start in range(0, count, _CHUNK):
        rows = np.stack([next(vectors) for _ in range(min(_CHUNK, count - start))])
        for bound in BOUNDS:
            chosen = rows[BOUNDS.index(bound) :: len(BOUNDS)]
            signs = np.where(draw.random((len(chosen), 1)) < 0.5, -1.0, draw.choice([-1.0, 1.0], chosen.shape))
            proven = proof.about(chosen + signs * bound, told * bound)
            columns = (proven.cannot_flag, proven.possible[NSFW], proven.certain[NSFW])
            for vector, *said in zip(chosen, *columns, strict=True):
                if danbooru is not None:
                    danbooru.scores = draw.uniform(0, 1, len(danbooru.tags)).astype(np.float32)
                _count(tally, planted, vector, said)
    return tally


def _count(tally: Tally, planted: PlantedRules, vector: npt.NDArray[np.float32], said: Sequence[bool]) -> None:
    clear, possible, certain = said
    theirs = planted.theirs(vector)
    if planted.use_new_safety:
        is_grave, is_nsfw = theirs.is_csam or theirs.is_underage_subject, theirs.is_nsfw
    else:
        is_grave, is_nsfw = theirs[0], bool(theirs[2]["found_lewd"])
    tally.vectors += 1
    tally.cleared += clear
    tally.wrong_outcomes += clear and is_grave
    if certain or not possible:
        tally.sure += 1
        tally.wrong_nsfw += is_nsfw != certain


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for use_new_safety in (True, False):
        for told in (1.0, 0.8, 0.0):
            started = time.monotonic()
            # To see that it fails takes fewer.
            tally = compare_screened(
                count if told == 1 else count // 10, use_new_safety=use_new_safety, seed=1, told=told
            )
            sys.stdout.write(
                f"new rules: {use_new_safety}; seed 1; bound told / true: {told}; {tally.vectors} vectors, "
                f"{tally.cleared} cleared, {tally.sure} sure of nsfw; disagreements: "
                f"{tally.wrong_outcomes} outcomes, {tally.wrong_nsfw} nsfw; {time.monotonic() - started:.0f} s\n"
            )


if __name__ == "__main__":
    main()
