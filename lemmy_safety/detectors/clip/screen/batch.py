"""The pictures of one call of the screen, by their places, and what is known of each so far.

Asks encoders, the screen and the rules when it is told to; whom to ask and when to stop is ``screening.py``'s business.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt
    import torch
    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.encoders.preparation import PreparedPictures
    from lemmy_safety.detectors.clip.heads.horde.proof.base import Screen
    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules
    from lemmy_safety.detectors.clip.screen.stage import Stage

logger = logging.getLogger(__name__)

_GRAVE = frozenset({"csam", "underage_subject"})


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """What is said of one picture: label to details, as ``HordeResult.hits``.

    ``from_screen``: by similarities that are off by up to the error bound; ``nsfw_sure`` says whether ``nsfw`` is
    nevertheless what the reference would say. ``csam`` and ``underage_subject`` always are.
    """

    hits: Mapping[str, Mapping[str, object]]
    from_screen: bool
    nsfw_sure: bool


@dataclass(slots=True)
class _Seen:
    """What one stage saw of one picture."""

    stage: Stage
    features: torch.Tensor
    similarities: npt.NDArray[np.float64]


class _Proof(NamedTuple):
    """One picture's row of a ``ScreenAnswer``."""

    clear: bool
    nsfw_possible: bool
    nsfw_certain: bool


class ScreeningBatch:
    """The pictures of one call, by their places, and what is known of them so far."""

    def __init__(
        self,
        screen: Screen,
        text: torch.Tensor,
        rules: HordeRules,
        pictures: PreparedPictures,
        image: Callable[[int], Image.Image | None],
    ) -> None:
        self._screen = screen
        self._text = text
        self._rules = rules
        self._pictures = pictures
        self._image = image
        self._seen: dict[int, list[_Seen]] = {place: [] for place in range(len(pictures))}
        #: Not cleared by any stage so far.
        self.open = set(self._seen)
        #: By whom cleared.
        self.cleared: dict[int, _Seen] = {}
        #: What the rules say of the features at reference precision.
        self.exact: dict[int, Mapping[str, Mapping[str, object]]] = {}
        self._proofs: dict[int, _Proof] = {}
        self._by_screen: dict[int, Mapping[str, Mapping[str, object]]] = {}

    def ask(self, stage: Stage) -> bool:
        """Let a stage clear what is open; False when it failed, which leaves it open."""
        places = sorted(self.open)
        try:
            features = stage.encoder.encode(self._pictures, places)
        except DetectorError as error:
            logger.warning("%s failed: %s", stage.encoder.name, error.message)
            return False
        similarities = self._similarities(features)
        proofs = self._prove(stage, similarities)
        stage.screened += len(places)
        for place, row, numbers, proof in zip(places, features, similarities, proofs, strict=True):
            self._seen[place].append(_Seen(stage, row, numbers))
            if proof.clear:
                stage.cleared += 1
                self.cleared[place] = self._seen[place][-1]
                self._proofs[place] = proof
                self.open.discard(place)
        return True

    def judge_exactly(self, reference: PictureEncoder, places: Sequence[int]) -> npt.NDArray[np.float64]:
        """Let the rules judge these pictures by the reference's features; their similarities, (len(places), W)."""
        features = reference.encode(self._pictures, places)
        for place, row in zip(places, features, strict=True):
            self.exact[place] = self._rules.judge(row, self._image(place)).hits
        return self._similarities(features)

    def errors(self, places: Sequence[int], exact: npt.NDArray[np.float64]) -> Iterable[tuple[Stage, float]]:
        """How far each stage was off on each of these pictures that it saw."""
        for place, right in zip(places, exact, strict=True):
            for seen in self._seen[place]:
                yield seen.stage, float(np.abs(seen.similarities - right).max())

    def contradicts_the_screen(self) -> bool:
        """Whether the rules, asked about a cleared picture, say what the screen has proven impossible."""
        return any(_GRAVE & self._hits(place).keys() for place in self.cleared)

    def unjudged(self) -> list[int]:
        """Open pictures that the reference has not seen."""
        return sorted(self.open - self.exact.keys())

    def unproven(self) -> list[int]:
        """Cleared pictures that are not clear with the bounds of now."""
        for stage in {id(seen.stage): seen.stage for seen in self.cleared.values()}.values():
            places = [place for place, seen in self.cleared.items() if seen.stage is stage]
            similarities = np.stack([self.cleared[place].similarities for place in places])
            self._proofs.update(zip(places, self._prove(stage, similarities), strict=True))
        return [place for place in self.cleared if not self._proofs[place].clear]

    def reopen(self, places: Iterable[int]) -> None:
        for place in list(places):
            self.cleared.pop(place).stage.cleared -= 1
            self.open.add(place)

    def answer(self, place: int) -> FrameAnswer:
        hits = self._hits(place)
        if place in self.exact:
            return FrameAnswer(hits, from_screen=False, nsfw_sure=True)
        proof = self._proofs[place]
        return FrameAnswer(hits, from_screen=True, nsfw_sure=proof.nsfw_certain or not proof.nsfw_possible)

    def _hits(self, place: int) -> Mapping[str, Mapping[str, object]]:
        """What the rules say by the best features there are; they are not asked where they can only say nothing."""
        if place in self.exact:
            return self.exact[place]
        if not self._proofs[place].nsfw_possible:
            return {}
        if place not in self._by_screen:
            self._by_screen[place] = self._rules.judge(self.cleared[place].features, self._image(place)).hits
        return self._by_screen[place]

    def _prove(self, stage: Stage, similarities: npt.NDArray[np.float64]) -> list[_Proof]:
        answer = self._screen.answer(similarities, stage.bound.value)
        fields = (answer.clear.tolist(), answer.nsfw_possible.tolist(), answer.nsfw_certain.tolist())
        return [_Proof(*row) for row in zip(*fields, strict=True)]

    def _similarities(self, features: torch.Tensor) -> npt.NDArray[np.float64]:
        similarities: npt.NDArray[np.float64] = (features @ self._text.T).double().numpy()
        return similarities
