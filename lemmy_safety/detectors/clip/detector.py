"""The ``clip`` detector: a CLIP model encodes every frame once, heads interpret its features.

Joins the model, the heads and the screen; contains no rule itself. Slow imports (torch, open_clip and what
heads need: seconds) happen when it is opened.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lemmy_safety.detectors.base import Detector, DetectorReport
from lemmy_safety.detectors.clip.answer import FrameAnswer, findings_of
from lemmy_safety.detectors.clip.heads.base import ProofUnavailable
from lemmy_safety.detectors.clip.heads.together import Heads
from lemmy_safety.detectors.clip.screen.screening import Screening
from lemmy_safety.detectors.memory import free_memory
from lemmy_safety.detectors.timing import frames_per_second
from lemmy_safety.errors import DetectorError, LemmySafetyError, WeightsInvalid
from lemmy_safety.packages import imported

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from PIL import Image

    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder
    from lemmy_safety.detectors.clip.heads.base import Head, Proof
    from lemmy_safety.detectors.clip.model import ClipModel, FoundModel
    from lemmy_safety.records import Finding, Frame, Sample

logger = logging.getLogger(__name__)

#: Batches handed to an accelerator's encoder at once.
_BATCHES_AHEAD = 4


class ClipDetector(Detector):
    """CLIP features, read by heads.

    Findings are hits only, each with score and threshold 1.0 and, as details, what its head matched. A sample without
    findings is clear to all heads. Of several frames the gravest decides and its index is recorded; a label that only
    other frames have is reported for the first of them.

    With a screen (``screen/screening.py``) all labels except mild ones (``heads/base.py``) are the same as without one.
    A
    mild label that comes from the screen's own similarities has ``"from": "screen"`` in its details, and ``"sure"``:
    whether
    the reference would agree. If it is not sure and the screen says no, a finding with the score 0 records that.
    """

    name = "clip"
    packages = ("torch", "open_clip", "horde_safety")

    def __init__(
        self,
        model: ClipModel,
        heads: Sequence[Head],
        *,
        screen: str = "auto",
        lazy: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Store settings; loads nothing yet.

        ``screen`` names the encoder that screens (``screen/choice.py``; ``auto``: depends on the machine, ``off``:
        none). With
        ``lazy``, ``open`` checks everything that needs no model, and the first ``detect`` loads it. ``stop``
        ends the making of a quantised model, which takes minutes; the detector then works without it.
        """
        self.heads = Heads(heads)
        self._asked = model
        self._screen_choice = screen
        self._lazy = lazy
        self._stop = stop
        #: Set by ``open``: what it found without loading anything.
        self._model: FoundModel | None = None
        self._digest: str | None = None
        self._encoder: ClipImageEncoder | None = None
        self._screening: Screening | None = None
        # Frames in a batch once the model is loaded; until then the value for a CPU.
        self.batch_size = model.batch_size or 8

    @property
    def version(self) -> str:
        """The versions of the model and of the heads, such as ``ViT-L-14/openai horde_safety-0.3.1 new-rules``.

        :raises MissingExtra: a head's package is not installed.
        """
        return f"{self._asked.version} {self.heads.version}"

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory; with ``lazy`` that is from the first ``detect`` on."""
        return self._encoder is not None

    def report(self) -> DetectorReport:
        # No screen while the model is not loaded.
        return DetectorReport(
            device=self._model.device if self._model else None,
            screen=self._screening.statistics() if self._screening else None,
        )

    def open(self) -> None:
        if self._model is not None:
            return
        self._see_packages()
        model = self._find_model(self._find_device())
        self._find_for_heads()
        if self._lazy:
            model.check()
        else:
            self._load(model)
        self._model = model

    def faults(self) -> Iterator[LemmySafetyError]:
        try:
            self._see_packages()
        except LemmySafetyError as error:  # without its packages no file can be checked
            yield error
            return
        for find in (self._find_device, lambda: self._find_model("cpu"), self._find_for_heads):
            try:
                find()
            except LemmySafetyError as error:
                yield error

    def _see_packages(self) -> None:
        with imported(*self.packages, extra="clip", needed_for="The clip detector"):
            # torch and open_clip take seconds to import.
            from lemmy_safety.detectors.clip.encoders import reference  # noqa: F401, PLC0415

            for head in self.heads:
                head.import_packages()
            from lemmy_safety.detectors.clip.screen import choice  # noqa: F401, PLC0415

    def _find_device(self) -> str:
        from lemmy_safety.detectors.clip.screen.choice import check_choice  # noqa: PLC0415

        device = self._asked.choose_device()
        check_choice(self._screen_choice, device)
        return device

    def _find_model(self, device: str) -> FoundModel:
        return self._asked.find(device, [folder for head in self.heads for folder in head.weights_folders])

    def _find_for_heads(self) -> None:
        for head in self.heads:
            head.find()

    def load(self) -> None:
        self._loaded()

    def _loaded(self) -> ClipImageEncoder:
        if self._model is None:
            raise DetectorError("The clip detector is not open.")
        return self._encoder or self._load(self._model)

    def _load(self, model: FoundModel) -> ClipImageEncoder:
        digest = model.digest()
        if self._digest not in (None, digest):
            raise WeightsInvalid(
                f"The weights file {model.weights} was replaced while its model was out of memory.",
                hint="Start again to judge by the new weights.",
            )
        self._digest = digest
        with model.texts(digest) as texts:
            self.heads.open(texts, model.device)
        proof = self._learn_proof()
        self._encoder, self._screening = self._open_encoders(model, digest, proof) if proof else (model.load(), None)
        self._note_batch_size(self._encoder)
        screens = ", ".join(stage.name for stage in self._screening.statistics().stages) if self._screening else "none"
        logger.info(
            "CLIP %s on %s, %d pictures per batch; screen: %s.", model.name, model.device, self.batch_size, screens
        )
        return self._encoder

    def _learn_proof(self) -> Proof | None:
        if self._screen_choice == "off":
            return None
        try:
            return self.heads.learn_proof()
        except ProofUnavailable as error:
            logger.warning("Every picture is judged at reference precision, which is slower: %s.", error)
            return None

    def _open_encoders(self, model: FoundModel, digest: str, proof: Proof) -> tuple[ClipImageEncoder, Screening | None]:
        """The reference, and a screen if an encoder saves enough time."""
        from lemmy_safety.detectors.clip.screen.choice import StageRequest, open_stages, ready_stages  # noqa: PLC0415

        request = StageRequest(
            model=model.name,
            weights=model.weights,
            weights_digest=digest,
            directions_digest=self.heads.digest,
            directions=self.heads.directions,
            cache_dir=model.cache_dir,
            batch_size=model.batch_size,
            stop=self._stop,
        )
        names = ready_stages(self._screen_choice, model.device, request)
        encoder = model.load()
        # An encoder requested by name is used, whatever it saves.
        stages = open_stages(names, encoder, request, only_useful=self._screen_choice == "auto")
        if not stages:
            return encoder, None
        return encoder, Screening(heads=self.heads, proof=proof, stages=stages, reference=encoder)

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        encoder = self._loaded()
        frames = [frame for sample in batch for frame in sample.frames]
        answers = iter(self._judge(encoder, frames))
        self._note_batch_size(encoder)
        return [self._findings([(frame, next(answers)) for frame in sample.frames]) for sample in batch]

    def _judge(self, encoder: ClipImageEncoder, frames: Sequence[Frame]) -> Sequence[FrameAnswer]:
        def image(place: int) -> Image.Image | None:
            from PIL import Image  # noqa: PLC0415 - for heads that look at the picture itself

            return Image.fromarray(frames[place].pixels) if self.heads.needs_image else None

        pixels = [frame.pixels for frame in frames]
        if self._screening is not None:
            return self._screening.judge(pixels, image)
        features = encoder.encode_images(pixels)
        return [FrameAnswer(self.heads.judge(row, image(place))) for place, row in enumerate(features)]

    def _findings(self, judged: list[tuple[Frame, FrameAnswer]]) -> list[Finding]:
        return [
            finding
            for head in self.heads
            for finding in findings_of(head, judged, detector=self.name, version=self.version)
        ]

    def _note_batch_size(self, encoder: ClipImageEncoder) -> None:
        at_once = self._screening.batch_size if self._screening else encoder.batch_size
        # An accelerator works on one batch while the next ones are prepared and copied.
        self.batch_size = at_once if encoder.device == "cpu" else _BATCHES_AHEAD * at_once

    def try_speed(self) -> Mapping[str, float]:
        if self._encoder is None:
            return {}
        encoders = [*(self._screening.encoders if self._screening else ()), self._encoder]
        return {
            encoder.name: frames_per_second(encoder.encode_images, at_once=encoder.batch_size) for encoder in encoders
        }

    def release(self) -> bool:
        if self._model is None or self._encoder is None:
            return False
        from lemmy_safety.detectors.clip.device import free_device_memory  # noqa: PLC0415

        if self._screening is not None:
            self._screening.close()
        self._encoder.close()
        self.heads.close()
        self._encoder = self._screening = None
        free_memory()
        free_device_memory(self._model.device)
        return True

    def close(self) -> None:
        self.release()
        self.heads.close()
        self._model = self._digest = None
