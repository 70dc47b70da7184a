"""The ``nudenet`` detector: boxes of nudity and faces by the ``nudenet`` package, with the weights inside it.

The package prepares the pictures and makes the boxes; this module passes it frames and summarises its results.
Its classes say nothing about age. It errs: of scikit-image's sample pictures, a colour wheel scores 0.83 as
BUTTOCKS_EXPOSED. ``policy.py`` decides what a class means for a verdict.

The package opens its onnxruntime session without choosing a device; the ordinary onnxruntime then uses the CPU.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.memory import free_memory
from lemmy_safety.detectors.timing import frames_per_second
from lemmy_safety.errors import DetectorError, MissingExtra, WeightsInvalid
from lemmy_safety.foreign import first_line, foreign
from lemmy_safety.installing import how_to_install_again
from lemmy_safety.packages import imported
from lemmy_safety.records import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from lemmy_safety.records import Frame, Sample

log = logging.getLogger(__name__)

#: The model inside the package: "320n", that is 320 x 320 pixels, the "nano" size.
_MODEL = "320n"

#: The package makes no box where the best class scores less than 0.2; this is below that by more than rounding.
_NO_BOX_BELOW = 0.19

#: The package pads frames to squares before it scales them to 320 x 320, so a strip of 1 x 40,000 pixels would take
#: 4.8 GB. Longer frames are scaled down first; up to this length (three copies of 50 MB) they are passed unchanged.
_MAX_SIDE = 4096


class NudenetDetector(Detector):
    """Labels: the package's 18 classes, such as ``FACE_FEMALE`` and ``FEMALE_BREAST_EXPOSED``.

    One finding per class and sample, highest score first: the highest score of all its frames (6 decimals), the frame
    it
    is from, and in the details its ``box`` as fractions of the frame's width and height: left, top, width, height.
    Boxes that score 0.25 or less do not occur: the package drops them.

    On a 2-core CPU a frame takes about 25 ms (48 ms of the processors' time) in batches of any size; the working memory
    grows with the batch by 16 MB a frame.
    """

    name: ClassVar[str] = "nudenet"
    packages: ClassVar[tuple[str, ...]] = ("nudenet", "onnxruntime")

    def __init__(self, min_score: float = 0.6, *, batch_size: int = 8) -> None:
        """``min_score`` (0 to 1) is the threshold of all findings; lower scores are recorded but are not hits."""
        self.batch_size = batch_size
        self._min_score = min_score
        self._detector: Any = None

    @property
    def version(self) -> str:
        """Such as ``nudenet-3.4.2 320n``; the weights are part of the package, so its version covers them too.

        :raises MissingExtra: the package is not installed.
        """
        try:
            return f"nudenet-{importlib.metadata.version('nudenet')} {_MODEL}"
        except importlib.metadata.PackageNotFoundError as error:
            raise _missing(error) from error

    def open(self) -> None:
        """Load the model.

        :raises MissingExtra: the package, or a library it needs, is not installed.
        :raises WeightsInvalid: the model file in the package is damaged.
        """
        if self._detector is not None:
            return
        # From 1.31 on onnxruntime keeps a device id and usage events in the user's cache folder and may send them to
        # its
        # maker; it reads this setting once, at its first import. So nothing leaves, and only our own files are written.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        with imported(*self.packages, extra="nudenet", needed_for="The nudenet detector"):
            package = importlib.import_module("nudenet")
            runtime = importlib.import_module("onnxruntime")
            # Older builds, on Windows, support only this way.
            runtime.disable_telemetry_events()
            package.NudeDetector, runtime.InferenceSession  # noqa: B018 - what is used below exists
        try:
            self._detector = package.NudeDetector()
            model = Path(str(package.__file__)).with_name(f"{_MODEL}.onnx")
            self._detector.onnx_session = _Session(runtime, model)
        except Exception as error:  # onnxruntime's own errors have no common base but Exception
            raise WeightsInvalid(
                f"The model {_MODEL} of nudenet cannot be loaded: {first_line(error)}",
                hint=how_to_install_again("nudenet", alone=True),
            ) from error
        log.info("%s runs on %s.", self.version, ", ".join(self._detector.onnx_session.get_providers()))

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        """Findings for each sample; all frames of all samples go through the model together.

        :raises DetectorError: the model or the package failed on the batch.
        """
        self.open()
        frames = [frame for sample in batch for frame in sample.frames]
        # The package expects cv2.imread's format: BGR. A view is enough, since one frame at a time is copied later.
        pictures = [_within_limit(frame.pixels)[:, :, ::-1] for frame in frames]
        boxes = self._boxes(pictures)
        version = self.version
        rest = iter(zip(frames, pictures, boxes, strict=True))
        return [self._summed_up([next(rest) for _ in sample.frames], version) for sample in batch]

    def load(self) -> None:
        self.open()

    def release(self) -> bool:
        held, self._detector = self._detector is not None, None
        if held:
            free_memory()
        return held

    def try_speed(self) -> Mapping[str, float]:
        self.open()
        return {_MODEL: frames_per_second(self._boxes, at_once=self.batch_size)}

    def close(self) -> None:
        self.release()

    def _boxes(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[list[dict[str, Any]]]:
        """The package's results for each picture, BGR."""
        try:
            boxes: list[list[dict[str, Any]]] = self._detector.detect_batch(pictures, batch_size=self.batch_size)
        except Exception as error:  # cv2's and onnxruntime's own errors have no common base but Exception
            raise DetectorError(
                f"nudenet failed on a batch of {len(pictures)} frames: {first_line(error)}",
                hint="Run again with --debug for the traceback.",
            ) from error
        return boxes

    def _summed_up(
        self, looked_at: list[tuple[Frame, npt.NDArray[np.uint8], list[dict[str, Any]]]], version: str
    ) -> list[Finding]:
        best: dict[str, Finding] = {}
        for frame, picture, boxes in looked_at:
            high, wide = picture.shape[:2]
            for box in boxes:
                label, score = str(box["class"]), round(float(box["score"]), 6)
                if label in best and best[label].score >= score:
                    continue
                sides = zip(box["box"], (wide, high, wide, high), strict=True)
                best[label] = Finding(
                    detector=self.name,
                    version=version,
                    label=label,
                    score=score,
                    threshold=self._min_score,
                    frame=frame.index,
                    at_s=frame.at_s,
                    view=frame.view,
                    details={"box": [round(side / whole, 4) for side, whole in sides]},
                )
        return sorted(best.values(), key=lambda finding: (-finding.score, finding.label))


class _Session:
    """The package's own session of onnxruntime, tuned for a machine with other work, and with less output.

    By default onnxruntime's threads spin while they wait for each other. Next to decoding processes, and so always on
    a busy machine, that took 40 % of the model's time. And for each frame the package loops over
    2,100 places in Python, 13 ms holding the interpreter's lock, to make a handful of boxes; we drop the others here.
    """

    def __init__(self, runtime: Any, model: Path) -> None:
        options = runtime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return list(self._session.get_providers())

    def run(self, names: Any, inputs: Any) -> list[npt.NDArray[np.float32]]:
        """One array: frames x (box of 4, scores of all classes) x the places where any frame has a box."""
        outputs: npt.NDArray[np.float32] = self._session.run(names, inputs)[0]
        has_box = outputs[:, 4:].max(axis=(0, 1)) >= _NO_BOX_BELOW
        has_box[:2] = True  # at least two: the package drops axes of length 1
        return [outputs[:, :, has_box]]


def _within_limit(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    longest = max(pixels.shape[:2])
    if longest <= _MAX_SIDE:
        return pixels
    high, wide = (max(1, side * _MAX_SIDE // longest) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((wide, high), Image.Resampling.BOX))


def _missing(error: ImportError) -> MissingExtra:
    return MissingExtra("nudenet", needed_for="The nudenet detector", cause=foreign(error))
