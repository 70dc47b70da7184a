r"""Fetch, decode and judge in threads of this process, joined by bounded channels.

::

    StoredObject -> Fetcher xN -> DecodeStage xM -> Judge -> ItemResult
                         \______________________________^   (gone, too large, reused: skips the model)
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.progress import Bottleneck
from lemmy_safety.scan.rate import PassPace
from lemmy_safety.scan.stages.decode import DecodeStage
from lemmy_safety.scan.stages.fetch import Fetcher
from lemmy_safety.scan.stages.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.media import Decoder
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import ScreenStatistics, StoredObject
    from lemmy_safety.scan.engines.base import Reuse
    from lemmy_safety.scan.items import Decoded, Fetched, RecordChannel
    from lemmy_safety.scan.pipeline import Channel, Pipeline
    from lemmy_safety.scan.progress import PassCounter
    from lemmy_safety.scan.rate import RateLimit
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """``max_bytes``: of one object. ``memory_bytes``: of all undecoded objects at a time, and again of all decoded
    ones.
    """

    threads: int
    decode_workers: int
    max_bytes: int
    memory_bytes: int


class ThreadsEngine:
    """The owner opens and closes its detectors and its decoder."""

    def __init__(
        self,
        *,
        storage: Storage,
        detectors: Sequence[Detector],
        policy: Policy,
        decoder: Decoder,
        limits: EngineLimits,
        skip_plain: bool = True,
        rate: RateLimit | None = None,
    ) -> None:
        """``skip_plain``: blank frames are not passed to classifiers. ``rate``: of reading, for all passes together."""
        self.storage = storage
        self.detectors = tuple(detectors)
        self.policy = policy
        self.decoder = decoder
        self.limits = limits
        self.skip_plain = skip_plain
        self.rate = rate

    @property
    def detector_names(self) -> tuple[str, ...]:
        return tuple(sorted(detector.name for detector in self.detectors))

    @property
    def detector_versions(self) -> tuple[str, ...]:
        return tuple(sorted(f"{detector.name} {detector.version}" for detector in self.detectors))

    @property
    def decoder_version(self) -> str:
        return self.decoder.version

    @property
    def screen_statistics(self) -> ScreenStatistics | None:
        return next((found for detector in self.detectors if (found := detector.report().screen)), None)

    def release_idle_models(self, ttl_s: float) -> bool:
        idle = [detector for detector in self.detectors if time.monotonic() - detector.used_at >= ttl_s]
        released = [detector.name for detector in idle if detector.release()]
        if released:
            log.info("freed the models of %s: nothing to judge for %.0f s", ", ".join(released), ttl_s)
        return bool(released)

    def begin(self, counter: PassCounter, reuse: Reuse) -> ThreadsPass:
        return ThreadsPass(self, counter, reuse)


class ThreadsPass:
    """The stages of one pass."""

    def __init__(self, engine: ThreadsEngine, counter: PassCounter, reuse: Reuse) -> None:
        self._engine = engine
        self._counter = counter
        self._reuse = reuse
        self._bytes = ByteBudget(engine.limits.memory_bytes)
        self._frames = ByteBudget(engine.limits.memory_bytes)
        self._pace = PassPace(engine.rate) if engine.rate else None
        self._judge = Judge(
            detectors=engine.detectors,
            policy=engine.policy,
            frames=self._frames,
            decoder=engine.decoder_version,
            skip_plain=engine.skip_plain,
        )
        self.ruleset = self._judge.ruleset
        #: Whether each stage is behind, the last stage first. If a stage is, the ones before it have to wait for it.
        self._behind: dict[Bottleneck, Callable[[], bool]] = {}

    @property
    def batch_size(self) -> int:
        return self._judge.batch_size

    def start(self, pipeline: Pipeline, to_record: RecordChannel) -> Channel[StoredObject]:
        limits, judge, rate = self._engine.limits, self._judge, self._engine.rate
        to_fetch: Channel[StoredObject] = pipeline.channel(4 * limits.threads)
        to_decode: Channel[Fetched] = pipeline.channel(2 * limits.decode_workers)
        to_judge: Channel[Decoded] = pipeline.channel(2 * judge.batch_size)
        decode_stage = DecodeStage(
            decoder=self._engine.decoder, budget=self._bytes, frames=self._frames, to_judge=to_judge
        )
        fetcher = Fetcher(
            storage=self._engine.storage,
            max_bytes=limits.max_bytes,
            budget=self._bytes,
            counter=self._counter,
            reuse=lambda obj, sha256: self._reuse(obj, sha256, self.ruleset),
            to_decode=to_decode,
            to_record=to_record,
            pace=self._pace,
        )

        self._behind = {
            Bottleneck.JUDGING: lambda: to_judge.is_full or self._frames.waiting > 0,
            Bottleneck.DECODING: lambda: to_decode.is_full or self._bytes.waiting > 0,
            Bottleneck.RATE: lambda: rate is not None and to_fetch.is_full and rate.is_used_up,
            Bottleneck.FETCHING: lambda: to_fetch.is_full,
        }

        def fetched_all() -> None:
            try:
                fetcher.retry_postponed()
            finally:
                to_decode.close()

        # Last stage first, so that no stage puts into a channel without a reader.
        pipeline.stage("judge", lambda: judge.run(to_judge, to_record), workers=1, when_done=to_record.close)
        pipeline.stage(
            "decode", lambda: decode_stage.run(to_decode), workers=limits.decode_workers, when_done=to_judge.close
        )
        pipeline.stage("fetch", lambda: fetcher.run(to_fetch), workers=limits.threads, when_done=fetched_all)
        return to_fetch

    def bottleneck(self) -> Bottleneck:
        return next((stage for stage, is_behind in self._behind.items() if is_behind()), Bottleneck.LISTING)

    def abort(self) -> None:
        self._bytes.abort()
        self._frames.abort()
        if self._pace is not None:
            self._pace.abort()
