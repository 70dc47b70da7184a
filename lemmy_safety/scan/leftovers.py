"""Actions left over from an earlier pass, or from a pass that held them back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from datetime import datetime

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.scan.progress import PassCounter
    from lemmy_safety.scan.requests import ScanOptions

log = logging.getLogger(__name__)


class Leftovers:
    """For one storage. Each method ends early when the run is asked to stop; the rest stays recorded as intended."""

    def __init__(self, *, ledger: Ledger, runner: ActionRunner, options: ScanOptions, stop: threading.Event) -> None:
        self._ledger = ledger
        self._runner = runner
        self._options = options
        self._stop = stop
        self._storage = runner.storage.name

    def finish_unfinished(self, counter: PassCounter, run_id: int) -> None:
        """Before a pass: carry out what an earlier run intended and did not finish."""
        for report in self._runner.finish_unfinished(self._options.plan, counter.so_far(run_id)):
            counter.add_action(report)
            if report.held:
                continue
            log.info("finished what an earlier run intended key=%r state=%s", report.key, report.state.value)
            if self._stop.is_set():
                return

    def carry_out_held(self, counter: PassCounter) -> None:
        """Carry out what a pass recorded and held back, once a person has confirmed it."""
        for report in self._runner.finish_unfinished(self._options.plan):
            counter.add_action(report)
            if self._stop.is_set():
                return
        self.settle(counter, None)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Keys of originals that have to be judged before something is done about their other sizes."""
        return () if self._stop.is_set() else self._runner.awaited

    def settle(self, counter: PassCounter, run_id: int | None) -> None:
        """After a pass: wait for a moment until what was asked of pict-rs has happened."""
        so_far = None if run_id is None else counter.so_far(run_id)
        for report in self._runner.settle(self._stop.wait, so_far):
            counter.add_action(report)
        counter.add("removing", self._runner.still_removing)

    def try_failed_again(self, counter: PassCounter, began: datetime, run_id: int) -> None:
        """Retry what the storage refused in an earlier pass, for objects that this one did not list: gone, or too old
        for it.

        Otherwise an object that is gone would stay on the list of failures forever.
        """
        plan = self._options.plan
        if not plan:
            return
        failed = self._ledger.actions.failed(self._storage, before=began)
        keys = [key for key in failed if key.startswith(self._options.prefix)]
        for pending in self._ledger.actions.intend(self._storage, keys, plan):
            if self._stop.is_set():
                return
            counter.add_action(self._runner.carry_out(pending, counter.so_far(run_id)))

    def stuck(self, began: datetime) -> int:
        """How many open actions were repeatedly refused as changed, although the bytes are the same."""
        if self._options.plan.flagged is None:
            return 0
        return self._ledger.actions.stuck(self._storage, due_before=began).refused_again
