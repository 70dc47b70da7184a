"""Measures how fast this machine checks some objects of a storage, with the engine of a pass and without recording.

What a pass does once (start the engine, fill the queues) is not part of the rate. The objects are repeated until the
slowest of them is done, so that the queues stay full: the rate is that of a pass that goes on for hours.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING

from lemmy_safety.records import ItemStatus
from lemmy_safety.scan.items import RecordChannel
from lemmy_safety.scan.pipeline import Pipeline
from lemmy_safety.scan.progress import Bottleneck, PassCounter
from lemmy_safety.scan.reuse import judge_all

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from lemmy_safety.records import StoredObject
    from lemmy_safety.scan.engines import Engine, EnginePass
    from lemmy_safety.scan.pipeline import Channel
    from lemmy_safety.scan.progress import PassCounts

#: How often the trial checks the stages and at the stop signal.
_TICK_S = 0.05

#: Once all objects could have been checked twice, this many more results are waited for those that have none.
_PATIENCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was measured. ``finished`` of ``objects`` have a result; ``counts`` is about these.

    ``steps_s`` are the seconds from each result to the next, in the order of results, once the engine was running;
    repeated objects included. Objects that were gone have no step of their own: a pass would not find so many.
    ``mean_size`` is the mean size of the finished objects, in bytes.
    """

    objects: int
    finished: int
    counts: PassCounts
    steps_s: tuple[float, ...]
    mean_size: float
    bottleneck: Bottleneck | None

    @property
    def seconds(self) -> float:
        return sum(self.steps_s)


class _Results:
    """Takes results, keeps their times, and drops them. Filled by one thread."""

    def __init__(self, counter: PassCounter) -> None:
        self._counter = counter
        self.at_s: list[float] = []
        self.sizes: dict[str, int] = {}

    def run(self, inbox: RecordChannel) -> None:
        while (item := inbox.get()) is not None:
            key, result = item
            if result is None or result.assessment.status is not ItemStatus.GONE:
                self.at_s.append(time.monotonic())
            if result is not None and key not in self.sizes:
                self.sizes[key] = result.obj.size
                self._counter.add_result(result)


def try_out(
    engine: Engine,
    objects: Sequence[StoredObject],
    *,
    most_s: float,
    stop: threading.Event,
    show: Callable[[int], None] = lambda _: None,
) -> Trial:
    """Check these objects, at least one, for at most ``most_s`` seconds. ``show`` receives how many are finished.

    Ends early, with what was measured until then, when ``stop`` is set.

    :raises StorageError: the storage went down.
    :raises DetectorError: a detector fails on everything.
    """
    counter = PassCounter(engine.policy.flags)
    run, pipeline, results = engine.begin(counter, judge_all), Pipeline(), _Results(counter)
    to_record = RecordChannel(4 * run.batch_size)
    pipeline.stage("drop", lambda: results.run(to_record), workers=1, when_done=lambda: None)
    to_fetch = run.start(pipeline, to_record)
    pipeline.stage("list", lambda: _feed(objects, to_fetch), workers=1, when_done=to_fetch.close)
    began_s, stages = time.monotonic(), Counter[Bottleneck]()
    while not pipeline.wait(_TICK_S):
        finished = len(results.sizes)
        show(finished)
        if results.at_s:
            stages[run.bottleneck()] += 1
        # An object whose read fails for now is tried again at the end of a pass, which does not come here.
        enough = finished == len(objects) or len(results.at_s) >= 2 * len(objects) + _PATIENCE
        if enough or stop.is_set() or time.monotonic() - began_s > most_s:
            break
    _end(pipeline, run, to_record, stop)
    pipeline.raise_error()
    del stages[Bottleneck.LISTING]
    return Trial(
        objects=len(objects),
        finished=len(results.sizes),
        counts=counter.snapshot(time.monotonic() - began_s),
        steps_s=steady_steps([at - began_s for at in results.at_s]),
        mean_size=sum(results.sizes.values()) / max(1, len(results.sizes)),
        bottleneck=stages.most_common(1)[0][0] if stages else None,
    )


def steady_steps(at_s: Sequence[float]) -> tuple[float, ...]:
    """Seconds from each result to the next, without the time until the queues were full: from the end of the first burst
    of results on, or from the start if hardly anything came after it. ``at_s`` are the results' times since the start.
    """
    steps = [after - before for before, after in pairwise([0.0, *at_s])]
    if len(steps) < 2 or steps[0] >= sum(steps[1:]):  # noqa: PLR2004 - no second result
        return tuple(steps)
    later = steps[1:]
    mean = sum(later) / len(later)
    return tuple(later[next(place for place, step in enumerate(later) if step >= mean) :])


def _feed(objects: Sequence[StoredObject], to_fetch: Channel[StoredObject]) -> None:
    for obj in cycle(objects):
        to_fetch.put(obj)  # raises once the trial ends


def _end(pipeline: Pipeline, run: EnginePass, to_record: RecordChannel, stop: threading.Event) -> None:
    """The detectors may be used again only when the judge has finished its batch; a stop does not wait for that."""
    to_record.close()  # first: what failed is tried again when the fetchers end, and that is not part of the trial
    pipeline.stop()
    run.abort()
    while not pipeline.wait(_TICK_S) and not stop.is_set():
        pass
