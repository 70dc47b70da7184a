r"""One pass over a storage: joins the stages, watches them, sums up.

::

    storage -> Lister -> engine (fetch, decode, judge) -> Recorder -> ledger, then actions
                  \______________________________________^   (gone or refused: nothing to read)
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError, PassRunning
from lemmy_safety.ledger import DAEMON, RECHECK
from lemmy_safety.records import ActionPlan
from lemmy_safety.scan.cursors import Cursors
from lemmy_safety.scan.items import RecordChannel
from lemmy_safety.scan.leftovers import Leftovers
from lemmy_safety.scan.lost_uploads import settle_lost_uploads, waiting_uploads
from lemmy_safety.scan.pausing import PauseGate
from lemmy_safety.scan.pipeline import Pipeline
from lemmy_safety.scan.progress import Bottleneck, PassCounter, PassSummary
from lemmy_safety.scan.reuse import FromLedger, judge_all
from lemmy_safety.scan.stages.list import Lister
from lemmy_safety.scan.stages.record import RecordedPass, Recorder
from lemmy_safety.scan.variants import VariantSorter
from lemmy_safety.scan.watch import Watch
from lemmy_safety.storage.incremental import IncrementalListing

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.ledger import Lease, Ledger
    from lemmy_safety.records import Ruleset, ScreenStatistics
    from lemmy_safety.scan.engines import Engine
    from lemmy_safety.scan.progress import ProgressListener
    from lemmy_safety.scan.requests import PassRequest, ScanOptions
    from lemmy_safety.scan.variants import VariantsAmong
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: How often the listener is shown the counts and the stop signal is checked.
_TICK_S = 0.2

#: After a stop: seconds for the batch in the model to finish, then for its results to be recorded. Together under the
#: promised 5 s for an exit.
_JUDGE_GRACE_S = 2.5
_RECORD_GRACE_S = 1.5

#: How long to wait for a short pass over the same storage to end, and how often to ask. A pass of the daemon takes seconds,
#: and there is one every half a minute: next to a daemon, a sweep would often be refused for no good reason. The same
#: goes for the daemon next to a recheck, whose passes are just as short.
_PATIENCE_S = 30.0
_ASK_AGAIN_S = 0.5


class Scanner:
    """Runs passes, one at a time."""

    def __init__(  # noqa: PLR0913 - the parts of the program that a pass joins
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        engine: Engine,
        runner: ActionRunner,
        options: ScanOptions,
        stop: threading.Event,
        listener: ProgressListener | None = None,
        variants_among: VariantsAmong | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``variants_among`` tells which objects are variants; without it each size of a picture is judged. ``clock``
        decides when pauses begin and end.
        """
        self.storage = storage
        self._incremental = IncrementalListing(storage)
        self.ledger = ledger
        self.engine = engine
        self._runner = runner
        self._options = options
        self._stop = stop
        self._listener = listener
        self._variants_among = variants_among
        self._clock = clock
        self._leftovers = Leftovers(ledger=ledger, runner=runner, options=options, stop=stop)
        self.cursors = Cursors(
            storage=storage, ledger=ledger, detector_names=engine.detector_names, prefix=options.prefix
        )
        #: What the last pass had done when an error ended it; None without an error, or if nothing was done yet.
        self.broken_pass: PassSummary | None = None

    def run(self, request: PassRequest) -> PassSummary:
        """One pass, from the storage's own check to the summary; also finishes what an earlier run intended.

        :raises StorageError: the storage cannot be opened or went down, or (AccessDenied, ListingIncomplete) some of it
            cannot be listed: everything else has been processed.
        :raises PassRunning: another pass over this storage is running with this database, or took this one's place.
        :raises LedgerError: nothing can be recorded; then nothing is deleted either.
        :raises DetectorError: a detector fails on everything.
        :raises WorkerDied: a bug of ours; what was checked before is recorded.
        """
        self.broken_pass = None
        with ExitStack() as stack:
            return self._run(request, self._get_lease(request.kind, stack))

    def carry_out_held(self, summary: PassSummary) -> PassSummary:
        """Carry out what a pass with ``hold`` left, once a person has confirmed it. Returns the summary with the
        outcome.
        """
        counter = self._counter()
        self._leftovers.carry_out_held(counter)
        whole = replace(summary.with_actions(counter.snapshot(0)), stopped=self._stop.is_set())
        self.ledger.passes.finish(summary.run_id, whole.as_dict(), complete=whole.complete)
        return whole

    def _get_lease(self, kind: str, stack: ExitStack) -> Lease:
        """The lease on the storage, released with the stack. A sweep waits for a pass of the daemon, a recheck as long
        as it takes; and all wait for a pass of a recheck.
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
        counter = self._counter()
        summarize = partial(self._summary, request, counter, started, self.engine.screen_statistics)
        self.storage.open()
        run_id = self.ledger.passes.start(
            self.storage.name, request.kind, dry_run=self._options.dry_run, detectors=self.engine.detector_names
        )
        waiting = waiting_uploads(self.ledger, request, self._options.prefix)
        try:
            if request.keys is None and not request.hold:
                self._leftovers.finish_unfinished(counter, run_id)
            plan = self._options.plan if request.keys is None else ActionPlan()
            lister = self._run_stages(request, run_id, counter, started, lease, plan=plan)
            if lister is not None and request.exhaustive and not request.hold:
                self._leftovers.try_failed_again(counter, began, run_id)
            if lister is not None and (awaited := self._leftovers.awaited):
                self._run_stages(
                    replace(request, keys=awaited), run_id, counter, started, lease, plan=self._options.plan
                )
            self._leftovers.settle(counter, run_id)
            stuck = self._leftovers.stuck(began)
        except BaseException:
            broken = summarize(run_id, complete=False)
            self.broken_pass = broken if broken.seen or broken.acted or broken.not_carried_out else None
            self._note_broken_run(broken)
            raise
        complete = lister is not None
        summary = replace(summarize(run_id, complete=complete), stuck=stuck)
        self.ledger.passes.finish(run_id, summary.as_dict(), complete=complete)
        if lister is not None and request.keys is None:
            self.cursors.advance(request, began, lister.newest)
            settle_lost_uploads(self.ledger, self.storage.name, waiting, began=began, lister=lister, summary=summary)
        return summary

    def _run_stages(
        self,
        request: PassRequest,
        run_id: int,
        counter: PassCounter,
        started: float,
        lease: Lease,
        *,
        plan: ActionPlan,
    ) -> Lister | None:
        """Returns the lister once everything it listed was processed; None if a stop or a pause came first."""
        run = partial(self._run_pipeline, request, run_id, counter, started, lease, plan=plan)
        lister = run()
        if lister.has_waiting and not self._is_cut_short(lister):
            # Now everything else is recorded, above all the originals.
            run(waiting=lister)
        if lister.refused is not None:
            raise lister.refused
        return None if self._is_cut_short(lister) else lister

    def _is_cut_short(self, lister: Lister) -> bool:
        return self._stop.is_set() or lister.ended_by_pause

    def _run_pipeline(
        self,
        request: PassRequest,
        run_id: int,
        counter: PassCounter,
        started: float,
        lease: Lease,
        *,
        plan: ActionPlan,
        waiting: Lister | None = None,
    ) -> Lister:
        """Runs all stages, on what a new lister lists or on what this one left ``waiting``; returns the lister.

        Ends early after a stop.
        """
        pipeline = Pipeline()

        def halted() -> bool:
            return self._stop.is_set() or pipeline.failed or lease.is_lost

        engine = self.engine.begin(counter, FromLedger(self.ledger) if request.keys is None else judge_all)
        to_record = RecordChannel(4 * engine.batch_size)  # outlives a stop, so that what was judged is recorded
        recorded = RecordedPass(
            run_id=run_id,
            decoder=self.engine.decoder_version,
            dry_run=self._options.dry_run,
            plan=plan,
            hold=request.hold,
        )
        recorder = Recorder(recorded, ledger=self.ledger, runner=self._runner, counter=counter, halted=halted)
        lister = waiting or self._lister(request, run_id, counter, engine.ruleset)
        # Last stage first, so that no stage puts into a channel without a reader.
        pipeline.stage("record", lambda: recorder.run(to_record), workers=1, when_done=lambda: None)
        to_fetch = engine.start(pipeline, to_record)
        run_lister = partial(lister.run, request, self._options.prefix) if waiting is None else waiting.run_waiting
        pipeline.stage(
            "list",
            lambda: run_lister(to_fetch=to_fetch, to_record=to_record),
            workers=1,
            when_done=to_fetch.close,
        )
        watch = Watch(
            self._listener,
            request,
            storage=self.storage,
            prefix=self._options.prefix,
            ledger=self.ledger,
            ruleset=engine.ruleset,
        )
        with closing(watch):
            while not pipeline.wait(_TICK_S):
                behind = Bottleneck.RECORDING if to_record.is_full else engine.bottleneck()
                watch.update(counter.snapshot(time.monotonic() - started), behind, listed=lister.is_done)
                if halted():
                    pipeline.stop()
                    engine.abort()
                    pipeline.wait(_JUDGE_GRACE_S)
                    # A model may run longer than a stop may take: its batch is given up, and what was judged is recorded.
                    to_record.close()
                    pipeline.wait(_RECORD_GRACE_S)
                    break
        pipeline.raise_error()
        lease.check()
        return lister

    def _lister(self, request: PassRequest, run_id: int, counter: PassCounter, ruleset: Ruleset) -> Lister:
        variants = None
        if self._variants_among is not None:
            variants = VariantSorter(
                self._variants_among,
                storage=self.storage,
                ledger=self.ledger,
                ruleset=ruleset,
                run_id=run_id,
                counter=counter,
            )
        return Lister(
            storage=self.storage,
            incremental=self._incremental,
            ledger=self.ledger,
            ruleset=ruleset,
            counter=counter,
            stop=self._stop,
            gate=PauseGate(self._options.pauses, request.in_pause, counter, self._clock),
            variants=variants,
        )

    def _counter(self) -> PassCounter:
        return PassCounter(self.engine.policy.flags)

    def _note_broken_run(self, summary: PassSummary) -> None:
        """The run's own error is being raised; the ledger may be its cause, so a failure here is only logged."""
        try:
            self.ledger.passes.finish(summary.run_id, summary.as_dict(), complete=False)
        except LedgerError as error:
            log.warning("the end of run %d could not be recorded: %s", summary.run_id, error.message)

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
        screened = self.engine.screen_statistics
        screen = screened.since(screened_before) if screened else None
        return PassSummary(
            **{name: getattr(counts, name) for name in counts.__slots__},
            run_id=run_id,
            kind=request.kind,
            dry_run=self._options.dry_run,
            detectors=self.engine.detector_names,
            complete=complete,
            stopped=self._stop.is_set(),
            screen=screen if screen and screen.screened else None,
            notes=self.storage.learned.notes,
            prefix=self._options.prefix,
            tells_pictrs=self._runner.tells_pictrs,
        )
