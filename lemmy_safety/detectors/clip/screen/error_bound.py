"""How far a fast encoder's similarities are from the reference's: measured, widened if they prove worse, kept on disk.

The bound is three times the largest error ever seen with these weights and this encoder. The file holds three numbers
and digests, nothing of any picture.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from lemmy_safety.detectors.generated_pictures import calibration_pictures
from lemmy_safety.errors import DetectorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.encoders.preparation import PreparedPictures

logger = logging.getLogger(__name__)

_FORMAT = "1"

#: Times the largest error seen. On 40 photos, bf16 erred by up to 1.2 times the largest error on 16 generated pictures,
#: int8 by up to 1.6 times (ViT-L-14, random weights); the random checks cover rarer errors.
SAFETY = 3.0

#: Errors below this are those of fp32 itself, whose sums differ between batches of different size.
FLOOR = 1e-5

#: Pictures measured at the first start: about 15 seconds of fp32 on two cores.
MEASURED_PICTURES = 16
_MEASURED_SEED = 2


@dataclass(slots=True)
class ErrorBound:
    """What is known of one encoder's errors: absolute, in similarities.

    ``largest`` is the largest error seen, ``checked`` how many of the admin's pictures were compared, ``cost`` the time
    for a picture as a share of the reference's time for it, both measured alternately on the same machine.
    """

    largest: float
    checked: int
    cost: float

    @property
    def value(self) -> float:
        """The bound itself."""
        return max(SAFETY * self.largest, FLOOR)

    def observe(self, error: float) -> bool:
        """Whether ``error`` is larger than all before, so that the bound grew. NaN errors are ignored: such pictures
        are
        never cleared.
        """
        if not math.isfinite(error) or error <= self.largest:
            return False
        grows = SAFETY * error > self.value
        self.largest = error
        return grows


def measure(fast: PictureEncoder, reference: PictureEncoder, directions: torch.Tensor) -> ErrorBound:
    """Both encoders on the same generated pictures; ``directions`` are those of all heads, (K, D).

    :raises DetectorError: one of them fails.
    """
    # An accelerator reaches its full speed only with full batches, and measures these in a second.
    count = MEASURED_PICTURES if reference.device == "cpu" else 2 * fast.batch_size
    pictures = fast.preparation.prepare(calibration_pictures(count, seed=_MEASURED_SEED))
    pictures.squares(range(count))
    rounds = [range(count // 2), range(count // 2, count)]
    for encoder in (fast, reference):
        # The first batch allocates memory and selects kernels.
        encoder.encode(pictures, rounds[0] if reference.device != "cpu" else rounds[0][:1])
    # Alternately, taking the faster round of each: other load on the machine then affects both.
    timed = [[_timed(encoder, pictures, places) for encoder in (fast, reference)] for places in rounds]
    errors = torch.cat([((quick - exact) @ directions.T).abs().amax(dim=1) for (quick, _), (exact, _) in timed])
    sound = errors[errors.isfinite()]
    if len(sound) <= count // 2:
        raise DetectorError(f"{fast.name} answers values that are not numbers.")
    fast_seconds, reference_seconds = (min(turn[which][1] for turn in timed) for which in (0, 1))
    return ErrorBound(largest=sound.max().item(), checked=0, cost=fast_seconds / reference_seconds)


def _timed(encoder: PictureEncoder, pictures: PreparedPictures, places: Sequence[int]) -> tuple[torch.Tensor, float]:
    started = time.perf_counter()
    features = encoder.encode(pictures, places)
    return features, time.perf_counter() - started


class ErrorBoundFile:
    """The stored bound of one encoder with one set of weights, words and library versions."""

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self._identity = {"format": _FORMAT, **identity}
        digest = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"screen-error-{digest[:32]}.json"

    def read(self) -> ErrorBound | None:
        """The bound that an earlier start stored; None if there is no usable one."""
        try:
            kept = json.loads(self.path.read_text("utf-8"))
            if kept.pop("identity") != self._identity:
                return None
            bound = ErrorBound(**kept)
            usable = all(math.isfinite(value) and value >= 0 for value in asdict(bound).values())
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return bound if usable else None

    def write(self, bound: ErrorBound) -> None:
        """Store it; a folder that cannot be written costs the next start a measurement and is logged."""
        content = json.dumps({"identity": self._identity, **asdict(bound)})
        beside = self.path.with_suffix(f".{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(content, encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            logger.warning("The screen's error bound cannot be kept in %s (%s).", self.path.parent, error)
