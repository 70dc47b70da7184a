"""Record stage: writes results to the ledger in groups, then carries out the actions it now holds as intents."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.actions import ActionRunner
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import ActionPlan, ItemResult
    from lemmy_safety.scan.items import RecordChannel
    from lemmy_safety.scan.progress import PassCounter

log = logging.getLogger(__name__)

#: Most results per transaction, and most seconds that a result waits for others.
_GROUP_SIZE = 64
_GROUP_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPass:
    """What is written with each result. ``plan`` has the wanted actions; with ``hold`` they are recorded but not
    carried out.
    """

    run_id: int
    decoder: str
    dry_run: bool
    plan: ActionPlan
    hold: bool


class Recorder:
    """The only stage that writes: to the ledger first, to the storage after that."""

    def __init__(
        self,
        recorded: RecordedPass,
        *,
        ledger: Ledger,
        runner: ActionRunner,
        counter: PassCounter,
        halted: Callable[[], bool],
    ) -> None:
        """``halted``: whether actions must wait, because the pass was stopped or failed."""
        self._pass = recorded
        self._ledger = ledger
        self._runner = runner
        self._counter = counter
        self._halted = halted

    def run(self, inbox: RecordChannel) -> None:
        """The worker's loop; ends when the channel is closed and everything in it is recorded.

        :raises LedgerError: nothing can be recorded; nothing more is deleted.
        """
        try:
            while group := inbox.get_batch(_GROUP_SIZE, _GROUP_WAIT_S):
                self._record(group)
        except BaseException:
            inbox.abort()  # it has no reader any more: the stages before must not wait for room
            raise

    def _record(self, group: Sequence[tuple[str, ItemResult | None]]) -> None:
        storage = self._runner.storage.name
        results = [result for _, result in group if result is not None]
        open_keys = [key for key, result in group if result is None]
        pending = self._ledger.objects.record(
            storage,
            results,
            run_id=self._pass.run_id,
            dry_run=self._pass.dry_run,
            plan=self._pass.plan,
            decoder=self._pass.decoder,
        )
        for result in results:
            self._counter.add_result(result)
            learned = result.assessment
            if result.reused_from is not None and learned.flagged:
                # The judge logs what it judges; it saw these bytes under another key.
                log.warning("flagged key=%r by=the same bytes as %r", result.obj.key, result.reused_from)
            if learned.verdict is None:
                log.debug("no verdict key=%r status=%s reason=%s", result.obj.key, learned.status.value, learned.reason)
        if open_keys and self._pass.plan:
            intended = self._ledger.actions.intend(storage, open_keys, self._pass.plan, run_id=self._pass.run_id)
            pending = [*pending, *intended]
        if self._pass.hold:
            self._counter.add("held", len(pending))  # a person is asked once everything is judged
            return
        for intent in pending:
            if self._halted():
                return  # stopped or failed: the intents are on disk; the next start finishes them
            self._counter.add_action(self._runner.carry_out(intent, self._counter.so_far(self._pass.run_id)))
