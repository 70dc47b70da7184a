"""The ``clip`` detector: an open_clip model looks at every frame, horde_safety's rules decide.

Joins the encoders, the cached text features, the screen and the rules; holds no rule itself. torch, open_clip and
horde_safety are imported when it is opened, which takes seconds.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.clip.screen.batch import FrameAnswer
from lemmy_safety.detectors.clip.screen.screening import Screening
from lemmy_safety.detectors.clip.weights.find import PRETRAINED, find_weights, weights_digest
from lemmy_safety.detectors.memory import free_memory
from lemmy_safety.detectors.timing import frames_per_second
from lemmy_safety.errors import DetectorError, LemmySafetyError, MissingExtra, WeightsInvalid
from lemmy_safety.packages import imported
from lemmy_safety.records import Finding

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder, ClipTextEncoder
    from lemmy_safety.detectors.clip.heads.horde.proof.base import Screen
    from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules
    from lemmy_safety.records import Frame, Sample, ScreenStatistics

logger = logging.getLogger(__name__)

#: The rules answer yes or no; as scores these are 1 and 0, and a hit is a yes.
_YES = 1.0
_NO = 0.0

_NSFW = "nsfw"

#: Batches that an accelerator's encoder is handed at once.
_BATCHES_AHEAD = 4


class ClipDetector(Detector):
    """CLIP features judged by horde_safety.

    Findings are hits only: ``csam``, ``underage_subject`` and ``nsfw``, each with score and threshold 1.0 and, as
    details, what horde_safety matched and how similar it was. A sample without findings is clear to the rules. Of
    several frames the gravest decides and its index is recorded; a label that holds only for other frames is reported
    for the first of them.

    With a screen (``screen/screening.py``) ``csam`` and ``underage_subject`` are what they are without one. An ``nsfw`` that is
    said by the screen's own similarities has ``"from": "screen"`` in its details, and ``"sure"``: whether the reference
    says the same. Where it is not sure and the screen says no, there is an ``nsfw`` finding with the score 0 to tell.
    """

    name = "clip"
    packages = ("torch", "open_clip", "horde_safety")

    def __init__(  # noqa: PLR0913 - what an admin may set of the model
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
        exact: bool = False,
        screen: str = "auto",
        lazy: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Take settings; nothing is loaded yet.

        ``model`` is an open_clip architecture, ``weights`` a file or prepared folder (None: cache or hub), ``device``
        ``auto``, ``cuda``, ``mps``, ``xpu`` or ``cpu``, ``batch_size`` pictures per batch (0: by device and precision),
        ``cache_dir`` the folder for text features, quantised models and error bounds.

        ``screen`` names the encoder that screens (``screen/choice.py``; ``auto``: by what there is, ``off``: none);
        ``exact`` turns the screen off whatever it says. With ``lazy``, ``open`` checks everything that can be checked
        without a model, and the first ``detect`` loads. ``stop`` ends the making of a quantised model, which takes
        minutes, and goes on without it.
        """
        self._model = model
        self._asked_weights = weights
        self._asked_device = device
        self._asked_batch_size = batch_size
        self._use_new_safety = use_new_safety
        self._cache_dir = cache_dir
        self._danbooru = danbooru
        self._danbooru_weights = danbooru_weights
        self._screen_choice = "off" if exact else screen
        self._lazy = lazy
        self._stop = stop
        #: Set by ``open``: what was found without loading anything.
        self._device: str | None = None
        self._weights: Path | None = None
        self._digest: str | None = None
        self._encoder: ClipImageEncoder | None = None
        self._rules: HordeRules | None = None
        self._screening: Screening | None = None
        # Frames in a batch once the model is loaded; until then a CPU's.
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
        return self._device

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory; with ``lazy`` it is so from the first ``detect`` on."""
        return self._encoder is not None

    @property
    def screen_statistics(self) -> ScreenStatistics | None:
        # None while the model is not loaded, and without a screen.
        return self._screening.statistics() if self._screening else None

    def open(self) -> None:
        if self._device is not None:
            return
        self._see_packages()
        device = self._find_device()
        self._weights = self._find_weights()
        self._find_danbooru()
        from lemmy_safety.detectors.clip.encoders.reference import check_weights  # noqa: PLC0415

        if self._lazy:
            check_weights(self._model, self._weights)
        else:
            self._load(device)
        self._device = device

    def faults(self) -> Iterator[LemmySafetyError]:
        try:
            self._see_packages()
        except LemmySafetyError as error:  # without them nothing can be looked for
            yield error
            return
        for find in (self._find_device, self._find_weights, self._find_danbooru):
            try:
                find()
            except LemmySafetyError as error:
                yield error

    def _see_packages(self) -> None:
        with imported(*self.packages, extra="clip", needed_for="The clip detector"):
            # torch, open_clip and transformers (which horde_safety pulls in) take seconds to import.
            from lemmy_safety.detectors.clip import device  # noqa: F401, PLC0415
            from lemmy_safety.detectors.clip.encoders import reference  # noqa: F401, PLC0415
            from lemmy_safety.detectors.clip.heads.horde import rules  # noqa: F401, PLC0415
            from lemmy_safety.detectors.clip.screen import choice  # noqa: F401, PLC0415

    def _find_device(self) -> str:
        from lemmy_safety.detectors.clip.device import choose_device  # noqa: PLC0415
        from lemmy_safety.detectors.clip.screen.choice import check_choice  # noqa: PLC0415

        device = choose_device(self._asked_device)
        check_choice(self._screen_choice, device)
        return device

    def _find_weights(self) -> Path:
        from lemmy_safety.detectors.clip.heads.horde.rules import CACHE_FOLDER_PATH  # noqa: PLC0415

        # The folder in which the ancestor tool kept its downloads is looked through too.
        return find_weights(self._model, self._asked_weights, caches=[Path(CACHE_FOLDER_PATH)])

    def _find_danbooru(self) -> None:
        if self._danbooru:
            from lemmy_safety.detectors.clip.heads.horde.danbooru import find_danbooru  # noqa: PLC0415

            find_danbooru(self._danbooru_weights)

    def load(self) -> None:
        self._loaded()

    def _loaded(self) -> tuple[ClipImageEncoder, HordeRules]:
        if self._device is None:
            raise DetectorError("The clip detector is not open.")
        if self._encoder is None or self._rules is None:
            return self._load(self._device)
        return self._encoder, self._rules

    def _load(self, device: str) -> tuple[ClipImageEncoder, HordeRules]:
        from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder  # noqa: PLC0415
        from lemmy_safety.detectors.clip.heads.horde.rules import HordeRules  # noqa: PLC0415
        from lemmy_safety.detectors.clip.screen.choice import StageRequest, open_stages, ready_stages  # noqa: PLC0415

        if self._weights is None:
            raise DetectorError("The clip detector is not open.")
        digest = weights_digest(self._weights)
        if self._digest not in (None, digest):
            raise WeightsInvalid(
                f"The weights file {self._weights} was replaced while its model was out of memory.",
                hint="Start again to judge by the new weights.",
            )
        self._digest = digest
        rules = HordeRules(use_new_safety=self._use_new_safety, danbooru_model=self._open_danbooru(device))
        self._use_text_features(rules, self._weights, digest, device)
        screen = self._learn_screen(rules)
        request = StageRequest(
            model=self._model,
            weights=self._weights,
            weights_digest=digest,
            words_digest=rules.digest,
            text=rules.text_matrix(),
            cache_dir=self._cache_dir,
            batch_size=self._asked_batch_size,
            stop=self._stop,
        )
        names = ready_stages(self._screen_choice, device, request) if screen else ()
        encoder = load_image_encoder(self._model, self._weights, device=device, batch_size=self._asked_batch_size)
        # What was asked for by name is taken, whatever it saves.
        is_automatic = self._screen_choice == "auto"
        if screen and (stages := open_stages(names, encoder, request, only_useful=is_automatic)):
            self._screening = Screening(screen=screen, rules=rules, text=request.text, stages=stages, reference=encoder)
        self._rules, self._encoder = rules, encoder
        self._note_batch_size(encoder)
        screens = ", ".join(stage.name for stage in self._screening.statistics().stages) if self._screening else "none"
        logger.info("CLIP %s on %s, %d pictures per batch; screen: %s.", self._model, device, self.batch_size, screens)
        return encoder, rules

    def _use_text_features(self, rules: HordeRules, weights: Path, digest: str, device: str) -> None:
        from lemmy_safety.detectors.clip.encoders.reference import load_text_encoder  # noqa: PLC0415
        from lemmy_safety.detectors.clip.encoders.text_features import TextFeatureCache  # noqa: PLC0415

        @functools.cache
        def text_encoder() -> ClipTextEncoder:
            logger.info("Computing the features of %d words, once for these weights.", len(rules.words()))
            return load_text_encoder(self._model, weights, device=device)

        cache = TextFeatureCache(self._cache_dir, model=self._model, weights_digest=digest)
        rules.use_text_features(cache.get(rules.word_lists, lambda words: text_encoder().encode_texts(words)))
        # The text tower goes before the image tower comes: the two are never in memory together.
        text_encoder.cache_clear()

    def _learn_screen(self, rules: HordeRules) -> Screen | None:
        if self._screen_choice == "off":
            return None
        from lemmy_safety.detectors.clip.heads.horde.proof.base import ScreenUnavailable  # noqa: PLC0415
        from lemmy_safety.detectors.clip.heads.horde.proof.learning import learn_screen  # noqa: PLC0415

        try:
            return learn_screen(rules)
        except ScreenUnavailable as error:
            logger.warning("Every picture is judged at reference precision, which is slower: %s.", error)
            return None

    def _open_danbooru(self, device: str) -> Any:
        if not self._danbooru:
            return None
        from lemmy_safety.detectors.clip.heads.horde.danbooru import load_danbooru  # noqa: PLC0415

        return load_danbooru(self._danbooru_weights, device=device)

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        encoder, rules = self._loaded()
        frames = [frame for sample in batch for frame in sample.frames]
        answers = iter(self._judge(encoder, rules, frames))
        self._note_batch_size(encoder)
        return [self._findings([(frame, next(answers)) for frame in sample.frames]) for sample in batch]

    def _judge(self, encoder: ClipImageEncoder, rules: HordeRules, frames: Sequence[Frame]) -> Sequence[FrameAnswer]:
        def image(place: int) -> Image.Image | None:
            from PIL import Image  # noqa: PLC0415 - needed for DeepDanbooru only

            return Image.fromarray(frames[place].pixels) if rules.needs_image else None

        pixels = [frame.pixels for frame in frames]
        if self._screening is not None:
            return self._screening.judge(pixels, image)
        features = encoder.encode_images(pixels)
        return [
            FrameAnswer(rules.judge(row, image(place)).hits, from_screen=False, nsfw_sure=True)
            for place, row in enumerate(features)
        ]

    def _note_batch_size(self, encoder: ClipImageEncoder) -> None:
        at_once = self._screening.batch_size if self._screening else encoder.batch_size
        # An accelerator works on one batch while the next ones are prepared and copied.
        self.batch_size = at_once if encoder.device == "cpu" else _BATCHES_AHEAD * at_once

    def _findings(self, judged: list[tuple[Frame, FrameAnswer]]) -> list[Finding]:
        from lemmy_safety.detectors.clip.heads.horde.rules import LABELS  # noqa: PLC0415

        # Of equally grave frames one that the reference has judged comes first: what it says needs no reservation.
        gravest_first = sorted(
            judged,
            key=lambda pair: (
                *(label not in pair[1].hits for label in LABELS),
                pair[1].from_screen,
                not pair[1].nsfw_sure,
            ),
        )
        findings = []
        for label in LABELS:
            hit = next(((frame, answer) for frame, answer in gravest_first if label in answer.hits), None)
            if hit is not None:
                frame, answer = hit
                findings.append(self._finding(label, _YES, frame, {**answer.hits[label], **_reservation(answer)}))
        if not any(finding.label == _NSFW for finding in findings):
            unsure = next(((frame, answer) for frame, answer in judged if not answer.nsfw_sure), None)
            if unsure is not None:
                findings.append(self._finding(_NSFW, _NO, unsure[0], _reservation(unsure[1])))
        return findings

    def _finding(self, label: str, score: float, frame: Frame, details: dict[str, Any]) -> Finding:
        return Finding(
            detector=self.name,
            version=self.version,
            label=label,
            score=score,
            threshold=_YES,
            frame=frame.index,
            at_s=frame.at_s,
            view=frame.view,
            details=details,
        )

    def try_speed(self) -> Mapping[str, float]:
        if self._encoder is None:
            return {}
        encoders = [*(self._screening.encoders if self._screening else ()), self._encoder]
        return {
            encoder.name: frames_per_second(encoder.encode_images, at_once=encoder.batch_size) for encoder in encoders
        }

    def release(self) -> bool:
        if self._device is None or self._encoder is None:
            return False
        from lemmy_safety.detectors.clip.device import free_device_memory  # noqa: PLC0415

        if self._screening is not None:
            self._screening.close()
        self._encoder.close()
        self._encoder = self._rules = self._screening = None
        free_memory()
        free_device_memory(self._device)
        return True

    def close(self) -> None:
        self.release()
        self._device = self._digest = None


def _reservation(answer: FrameAnswer) -> dict[str, Any]:
    """What a finding's details say of where it comes from; nothing when it comes from the reference itself."""
    return {"from": "screen", "sure": answer.nsfw_sure} if answer.from_screen else {}


@functools.cache
def _horde_safety() -> str:
    try:
        return f"horde_safety-{importlib.metadata.version('horde_safety')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing("horde_safety") from error


def _missing(module: str) -> MissingExtra:
    return MissingExtra("clip", needed_for="The clip detector", cause=f"no module named {module}")
