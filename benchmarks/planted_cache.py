"""A cache folder of the clip detector as an earlier start would have left it, with text features that were made up.

Random weights see people and nudity nowhere. What the detector reads at its start are files, and a file may hold features
that put any share of the pictures in doubt (``support/clip/planted_words.py``): everything behind that is the program's own way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import open_clip
import torch
from support.clip.planted_words import planted_words

from lemmy_safety.detectors.clip.encoders.half import HalfEncoder
from lemmy_safety.detectors.clip.encoders.openvino import load_openvino_encoder, make_openvino_model
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder
from lemmy_safety.detectors.clip.encoders.text_features import TextFeatureCache
from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules
from lemmy_safety.detectors.clip.screen.choice import StageRequest, ready_stages
from lemmy_safety.detectors.clip.screen.error_bound import SAFETY
from lemmy_safety.detectors.clip.weights.find import weights_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder

MODEL = "ViT-L-14"

#: From so many checked pictures on, the screen has one in 128 checked by the reference (``screen/screening.py``).
_LONG_IN_USE = 64
#: Pictures whose features are computed at once.
_BATCH = 32

Planted = dict[tuple[str, ...], torch.Tensor]


class PlantedCaches:
    """Cache folders below ``work`` for one file of weights; quantised models are made once for all of them."""

    def __init__(self, work: Path, weights: Path, *, device: str, screen: str) -> None:
        self._work = work
        self._weights = weights
        self._device = device
        self._digest = weights_digest(weights)
        self.rules = HordeRules(use_new_safety=True)
        request = StageRequest(
            model=MODEL,
            weights=weights,
            weights_digest=self._digest,
            directions_digest=self.rules.digest,
            directions=torch.empty(0),
            cache_dir=work,
        )
        #: The encoders that will be tried as screens.
        self.screens = ready_stages(screen, device, request)

    def features(self, frames: Iterable[np.ndarray]) -> torch.Tensor:
        """Features of frames, (N, D), near enough to plant words by: of the fastest encoder here."""
        reference = load_image_encoder(MODEL, self._weights, device=self._device)
        encoder: PictureEncoder = reference
        if self.screens:
            library, precision = self.screens[0].split("-")
            if library == "openvino":
                model = make_openvino_model(
                    MODEL, self._weights, precision=precision, weights_digest=self._digest, cache_dir=self._work
                )
                encoder = load_openvino_encoder(model, reference.preparation, precision=precision)
            else:
                encoder = HalfEncoder(reference.visual, reference.preparation, precision=precision, device=self._device)
        try:
            return torch.cat([encoder.encode_images(batch) for batch in _batches(frames)])
        finally:
            reference.close()

    def plant(self, features: torch.Tensor, *, confirmed: float, seed: int, margin: float = 0.0) -> Planted:
        """Words' features with which about this share of the frames ``features`` cannot be cleared by a screen that errs
        by up to ``margin``.
        """
        return planted_words(self.rules, features, confirmed=confirmed, seed=seed, margin=margin)

    def unlike_anything(self, seed: int) -> Planted:
        """Words' features that no picture resembles."""
        draw = torch.Generator().manual_seed(seed)
        size = open_clip.get_model_config(MODEL)["embed_dim"]
        return {
            words: torch.nn.functional.normalize(torch.randn(len(words), size, generator=draw), dim=-1)
            for words in self.rules.word_lists
        }

    def fill(self, folder: Path, planted: Planted) -> None:
        """Make ``folder`` the cache that a start with these weights finds; error bounds in it stay."""
        folder.mkdir(parents=True, exist_ok=True)
        for model in self._work.glob("clip-*"):
            if not (folder / model.name).exists():
                (folder / model.name).symlink_to(model, target_is_directory=True)
        for path in folder.glob("text-features-*"):
            path.unlink()
        cache = TextFeatureCache(folder, model=MODEL, weights_digest=self._digest)
        cache.get(self.rules.word_lists, lambda words: planted[tuple(words)])


def smallest_bound(folder: Path) -> float:
    """The error bound of the best screen that was measured with this cache; 0 where none was."""
    bounds = (json.loads(path.read_text("utf-8"))["largest"] for path in folder.glob("screen-error-*.json"))
    return SAFETY * min(bounds, default=0.0)


def as_after_long_use(folder: Path) -> None:
    """Let the screen's error bounds in this cache count as tried, as they are after the first thousand pictures."""
    for path in folder.glob("screen-error-*.json"):
        kept = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**kept, "checked": max(kept["checked"], _LONG_IN_USE)}), "utf-8")


def _batches(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
