"""The engine of a relay: decides on uploads by the verdicts of workers.

Answers and records follow the rules of every engine, also when no worker answers; see ``uploads/decider.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.relay.server.judging import RelayJudging
from lemmy_safety.uploads.decider import Decider
from lemmy_safety.uploads.records import Cause

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.uploads.decider import Judging
    from lemmy_safety.uploads.metrics import Meters


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """``accept_unchecked``: the answer without a verdict. ``queue``: the most uploads held at a time.

    ``budget_s`` is the service's time for an answer. In a ``dry_run`` flagged uploads are recorded and accepted.
    """

    accept_unchecked: bool
    queue: int
    budget_s: float
    dry_run: bool = False


class RelayEngine(Decider):
    """Decides by the verdicts of workers."""

    def __init__(self, *, ledger: Ledger, options: RelayOptions, meters: Meters) -> None:
        super().__init__(
            ledger=ledger, accept_unchecked=options.accept_unchecked, dry_run=options.dry_run, meters=meters
        )
        #: Workers get their jobs here.
        self.judging = RelayJudging(
            ledger=ledger,
            queue=options.queue,
            budget_s=options.budget_s,
            meters=meters,
            on_learned=self._note_late,
        )

    @property
    def _judging(self) -> Judging:
        return self.judging

    def _why_not(self) -> Cause:
        cause = super()._why_not()
        return Cause.NO_WORKER if cause is Cause.MODEL_LOADING else cause

    def end_waits(self) -> None:
        """As for every engine; workers get the answer that there are no jobs, so that they ask elsewhere or later."""
        super().end_waits()
        self.judging.end_waits()
