"""The pictures of one call of the screen, by their places, and what is known of each so far.

Calls encoders and heads on request; ``screening.py`` decides which ones, and when to stop.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lemmy_safety.detectors.clip.answer import FrameAnswer
from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt
    import torch
    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.encoders.preparation import PreparedPictures
    from lemmy_safety.detectors.clip.heads.base import Hits, Proof
    from lemmy_safety.detectors.clip.heads.together import Heads
    from lemmy_safety.detectors.clip.screen.stage import Stage

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """What one stage saw of one picture."""

    stage: Stage
    features: torch.Tensor
    similarities: npt.NDArray[np.float64]


class _Proof(NamedTuple):
    """What is proven of one picture: a row of ``Proven``. ``possible`` and ``certain`` are mild labels."""

    cannot_flag: bool
    possible: frozenset[str]
    certain: frozenset[str]


class ScreeningBatch:
    """The pictures of one call, by their places, and what is known of them so far."""

    def __init__(
        self,
        heads: Heads,
        proof: Proof,
        directions: torch.Tensor,
        pictures: PreparedPictures,
        image: Callable[[int], Image.Image | None],
    ) -> None:
        """``directions`` are those of the heads, (K, D)."""
        self._heads = heads
        self._proof = proof
        self._directions = directions
        self._pictures = pictures
        self._image = image
        self._seen: dict[int, list[_Seen]] = {place: [] for place in range(len(pictures))}
        #: Not cleared by any stage so far.
        self.open = set(self._seen)
        #: Which stage cleared it.
        self.cleared: dict[int, _Seen] = {}
        #: The heads' results from the features at reference precision.
        self.exact: dict[int, Hits] = {}
        self._proofs: dict[int, _Proof] = {}
        self._by_screen: dict[int, Hits] = {}

    def ask(self, stage: Stage) -> bool:
        """Let a stage clear open pictures; False if it failed, which leaves them open."""
        places = sorted(self.open)
        try:
            features = stage.encoder.encode(self._pictures, places)
        except DetectorError as error:
            logger.warning("%s failed: %s", stage.encoder.name, error.message)
            return False
        similarities = self._similarities(features)
        proven = self._prove(stage, similarities)
        stage.screened += len(places)
        for place, row, numbers, proof in zip(places, features, similarities, proven, strict=True):
            self._seen[place].append(_Seen(stage, row, numbers))
            if proof.cannot_flag:
                stage.cleared += 1
                self.cleared[place] = self._seen[place][-1]
                self._proofs[place] = proof
                self.open.discard(place)
        return True

    def judge_exactly(self, reference: PictureEncoder, places: Sequence[int]) -> npt.NDArray[np.float64]:
        """Judge these pictures by the reference's features; returns their similarities, (len(places), K)."""
        features = reference.encode(self._pictures, places)
        for place, row in zip(places, features, strict=True):
            self.exact[place] = self._heads.judge(row, self._image(place))
        return self._similarities(features)

    def errors(self, places: Sequence[int], exact: npt.NDArray[np.float64]) -> Iterable[tuple[Stage, float]]:
        """The error of each stage on each of these pictures that it saw."""
        for place, right in zip(places, exact, strict=True):
            for seen in self._seen[place]:
                yield seen.stage, float(np.abs(seen.similarities - right).max())

    def contradicts_the_proof(self) -> bool:
        """Whether a head gives a cleared picture a label that its proof calls impossible."""
        return any(self._hits(place).keys() - self._heads.mild for place in self.cleared)

    def unjudged(self) -> list[int]:
        """Open pictures that the reference has not seen."""
        return sorted(self.open - self.exact.keys())

    def unproven(self) -> list[int]:
        """Cleared pictures that are not clear with the current bounds."""
        for stage in {id(seen.stage): seen.stage for seen in self.cleared.values()}.values():
            places = [place for place, seen in self.cleared.items() if seen.stage is stage]
            similarities = np.stack([self.cleared[place].similarities for place in places])
            self._proofs.update(zip(places, self._prove(stage, similarities), strict=True))
        return [place for place in self.cleared if not self._proofs[place].cannot_flag]

    def reopen(self, places: Iterable[int]) -> None:
        for place in list(places):
            self.cleared.pop(place).stage.cleared -= 1
            self.open.add(place)

    def answer(self, place: int) -> FrameAnswer:
        hits = self._hits(place)
        if place in self.exact:
            return FrameAnswer(hits)
        proof = self._proofs[place]
        return FrameAnswer(hits, from_screen=True, unsure=proof.possible - proof.certain)

    def _hits(self, place: int) -> Hits:
        """The heads' results from the best features available; not computed if they could only be empty."""
        if place in self.exact:
            return self.exact[place]
        if not self._proofs[place].possible:
            return {}
        if place not in self._by_screen:
            self._by_screen[place] = self._heads.judge(self.cleared[place].features, self._image(place))
        return self._by_screen[place]

    def _prove(self, stage: Stage, similarities: npt.NDArray[np.float64]) -> list[_Proof]:
        proven = self._proof.about(similarities, stage.bound.value)
        return [
            _Proof(
                bool(cannot_flag),
                frozenset(label for label, flags in proven.possible.items() if flags[row]),
                frozenset(label for label, flags in proven.certain.items() if flags[row]),
            )
            for row, cannot_flag in enumerate(proven.cannot_flag)
        ]

    def _similarities(self, features: torch.Tensor) -> npt.NDArray[np.float64]:
        similarities: npt.NDArray[np.float64] = (features @ self._directions.T).double().numpy()
        return similarities
