"""From a trial and a survey to the time that a pass over everything takes: pure arithmetic, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from lemmy_safety.scan.progress import Bottleneck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.scan.estimate.trial import Trial

#: Results are taken in this many groups, in the order in which they came; how much these differ says how far the mean
#: may be off. Groups, because single results come in bursts: several stages run at once, and models take batches.
_GROUPS = 20

#: At least this many results in a group, and the fewest groups that say anything about a spread.
_LEAST_IN_GROUP = 5
_LEAST_GROUPS = 3

#: A pass of hours meets other loads and other files than a trial of minutes: never claim to be better than this.
_LEAST_SPREAD = 0.1

#: The spread if there are too few results to know it.
_UNKNOWN_SPREAD = 0.5

#: Standard errors on each side, for about 95 %.
_SIDES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The time for some objects, in seconds: most likely between ``low_s`` and ``high_s``. ``per_s`` objects a second.

    ``is_rate_limited``: the limit on the rate of reading decides, not this machine.
    """

    low_s: float
    high_s: float
    per_s: float
    is_rate_limited: bool = False


def project(trial: Trial, *, objects: int, size: int, most_bytes_per_s: float | None = None) -> Projection | None:
    """The time to check ``objects`` of ``size`` bytes together at the rate of the trial; None if it measured no rate.

    ``most_bytes_per_s`` bounds the rate of reading.
    """
    if not trial.steps_s or trial.seconds <= 0:
        return None
    each_s = trial.seconds / len(trial.steps_s)
    around = [each_s * objects]
    if trial.bottleneck in {Bottleneck.FETCHING, Bottleneck.RATE} and trial.mean_size > 0:
        # The line may be limited by requests or by bytes, and the sample's files may be larger than all are on average.
        around.append(each_s * size / trial.mean_size)
    off = spread(trial.steps_s)
    low, high = min(around) * (1 - off), max(around) * (1 + off)
    least = size / most_bytes_per_s if most_bytes_per_s else 0.0
    return Projection(
        low_s=max(low, least), high_s=max(high, least), per_s=1 / each_s, is_rate_limited=least > fmean((low, high))
    )


def spread(steps_s: Sequence[float]) -> float:
    """How far the mean of these may be off, as a part of it: two standard errors, from the means of groups."""
    if len(steps_s) < _LEAST_GROUPS * _LEAST_IN_GROUP or (mean := fmean(steps_s)) <= 0:
        return _UNKNOWN_SPREAD
    size = max(_LEAST_IN_GROUP, len(steps_s) // _GROUPS)
    # A group begins where a burst begins: cut in two, a batch would look like a fast and a slow time.
    edges = [0]
    for place, step_s in enumerate(steps_s):
        if place - edges[-1] >= size and step_s >= mean:
            edges.append(place)
    if len(edges) > 1 and len(steps_s) - edges[-1] < size:
        edges.pop()
    means = [fmean(steps_s[low:high]) for low, high in pairwise([*edges, len(steps_s)])]
    if len(means) < _LEAST_GROUPS:
        return _UNKNOWN_SPREAD
    return min(0.9, max(_LEAST_SPREAD, _SIDES * stdev(means) / math.sqrt(len(means)) / mean))
