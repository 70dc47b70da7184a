"""One CLIP model: its architecture, weights and device; loads its two towers on request."""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.detectors.clip.weights.find import PRETRAINED, find_weights, weights_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder, ClipTextEncoder
    from lemmy_safety.detectors.clip.encoders.text_features import TextFeatures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipModel:
    """What the settings ask for. Imports its modules only when needed: torch takes seconds.

    ``name`` is an open_clip architecture, ``weights`` a file or prepared folder (None: cache or hub), ``device`` ``auto``,
    ``cuda``, ``mps``, ``xpu`` or ``cpu``, ``batch_size`` pictures per batch (0: by device and precision), ``cache_dir``
    the folder for text features, quantised models and error bounds. Without ``fetch``, weights are not downloaded.
    """

    name: str
    weights: Path | None = None
    device: str = "auto"
    batch_size: int = 0
    cache_dir: Path
    fetch: bool = True

    @property
    def version(self) -> str:
        """Such as ``ViT-L-14/openai``."""
        return f"{self.name}/{PRETRAINED.get(self.name, 'local')}"

    def choose_device(self) -> str:
        """:raises DeviceError: the device is not on this machine."""
        from lemmy_safety.detectors.clip.device import choose_device  # noqa: PLC0415

        return choose_device(self.device)

    def find(self, device: str, caches: Sequence[Path]) -> FoundModel:
        """Find the weights; also searches ``caches``.

        :raises WeightsMissing: there are none and they cannot be fetched.
        :raises WeightsInvalid: it is unclear which file of a folder is meant.
        """
        weights = find_weights(self.name, self.weights, caches=caches, fetch=self.fetch)
        return FoundModel(
            name=self.name, weights=weights, device=device, batch_size=self.batch_size, cache_dir=self.cache_dir
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model whose device and weights file exist."""

    name: str
    weights: Path
    device: str
    batch_size: int
    cache_dir: Path

    def check(self) -> None:
        """Check everything except the numbers.

        :raises WeightsInvalid: the file is damaged or of another model.
        """
        from lemmy_safety.detectors.clip.encoders.reference import check_weights  # noqa: PLC0415

        check_weights(self.name, self.weights)

    def digest(self) -> str:
        """A fingerprint of the weights, 64 hex digits.

        :raises WeightsInvalid: the file cannot be read.
        """
        return weights_digest(self.weights)

    def load(self) -> ClipImageEncoder:
        """The image tower."""
        from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder  # noqa: PLC0415

        return load_image_encoder(self.name, self.weights, device=self.device, batch_size=self.batch_size)

    @contextlib.contextmanager
    def texts(self, digest: str) -> Iterator[TextFeatures]:
        """Features of words, from the cache for the weights with this digest. The text tower is loaded only for words
        that
        are not in the cache, and freed afterwards: the two towers are never in memory together.
        """
        from lemmy_safety.detectors.clip.encoders.reference import load_text_encoder  # noqa: PLC0415
        from lemmy_safety.detectors.clip.encoders.text_features import TextFeatureCache  # noqa: PLC0415

        @functools.cache
        def tower() -> ClipTextEncoder:
            return load_text_encoder(self.name, self.weights, device=self.device)

        cache = TextFeatureCache(self.cache_dir, model=self.name, weights_digest=digest)

        def features(word_lists: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], torch.Tensor]:
            @functools.cache
            def say() -> None:
                number = len({word for words in word_lists for word in words})
                logger.info("Computing the features of %d words, once for these weights.", number)

            def encode(words: Sequence[str]) -> torch.Tensor:
                say()
                return tower().encode_texts(words)

            return cache.get(word_lists, encode)

        try:
            yield features
        finally:
            tower.cache_clear()
