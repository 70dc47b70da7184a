"""Joins what an estimate needs: a survey of the storage, detectors that are started once, and a trial of each set of
them. Records nothing and acts on nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.scan.estimate.projection import project
from lemmy_safety.scan.estimate.survey import Stopped, survey
from lemmy_safety.scan.estimate.trial import try_out
from lemmy_safety.scan.progress import PassCounter
from lemmy_safety.scan.reuse import judge_all

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Container, Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.records import Ruleset, StoredObject
    from lemmy_safety.scan.engines.threads import ThreadsEngine
    from lemmy_safety.scan.estimate.projection import Projection
    from lemmy_safety.scan.estimate.survey import Survey
    from lemmy_safety.scan.estimate.trial import Trial
    from lemmy_safety.scan.variants import VariantsAmong
    from lemmy_safety.storage.base import Storage

#: The sample is the same each time, so that two estimates of an unchanged store differ by the machine only.
_SEED = 20_261_130

#: Objects that are checked first, without being measured: connections are opened, models make their first batch.
_WARM_UP = 4

#: Most seconds for that.
_MOST_WARM_UP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """For one set of detectors: ``everything`` is about all objects, ``rest`` about those that are not judged yet.

    ``rest`` is None if it is not known which are. Both are None if no rate could be measured.
    """

    detectors: tuple[str, ...]
    trial: Trial
    everything: Projection | None
    rest: Projection | None


class Estimator:
    """Call ``count``, then ``start``, then ``measure`` for each set of detectors; ``close`` at the end."""

    def __init__(
        self,
        *,
        storage: Storage,
        detectors: Sequence[Detector],
        engine_with: Callable[[Sequence[Detector]], ThreadsEngine],
        prefix: str = "",
        most_bytes_per_s: float | None = None,
        variants_among: VariantsAmong | None = None,
        stop: threading.Event,
    ) -> None:
        """``detectors`` are all that may be measured, not yet opened, cheapest first; ``engine_with`` makes an engine
        with some of them. ``most_bytes_per_s`` limits the rate of reading in passes.
        ``variants_among`` is that of passes.
        """
        self.storage = storage
        self._detectors = tuple(detectors)
        self._engine_with = engine_with
        self._prefix = prefix
        self._most_bytes_per_s = most_bytes_per_s
        self._variants_among = variants_among
        self._stop = stop
        self._opened: list[Detector] = []
        #: Seconds that each part took to start, by name; a pass needs them once.
        self.start_up_s: dict[str, float] = {}
        #: Why detectors cannot be measured, by name.
        self.faults: dict[str, LemmySafetyError] = {}

    def ruleset(self, names: Collection[str]) -> Ruleset:
        """The rules that a pass with these detectors would judge by.

        :raises MissingExtra: one of them is not installed.
        """
        return self._engine(names).begin(PassCounter(), judge_all).ruleset

    def count(
        self,
        *,
        sample: int,
        known: Callable[[list[StoredObject]], Container[str]] | None = None,
        show: Callable[[int], None] = lambda _: None,
    ) -> Survey:
        """List everything once, and choose a sample.

        :raises Stopped: the stop event was set.
        :raises StorageError: the storage cannot be opened or listed.
        """
        self.storage.open()
        return survey(
            self.storage.list(prefix=self._prefix),
            sample=sample,
            seed=_SEED,
            max_bytes=self._engine(()).limits.max_bytes,
            stop=self._stop,
            known=known,
            variants_among=self._variants_among,
            show=show,
        )

    def start(self, objects: Sequence[StoredObject], *, show: Callable[[str], None] = lambda _: None) -> None:
        """Start the decoders and load all models, timing each; then check a few objects without measuring.

        What cannot be loaded is in ``faults`` afterwards.

        :raises Stopped: the stop event was set.
        """
        show("decoders")
        began_s = time.monotonic()
        engine = self._engine(())
        with ThreadPoolExecutor(engine.limits.decode_workers, thread_name_prefix="warm-up") as pool:
            list(pool.map(engine.decoder.decode, [canary_png()] * engine.limits.decode_workers))
        self.start_up_s["decoders"] = time.monotonic() - began_s
        for detector in self._detectors:
            self._raise_if_stopped()
            show(detector.name)
            began_s = time.monotonic()
            try:
                detector.open()
            except LemmySafetyError as error:
                self.faults[detector.name] = error
                continue
            self._opened.append(detector)
            self.start_up_s[detector.name] = time.monotonic() - began_s
        self._raise_if_stopped()
        if objects and self._opened:
            names = [detector.name for detector in self._opened]
            try_out(self._engine(names), objects[:_WARM_UP], most_s=_MOST_WARM_UP_S, stop=self._stop)

    def measure(
        self, names: Collection[str], counted: Survey, *, most_s: float, show: Callable[[int], None] = lambda _: None
    ) -> Estimate:
        """Check the sample with these detectors, all of which were started, for at most ``most_s`` seconds.

        :raises Stopped: the stop event was set.
        :raises StorageError: the storage went down.
        """
        trial = try_out(self._engine(names), counted.sample, most_s=most_s, stop=self._stop, show=show)
        self._raise_if_stopped()
        rest = None
        if counted.known is not None:
            rest = project(
                trial,
                objects=counted.readable - counted.known,
                size=counted.size_readable - counted.size_known,
                most_bytes_per_s=self._most_bytes_per_s,
            )
        return Estimate(
            detectors=tuple(sorted(names)),
            trial=trial,
            everything=project(
                trial,
                objects=counted.readable,
                size=counted.size_readable,
                most_bytes_per_s=self._most_bytes_per_s,
            ),
            rest=rest,
        )

    def _engine(self, names: Collection[str]) -> ThreadsEngine:
        return self._engine_with([detector for detector in self._detectors if detector.name in names])

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def close(self) -> None:
        """Free the models."""
        while self._opened:
            self._opened.pop().close()
