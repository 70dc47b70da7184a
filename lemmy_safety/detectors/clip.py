"""The ``clip`` detector: an open_clip model looks at every frame, horde_safety's rules decide.

Joins the encoder, the cached text features and the rules; holds no rule itself. torch, open_clip and horde_safety are
imported when it is opened, which takes seconds.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.clip_weights import PRETRAINED, find_weights, weights_digest
from lemmy_safety.errors import DetectorError, MissingExtra
from lemmy_safety.records import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.detectors.clip_encoder import ClipImageEncoder, ClipTextEncoder
    from lemmy_safety.detectors.horde import HordeResult, HordeRules
    from lemmy_safety.records import Frame, Sample

logger = logging.getLogger(__name__)

#: The rules answer yes or no; as scores these are 1 and 0, and a hit is a yes.
_YES = 1.0


class ClipDetector(Detector):
    """CLIP features judged by horde_safety.

    Findings are hits only: ``csam``, ``underage_subject`` and ``nsfw``, each with score and threshold 1.0 and, as
    details, what horde_safety matched and how similar it was. A sample without findings is clear to the rules. Of
    several frames the gravest decides and its index is recorded; a label that holds only for other frames is reported
    for the first of them.
    """

    name = "clip"

    def __init__(
        self,
        *,
        model: str,
        weights: Path | None,
        device: str,
        batch_size: int,
        use_new_safety: bool,
        cache_dir: Path,
        danbooru: bool = False,
        danbooru_weights: Path | None = None,
    ) -> None:
        """Take settings; nothing is loaded yet.

        ``model`` is an open_clip architecture, ``weights`` a file or prepared folder (None: cache or hub), ``device``
        ``auto``, ``cuda``, ``mps``, ``xpu`` or ``cpu``, ``batch_size`` pictures per batch (0: by device),
        ``cache_dir`` the folder for text features.
        """
        self._model = model
        self._weights = weights
        self._asked_device = device
        self._asked_batch_size = batch_size
        self._use_new_safety = use_new_safety
        self._cache_dir = cache_dir
        self._danbooru = danbooru
        self._danbooru_weights = danbooru_weights
        self._encoder: ClipImageEncoder | None = None
        self._rules: HordeRules | None = None
        # Frames in a batch once the device is known; until then the CPU's.
        self.batch_size = batch_size or 8

    @property
    def version(self) -> str:
        """Such as ``ViT-L-14/openai horde_safety-0.3.1 new-rules``, with ``+danbooru`` where that is used.

        :raises MissingExtra: horde_safety is not installed.
        """
        rules = "new-rules" if self._use_new_safety else "older-rules"
        weights = PRETRAINED.get(self._model, "local")
        return f"{self._model}/{weights} {_horde_safety()} {rules}{'+danbooru' if self._danbooru else ''}"

    @property
    def device(self) -> str | None:
        """The device in use; None before ``open()``."""
        return self._encoder.device if self._encoder else None

    def open(self) -> None:
        if self._encoder is not None:
            return
        try:
            # torch, open_clip and transformers (which horde_safety pulls in) take seconds to import.
            from lemmy_safety.detectors.clip_encoder import load_image_encoder, load_text_encoder  # noqa: PLC0415
            from lemmy_safety.detectors.device import choose_device  # noqa: PLC0415
            from lemmy_safety.detectors.horde import CACHE_FOLDER_PATH, HordeRules  # noqa: PLC0415
            from lemmy_safety.detectors.text_features import TextFeatureCache  # noqa: PLC0415
        except ImportError as error:
            raise _missing(error.name or str(error)) from error
        device = choose_device(self._asked_device)
        # The folder in which the ancestor tool kept its downloads is looked through too.
        path = find_weights(self._model, self._weights, caches=[Path(CACHE_FOLDER_PATH)])
        rules = HordeRules(use_new_safety=self._use_new_safety, danbooru_model=self._open_danbooru(device))

        @functools.cache
        def text_encoder() -> ClipTextEncoder:
            logger.info("Computing the features of %d words, once for these weights.", len(rules.words()))
            return load_text_encoder(self._model, path, device=device)

        cache = TextFeatureCache(self._cache_dir, model=self._model, weights_digest=weights_digest(path))
        rules.use_text_features(cache.get(rules.word_lists, lambda words: text_encoder().encode_texts(words)))
        # The text tower goes before the image tower comes: the two are never in memory together.
        text_encoder.cache_clear()
        encoder = load_image_encoder(self._model, path, device=device, batch_size=self._asked_batch_size)
        self.batch_size = encoder.batch_size
        self._rules, self._encoder = rules, encoder
        logger.info("CLIP %s on %s, %d pictures per batch.", self._model, device, encoder.batch_size)

    def _open_danbooru(self, device: str) -> Any:
        if not self._danbooru:
            return None
        from lemmy_safety.detectors.danbooru import load_danbooru  # noqa: PLC0415

        return load_danbooru(self._danbooru_weights, device=device)

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        encoder, rules = self._encoder, self._rules
        if encoder is None or rules is None:
            raise DetectorError("The clip detector is not open.")
        frames = [frame for sample in batch for frame in sample.frames]
        features = iter(encoder.encode_images([frame.pixels for frame in frames]))
        self.batch_size = encoder.batch_size
        return [
            self._findings([(frame, self._judge(rules, frame, next(features))) for frame in sample.frames])
            for sample in batch
        ]

    def _judge(self, rules: HordeRules, frame: Frame, features: Any) -> HordeResult:
        if not rules.needs_image:
            return rules.judge(features)
        from PIL import Image  # noqa: PLC0415

        try:
            return rules.judge(features, Image.fromarray(frame.pixels))
        except RuntimeError as error:  # torch, in DeepDanbooru
            raise DetectorError(f"DeepDanbooru failed: {error}.") from error

    def _findings(self, judged: list[tuple[Frame, HordeResult]]) -> list[Finding]:
        from lemmy_safety.detectors.horde import LABELS  # noqa: PLC0415

        gravest_first = sorted(judged, key=lambda pair: tuple(label in pair[1].hits for label in LABELS), reverse=True)
        findings = []
        for label in LABELS:
            hit = next(((frame, result) for frame, result in gravest_first if label in result.hits), None)
            if hit is not None:
                frame, result = hit
                findings.append(
                    Finding(
                        detector=self.name,
                        version=self.version,
                        label=label,
                        score=_YES,
                        threshold=_YES,
                        frame=frame.index,
                        details=result.hits[label],
                    )
                )
        return findings

    def close(self) -> None:
        if self._encoder is None:
            return
        from lemmy_safety.detectors.device import free_device_memory  # noqa: PLC0415

        device = self._encoder.device
        self._encoder = self._rules = None
        free_device_memory(device)


@functools.cache
def _horde_safety() -> str:
    try:
        return f"horde_safety-{importlib.metadata.version('horde_safety')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing("horde_safety") from error


def _missing(module: str) -> MissingExtra:
    return MissingExtra("clip", needed_for="The clip detector", cause=f"no module named {module}")
