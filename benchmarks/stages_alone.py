"""A pass over a storage, and each of its stages alone: the stage's own class between a channel that is full and one that
never is. Both with a ledger of their own that is empty before.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from lemmy_safety import wiring
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.pauses import Pauses
from lemmy_safety.records import ActionPlan
from lemmy_safety.scan import PassRequest, Scanner, ScanOptions, ThreadsEngine
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.items import RecordChannel
from lemmy_safety.scan.pausing import PauseGate
from lemmy_safety.scan.pipeline import Channel, Pipeline
from lemmy_safety.scan.progress import PassCounter
from lemmy_safety.scan.requests import InPause
from lemmy_safety.scan.reuse import FromLedger
from lemmy_safety.scan.stages.decode import DecodeStage
from lemmy_safety.scan.stages.fetch import Fetcher
from lemmy_safety.scan.stages.judge import Judge
from lemmy_safety.scan.stages.list import Lister
from lemmy_safety.scan.stages.record import RecordedPass, Recorder
from lemmy_safety.storage.incremental import IncrementalListing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.media import Decoder
    from lemmy_safety.settings import Settings
    from lemmy_safety.storage.base import Storage

T = TypeVar("T")

STAGES = ("list", "fetch", "decode", "detect", "record")
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class Turn:
    """How long something took, and processor time: ``own_s`` of this process, whose threads share one interpreter,
    ``cpu_s`` with all its children, servers of the suite among them.
    """

    seconds: float
    own_s: float
    cpu_s: float


class Bench:
    """One storage with detectors and a decoder that are open already; for any number of turns."""

    def __init__(
        self, settings: Settings, storage: Storage, detectors: Sequence[Detector], decoder: Decoder, objects: int
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._detectors = detectors
        self._decoder = decoder
        self._objects = objects

    def whole_pass(self) -> Turn:
        """From the storage's own check to the summary."""
        settings = self._settings
        with _empty_ledger() as ledger, ExitStack() as stack:
            scanner = Scanner(
                storage=self._storage,
                ledger=ledger,
                engine=ThreadsEngine(
                    storage=self._storage,
                    detectors=self._detectors,
                    policy=wiring.build_policy(settings),
                    decoder=self._decoder,
                    limits=wiring.engine_limits(settings),
                ),
                runner=wiring.build_runner(self._settings, self._storage, ledger, stack),
                options=ScanOptions(dry_run=True, plan=ActionPlan()),
                stop=threading.Event(),
            )
            summary, turn = _timed(lambda: scanner.run(PassRequest(kind="sweep")))
        assert summary.checked == self._objects, f"{summary.checked} of {self._objects} objects were judged"
        return turn

    def stages(self) -> dict[str, Turn]:
        """Each stage in its order, on what the one before it made of all objects."""
        with _empty_ledger() as ledger, ExitStack() as stack:
            return self._stages(ledger, stack)

    def _stages(self, ledger: Ledger, stack: ExitStack) -> dict[str, Turn]:
        settings, counter, turns = self._settings, PassCounter(), {}
        budget, frames = ByteBudget(_NO_LIMIT), ByteBudget(_NO_LIMIT)
        names = frozenset(detector.name for detector in self._detectors)
        judge = Judge(
            detectors=self._detectors,
            policy=wiring.build_policy(settings),
            frames=frames,
            decoder=self._decoder.version,
        )
        listed, fetched, decoded = (self._channel() for _ in range(3))
        judged = RecordChannel(self._objects + 1)

        lister = Lister(
            storage=self._storage,
            incremental=IncrementalListing(self._storage),
            ledger=ledger,
            ruleset=judge.ruleset,
            counter=counter,
            stop=threading.Event(),
            gate=PauseGate(Pauses(), InPause.GO_ON, counter),
        )
        turns["list"] = _alone(lambda: lister.run(PassRequest(kind="sweep"), "", to_fetch=listed, to_record=judged))
        listed.close()
        fetcher = Fetcher(
            storage=self._storage,
            max_bytes=wiring.max_bytes(settings),
            budget=budget,
            counter=counter,
            reuse=lambda obj, sha256: FromLedger(ledger)(obj, sha256, judge.ruleset),
            to_decode=fetched,
            to_record=judged,
        )
        turns["fetch"] = _alone(lambda: fetcher.run(listed), workers=settings.threads)
        fetched.close()
        decode_stage = DecodeStage(decoder=self._decoder, budget=budget, frames=frames, to_judge=decoded)
        turns["decode"] = _alone(lambda: decode_stage.run(fetched), workers=wiring.decode_workers(settings))
        decoded.close()
        turns["detect"] = _alone(lambda: judge.run(decoded, judged))
        judged.close()
        run_id = ledger.passes.start(self._storage.name, "sweep", dry_run=True, detectors=tuple(sorted(names)))
        recorder = Recorder(
            RecordedPass(run_id=run_id, decoder=self._decoder.version, dry_run=True, plan=ActionPlan(), hold=False),
            ledger=ledger,
            runner=wiring.build_runner(self._settings, self._storage, ledger, stack),
            counter=counter,
            halted=lambda: False,
        )
        turns["record"] = _alone(lambda: recorder.run(judged))
        return turns

    def _channel(self) -> Channel[Any]:
        """One that holds everything."""
        return Channel(self._objects + 1)


def _alone(work: Callable[[], None], *, workers: int = 1) -> Turn:
    pipeline = Pipeline()

    def run() -> None:
        pipeline.stage("alone", work, workers=workers, when_done=lambda: None)
        pipeline.wait()

    _, turn = _timed(run)
    pipeline.raise_error()
    return turn


def _timed(work: Callable[[], T]) -> tuple[T, Turn]:
    own, cpu, began = time.process_time(), _cpu_seconds(), time.perf_counter()
    result = work()
    return result, Turn(time.perf_counter() - began, time.process_time() - own, _cpu_seconds() - cpu)


@contextmanager
def _empty_ledger() -> Iterator[Ledger]:
    with (
        tempfile.TemporaryDirectory(prefix="lemmy-safety-") as folder,
        open_ledger(sqlite_url(Path(folder) / "ledger.db")) as ledger,
    ):
        yield ledger


def _cpu_seconds() -> float:
    """Used so far by this process and all below it."""
    this = psutil.Process()
    used = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended meanwhile, and counts as its parent's
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used
