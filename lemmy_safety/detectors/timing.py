"""Measures how many frames a second a model handles on this machine, on generated pictures, to plan a sweep."""

from __future__ import annotations

import time
from itertools import cycle, islice
from typing import TYPE_CHECKING

from lemmy_safety.detectors.generated_pictures import calibration_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

#: A call that takes this long gives a reliable rate.
_LONG_ENOUGH_S = 2.0

#: Drawing pictures takes longer than a graphics card needs for them, so there are few, used repeatedly.
_DIFFERENT = 16
_SEED = 3


def frames_per_second(work: Callable[[list[npt.NDArray[np.uint8]]], object], *, at_once: int) -> float:
    """The rate of ``work`` on frames (256, 256, 3), uint8, at most ``at_once`` a call.

    Each call has twice as many frames as the one before, until one takes two seconds or has ``at_once``; that one
    counts. The first one does not, because the model then allocates memory and selects kernels.
    """
    frames = calibration_pictures(min(at_once, _DIFFERENT), seed=_SEED)
    work(frames[:1])
    number = 1
    while True:
        batch = list(islice(cycle(frames), number))
        started = time.perf_counter()
        work(batch)
        seconds = time.perf_counter() - started
        if seconds >= _LONG_ENOUGH_S or number == at_once:
            return number / max(seconds, 1e-9)
        number = min(2 * number, at_once)
