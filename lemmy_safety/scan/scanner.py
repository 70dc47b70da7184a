r"""One pass over a storage: builds the stages, joins them, watches them, sums up.

::

    storage -> Lister -> Fetcher xN -> DecodeStage xM -> Judge -> Recorder -> ledger, then actions
                  \__________\______________\________________^   (known, gone, unreadable: no detour over the model)
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError, PassRunning
from lemmy_safety.ledger.leases import DAEMON, RECHECK
from lemmy_safety.records import ActionPlan
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.pipeline import Pipeline
from lemmy_safety.scan.progress import PassCounter, PassSummary
from lemmy_safety.scan.stages.decode import DecodeStage
from lemmy_safety.scan.stages.fetch import Fetcher
from lemmy_safety.scan.stages.judge import Judge
from lemmy_safety.scan.stages.list import Lister
from lemmy_safety.scan.stages.record import Recorder

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import Lease, Ledger
    from lemmy_safety.media import Decoder
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import ItemResult, ScreenStatistics, StoredObject
    from lemmy_safety.scan.items import Decoded, Fetched, OpenAction
    from lemmy_safety.scan.pipeline import Channel
    from lemmy_safety.scan.progress import ProgressListener
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: How often the listener is shown the counts and the stop signal is looked at.
_TICK_S = 0.2

#: After a stop: seconds for the batch in the model to come back, then for its results to be recorded. Together under
#: the 5 s that a service manager or an impatient person is promised.
_JUDGE_GRACE_S = 2.5
_RECORD_GRACE_S = 1.5

#: How long to wait for a short pass over the same storage to end, and how often to ask. A pass of the daemon takes seconds,
#: and there is one every half a minute: beside a daemon a sweep would often be refused for no good reason. So would the
#: daemon beside a recheck, whose passes are as short.
_PATIENCE_S = 30.0
_ASK_AGAIN_S = 0.5

#: An upload that was accepted this short a time before a pass may not have been stored when that pass listed.
_UPLOAD_GRACE = timedelta(hours=1)

#: Names of the ledger's cursors.
_WATERMARK = "watermark"
_WATCHING = "watching"
_FULL_LISTING = "full-listing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """What does not change from pass to pass. A ``dry_run`` has the empty plan.

    :raises ValueError: a dry run has a plan to act.
    """

    threads: int
    decode_workers: int
    max_bytes: int
    memory_bytes: int
    dry_run: bool
    plan: ActionPlan
    skip_plain: bool = True
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.dry_run and self.plan:
            raise ValueError(f"a dry run acts on nothing, but its plan is {self.plan}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRequest:
    """``kind`` is ``SWEEP``, ``DAEMON`` or ``RECHECK`` of the ledger. ``since`` limits a pass to what was modified at or after
    that time; ``exhaustive`` lists every key for it.

    ``keys`` are judged again, and nothing else: also when they are unchanged, by the detectors themselves, and without any
    action. Such a pass is not exhaustive.

    With ``hold`` every action that is wanted is recorded and none is carried out.
    """

    kind: str
    since: datetime | None = None
    exhaustive: bool = True
    keys: tuple[str, ...] | None = None
    hold: bool = False


class Scanner:
    """Runs passes, one at a time."""

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        detectors: Sequence[Detector],
        policy: Policy,
        decoder: Decoder,
        runner: ActionRunner,
        options: ScanOptions,
        stop: threading.Event,
        listener: ProgressListener | None = None,
    ) -> None:
        self.storage = storage
        self.ledger = ledger
        self._detectors = detectors
        self._policy = policy
        self._decoder = decoder
        self._runner = runner
        self._options = options
        self._stop = stop
        self._listener = listener
        self._compared = False
        #: What the last pass had done when an error ended it; None without an error, or where nothing was done yet.
        self.broken_pass: PassSummary | None = None
        self.detector_names = tuple(sorted(detector.name for detector in detectors))
        self.detector_versions = tuple(sorted(f"{detector.name} {detector.version}" for detector in detectors))

    def run(self, request: PassRequest) -> PassSummary:
        """One pass, from the storage's own check to the summary; also finishes what an earlier run intended.

        :raises StorageError: the storage cannot be opened or went down, or (AccessDenied, ListingIncomplete) some of it
            cannot be listed: then everything else has been dealt with.
        :raises PassRunning: another pass over this storage is running with this database, or took this one's place.
        :raises LedgerError: nothing can be recorded; then nothing is deleted either.
        :raises DetectorError: a detector fails on everything.
        :raises WorkerDied: a fault of ours; what was checked before is recorded.
        """
        self.broken_pass = None
        with ExitStack() as stack:
            return self._run(request, self._get_lease(request.kind, stack))

    def _get_lease(self, kind: str, stack: ExitStack) -> Lease:
        """The lease on the storage, given back with the stack. A sweep waits for a pass of the daemon, a recheck as long as
        it takes; and all wait for a pass of a recheck.
        """
        patience_ends, said = time.monotonic() + _PATIENCE_S, False
        while True:
            try:
                return stack.enter_context(self.ledger.passes.lease(self.storage.name, kind))
            except PassRunning as running:
                is_short = running.kind == RECHECK or (running.kind == DAEMON and kind != DAEMON)
                if not is_short or (kind != RECHECK and time.monotonic() > patience_ends):
                    raise
                if not said:
                    log.info("waiting for a pass of the %s to end", running.kind)
                    said = True
                if self._stop.wait(_ASK_AGAIN_S):
                    raise

    def _run(self, request: PassRequest, lease: Lease) -> PassSummary:
        began, started = datetime.now(UTC), time.monotonic()
        counter = PassCounter(self._policy.flags)
        summarize = partial(self._summary, request, counter, started, self._screen_statistics())
        self.storage.open()
        run_id = self.ledger.passes.start(
            self.storage.name, request.kind, dry_run=self._options.dry_run, detectors=self.detector_names
        )
        waiting = self._waiting_uploads(request)
        try:
            if request.keys is None and not request.hold:
                self._finish_unfinished(counter, run_id)
            lister = self._run_stages(request, run_id, counter, started, lease)
            if lister is not None and request.exhaustive and not request.hold:
                self._try_failed_again(counter, began, run_id)
            stuck = self._stuck(began)
        except BaseException:
            broken = summarize(run_id, complete=False)
            self.broken_pass = broken if broken.seen or broken.acted or broken.not_carried_out else None
            self._note_broken_run(broken)
            raise
        complete = lister is not None
        summary = replace(summarize(run_id, complete=complete), stuck=stuck)
        self.ledger.passes.finish(run_id, summary.as_dict(), complete=complete)
        if lister is not None and request.keys is None:
            self._advance_cursors(request, began, lister.newest)
            self._settle_lost_uploads(waiting, began, lister, summary)
        return summary

    def release_idle_models(self, ttl_s: float) -> bool:
        """Between two passes: free each model that has judged nothing for ``ttl_s`` seconds. The next picture loads it
        again. Returns whether there was one.
        """
        idle = [detector for detector in self._detectors if time.monotonic() - detector.used_at >= ttl_s]
        released = [detector.name for detector in idle if detector.release()]
        if released:
            log.info("freed the models of %s: nothing to judge for %.0f s", ", ".join(released), ttl_s)
        return bool(released)

    @property
    def _scope(self) -> str:
        """What a cursor speaks of: a pass with fewer detectors or a narrower prefix covers nothing for another."""
        return f"{self.storage.name}|{','.join(self.detector_names)}|{self._options.prefix}"

    def watermark(self) -> datetime | None:
        """Everything modified before this time has been through a complete pass like this scanner's."""
        return self.ledger.passes.cursor(self._scope, _WATERMARK)

    def last_full_listing(self) -> datetime | None:
        """When the last complete pass began that listed every key."""
        return self.ledger.passes.cursor(self._scope, _FULL_LISTING)

    def last_pass(self) -> datetime | None:
        """How far any pass over all of this storage got, whatever detectors it had."""
        return self.ledger.passes.cursor(self.storage.name, _WATERMARK)

    def in_storage_time(self, moment: datetime) -> datetime:
        """A time of this machine by the storage's clock where that is behind, else unchanged.

        A storage that is ahead is not allowed for: pict-rs draws its keys by a clock of its own.
        """
        return moment + min(self.storage.clock_ahead, timedelta(0))

    def watching_since(self, moment: datetime) -> datetime:
        """From when on nothing may be missed while no pass is complete yet: ``moment`` when asked for the first time.

        That is on record before the storage is opened, which may be down. It is opened so that its clock is compared.
        """
        watching = self.ledger.passes.cursor(self._scope, _WATCHING)
        if watching is None:
            watching = moment
            self.ledger.passes.set_cursor(self._scope, _WATCHING, watching)
        if not self._compared:
            self.storage.open()
            self._compared = True
        return self.in_storage_time(watching)

    def _advance_cursors(self, request: PassRequest, began: datetime, newest: datetime | None) -> None:
        """Note how far this pass got, in the store's own time: its clock may be behind ours.

        Up to the newest object that was listed, or to where an earlier pass got; where there is neither, no further than
        the pass looked back. Never to a time that had not come yet by the slower of the two clocks.
        """
        covered = self.watermark()
        known = [time for time in (newest, covered) if time is not None]
        reached = min(self.in_storage_time(began), max(known, default=request.since or began))
        if request.since is None or covered is None or request.since <= covered:  # never over a gap
            self.ledger.passes.set_cursor(self._scope, _WATERMARK, reached)
            if not self._options.prefix:
                self.ledger.passes.set_cursor(self.storage.name, _WATERMARK, reached)
        if request.exhaustive:
            self.ledger.passes.set_cursor(self._scope, _FULL_LISTING, began)

    def _waiting_uploads(self, request: PassRequest) -> dict[str, datetime]:
        """What was let in unchecked before this pass began, and when; empty where the pass cannot prove that it is gone."""
        if request.since is not None or not request.exhaustive or self._options.prefix:
            return {}
        return {row.sha256: row.last_at for row in self.ledger.uploads.unchecked()}

    def _settle_lost_uploads(
        self, waiting: Mapping[str, datetime], began: datetime, lister: Lister, summary: PassSummary
    ) -> None:
        """Take off the list what is proved to be gone: it belongs to this storage, which was read whole without it.

        Not when anything could not be read, be it for a passing reason: that may be what is looked for. Nothing at all is
        what an empty mount point shows.
        """
        if not waiting or lister.newest is None or lister.left_out or summary.failed:
            return
        # On the list all the time: whatever the clock of the door says, it was let in before this pass began.
        still = {row.sha256 for row in self.ledger.uploads.unchecked() if waiting.get(row.sha256) == row.last_at}
        gone = still & self.ledger.uploads.belonging_to(self.storage.name)
        if gone:
            self.ledger.uploads.settle_lost(began - _UPLOAD_GRACE, storage=self.storage.name, among=gone)

    def _note_broken_run(self, summary: PassSummary) -> None:
        """The run's own error is on its way to a person; the ledger may be that error, so its failure is only logged."""
        try:
            self.ledger.passes.finish(summary.run_id, summary.as_dict(), complete=False)
        except LedgerError as error:
            log.warning("the end of run %d could not be recorded: %s", summary.run_id, error.message)

    def _finish_unfinished(self, counter: PassCounter, run_id: int) -> None:
        for report in self._runner.finish_unfinished(self._options.plan, counter.so_far(run_id)):
            counter.add_action(report)
            if report.held:
                continue
            log.info("finished what an earlier run intended key=%r state=%s", report.key, report.state.value)
            if self._stop.is_set():
                return

    def carry_out_held(self, summary: PassSummary) -> PassSummary:
        """What a pass with ``hold`` left for a person, who has said yes; the summary with how it went."""
        counter = PassCounter(self._policy.flags)
        for report in self._runner.finish_unfinished(self._options.plan):
            counter.add_action(report)
            if self._stop.is_set():
                break
        counts = counter.snapshot(0)
        done = counts.acted + counts.refused + counts.action_failed + counts.action_postponed
        whole = replace(
            summary,
            acted=summary.acted + counts.acted,
            refused=summary.refused + counts.refused,
            action_failed=summary.action_failed + counts.action_failed,
            action_postponed=summary.action_postponed + counts.action_postponed,
            held=max(0, summary.held - done),
            stopped=self._stop.is_set(),
        )
        self.ledger.passes.finish(summary.run_id, whole.as_dict(), complete=whole.complete)
        return whole

    def _try_failed_again(self, counter: PassCounter, began: datetime, run_id: int) -> None:
        """What the storage refused in an earlier pass, of objects that this one did not list: gone, or too old for it.

        Otherwise an object that is gone would stay on the list of failures for good.
        """
        options = self._options
        if not options.plan:
            return
        failed = self.ledger.actions.failed(self.storage.name, before=began)
        for pending in self.ledger.actions.intend(
            self.storage.name,
            [key for key in failed if key.startswith(options.prefix)],
            options.plan,
        ):
            if self._stop.is_set():
                return
            counter.add_action(self._runner.carry_out(pending, counter.so_far(run_id)))

    def _stuck(self, began: datetime) -> int:
        if self._options.plan.flagged is None:
            return 0
        return self.ledger.actions.stuck(self.storage.name, due_before=began).refused_again

    def _run_stages(
        self, request: PassRequest, run_id: int, counter: PassCounter, started: float, lease: Lease
    ) -> Lister | None:
        """The lister, when everything it listed was dealt with; None when a stop came first."""
        options = self._options
        budget, frames = ByteBudget(options.memory_bytes), ByteBudget(options.memory_bytes)
        judge = Judge(
            detectors=self._detectors,
            policy=self._policy,
            frames=frames,
            decoder=self._decoder.version,
            skip_plain=options.skip_plain,
        )
        pipeline = Pipeline()
        to_fetch: Channel[StoredObject] = pipeline.channel(4 * options.threads)
        to_decode: Channel[Fetched] = pipeline.channel(2 * options.decode_workers)
        to_judge: Channel[Decoded] = pipeline.channel(2 * judge.batch_size)
        to_record: Channel[ItemResult | OpenAction] = pipeline.detached_channel(4 * judge.batch_size)

        lister = Lister(
            storage=self.storage,
            ledger=self.ledger,
            ruleset=judge.ruleset,
            counter=counter,
            stop=self._stop,
        )
        fetcher = Fetcher(
            storage=self.storage,
            ledger=self.ledger,
            ruleset=judge.ruleset,
            max_bytes=options.max_bytes,
            budget=budget,
            counter=counter,
            to_decode=to_decode,
            to_record=to_record,
            reuses=request.keys is None,
        )
        decode_stage = DecodeStage(decoder=self._decoder, budget=budget, frames=frames, to_judge=to_judge)
        recorder = Recorder(
            ledger=self.ledger,
            runner=self._runner,
            run_id=run_id,
            decoder=self._decoder.version,
            dry_run=options.dry_run,
            plan=options.plan if request.keys is None else ActionPlan(),
            hold=request.hold,
            counter=counter,
            halted=lambda: self._stop.is_set() or pipeline.failed or lease.is_lost,
        )

        def list_objects() -> None:
            if request.keys is not None:
                lister.run_again(request.keys, to_fetch=to_fetch, to_record=to_record)
                return
            lister.run(
                since=request.since,
                prefix=options.prefix,
                exhaustive=request.exhaustive,
                to_fetch=to_fetch,
                to_record=to_record,
            )

        def fetched_all() -> None:
            try:
                fetcher.retry_postponed()
            finally:
                to_decode.close()

        # Last stage first, so that nobody puts into a channel that nobody reads.
        pipeline.stage("record", lambda: recorder.run(to_record), workers=1, when_done=lambda: None)
        pipeline.stage("judge", lambda: judge.run(to_judge, to_record), workers=1, when_done=to_record.close)
        pipeline.stage(
            "decode", lambda: decode_stage.run(to_decode), workers=options.decode_workers, when_done=to_judge.close
        )
        pipeline.stage("fetch", lambda: fetcher.run(to_fetch), workers=options.threads, when_done=fetched_all)
        pipeline.stage("list", list_objects, workers=1, when_done=to_fetch.close)

        while not pipeline.wait(_TICK_S):
            if self._listener is not None:
                self._listener.update(counter.snapshot(time.monotonic() - started))
            if self._stop.is_set() or pipeline.failed or lease.is_lost:
                pipeline.stop()
                budget.abort()
                frames.abort()
                pipeline.wait(_JUDGE_GRACE_S)
                # A model may compute longer than anybody waits: its batch is given up, what was judged is recorded.
                to_record.close()
                pipeline.wait(_RECORD_GRACE_S)
                break
        pipeline.raise_error()
        lease.check()
        if lister.refused is not None:
            raise lister.refused
        return None if self._stop.is_set() else lister

    def _summary(
        self,
        request: PassRequest,
        counter: PassCounter,
        started: float,
        screened_before: ScreenStatistics | None,
        run_id: int,
        *,
        complete: bool,
    ) -> PassSummary:
        counts = counter.snapshot(time.monotonic() - started)
        screened = self._screen_statistics()
        screen = screened.since(screened_before) if screened else None
        return PassSummary(
            **{name: getattr(counts, name) for name in counts.__slots__},
            run_id=run_id,
            kind=request.kind,
            dry_run=self._options.dry_run,
            detectors=self.detector_names,
            complete=complete,
            stopped=self._stop.is_set(),
            screen=screen if screen and screen.screened else None,
            notes=self.storage.learned.notes,
        )

    def _screen_statistics(self) -> ScreenStatistics | None:
        """Of the one detector that has a screen, if any has."""
        return next((found for detector in self._detectors if (found := detector.screen_statistics)), None)
