"""Screen, then confirm: fast encoders prove most pictures clear, the reference judges all others.

There may be several encoders, the fastest first; each one sees only what those before it left open. What none of them
clears is encoded by the reference and judged by the heads. A random sample of the cleared pictures also goes through
the
reference: it shows whether the error bounds still hold, and widens them if they do not, before any result
of that batch is returned. Contains no rule (heads do) and no model of its own.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from lemmy_safety.detectors.clip.screen.batch import ScreeningBatch
from lemmy_safety.records import ScreenStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from lemmy_safety.detectors.clip.answer import FrameAnswer
    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.heads.base import Proof
    from lemmy_safety.detectors.clip.heads.together import Heads
    from lemmy_safety.detectors.clip.screen.stage import Stage

logger = logging.getLogger(__name__)

#: One in how many cleared pictures is checked: all of the first few with these weights, because so far only
#: generated pictures were measured; in the long run so few that the reference costs less than a tenth of the time.
_WATCH = ((8, 1), (64, 16))
_WATCH_LATER = 128

#: Pictures after which an encoder must have saved time.
_TRIED = 256


class Screening:
    """The stages before one reference. For one thread at a time."""

    def __init__(
        self,
        *,
        heads: Heads,
        proof: Proof,
        stages: Sequence[Stage],
        reference: PictureEncoder,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        """``proof`` covers all ``heads``. ``watch`` decides for each cleared picture whether it is checked, given how
        many were ever checked; without it, chance decides.
        """
        self._heads = heads
        self._proof = proof
        self._directions = heads.directions
        self._stages = tuple(stages)
        self._reference = reference
        self._watch = watch or _chosen_by_chance
        self._counts = {"screened": 0, "cleared": 0, "confirmed": 0, "watched": 0}

    @property
    def batch_size(self) -> int:
        """Batch size of the encoder that sees all pictures."""
        return next((stage.encoder.batch_size for stage in self._in_use()), self._reference.batch_size)

    @property
    def encoders(self) -> list[PictureEncoder]:
        """The encoders of the stages in use, in order."""
        return [stage.encoder for stage in self._in_use()]

    def statistics(self) -> ScreenStatistics:
        return ScreenStatistics(stages=tuple(stage.statistics() for stage in self._stages), **self._counts)

    def judge(
        self, pixels: Sequence[npt.NDArray[np.uint8]], image: Callable[[int], Image.Image | None] = lambda _: None
    ) -> list[FrameAnswer]:
        """Answers for RGB pictures, each (height, width, 3), uint8; ``image`` returns one of them for heads that need
        it.

        :raises DetectorError: the reference failed.
        """
        pictures = self._reference.preparation.prepare(pixels)
        batch = ScreeningBatch(self._heads, self._proof, self._directions, pictures, image)
        for stage in self._in_use():
            if batch.open and not batch.ask(stage):
                stage.leave_out("it failed")
        watched = []
        for place, seen in batch.cleared.items():
            if self._watch(seen.stage.bound.checked):
                seen.stage.bound.checked += 1
                watched.append(place)
        self._confirm(batch, watched)
        self._counts["screened"] += len(pixels)
        self._counts["cleared"] += len(batch.cleared)
        self._counts["confirmed"] += len(pixels) - len(batch.cleared)
        self._counts["watched"] += sum(place in batch.cleared for place in watched)
        for stage in self._in_use():
            self._leave_out_if_idle(stage)
        return [batch.answer(place) for place in range(len(pixels))]

    def close(self) -> None:
        """Store the bounds and free the encoders."""
        for stage in self._stages:
            stage.keep()
            stage.encoder.close()

    def _confirm(self, batch: ScreeningBatch, watched: Sequence[int]) -> None:
        """Run the reference on open and watched pictures, until its results no longer widen any bound."""
        wanted = sorted({*batch.open, *watched})
        while True:
            while wanted:
                exact = batch.judge_exactly(self._reference, wanted)
                # A list: every error must be observed, not only those up to the first that matters.
                if any([stage.observe(error) for stage, error in batch.errors(wanted, exact)]):  # noqa: C419
                    batch.reopen(batch.unproven())
                wanted = batch.unjudged()
            if self._is_consistent(batch):
                return
            wanted = batch.unjudged()

    def _is_consistent(self, batch: ScreeningBatch) -> bool:
        """Whether no head flags a cleared picture, as far as they were asked. If one does, the
        proof itself is wrong, and no stage can be trusted: all pictures are opened again.
        """
        if not batch.contradicts_the_proof():
            return True
        for stage in self._in_use():
            stage.leave_out("a head contradicts its proof")
        batch.reopen(batch.cleared)
        return False

    def _in_use(self) -> list[Stage]:
        return [stage for stage in self._stages if stage.in_use]

    def _leave_out_if_idle(self, stage: Stage) -> None:
        """Drop a stage that clears too little: every picture that it does not clear costs more than without it."""
        if stage.screened < _TRIED:
            return
        share = stage.cleared / stage.screened
        if share * self._cost_after(stage) < stage.bound.cost:
            stage.leave_out(f"it clears {share:.0%} of the pictures, which saves no time")

    def _cost_after(self, stage: Stage) -> float:
        """The cost of a picture that this stage does not clear, where the reference alone costs 1."""
        following = self._stages[self._stages.index(stage) + 1 :]
        cost = 1.0
        for later in reversed([each for each in following if each.in_use]):
            cleared = later.cleared / later.screened if later.screened else 0.5
            cost = later.bound.cost + (1 - cleared) * cost
        return cost


def _chosen_by_chance(checked: int) -> bool:
    interval = next((each for until, each in _WATCH if checked < until), _WATCH_LATER)
    return secrets.randbelow(interval) == 0
