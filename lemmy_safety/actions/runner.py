"""Carries out actions so that ``kill -9`` at any moment loses nothing and does nothing twice.

Order, always: the intent is in the ledger (``ledger.objects.record`` or ``ledger.actions.intend``), then the circuit
breaker admits it and its start is in the ledger, then the action, then the outcome (``ledger.actions.finish``). Killed
anywhere before the outcome, the intent is found at the next start and the idempotent action is carried out again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lemmy_safety.actions.base import ELSEWHERE, NOT_WANTED, ActionResult, Wait, later
from lemmy_safety.errors import (
    LedgerError,
    ObjectChanged,
    ObjectGone,
    PictrsError,
    StorageError,
    StorageUnreachable,
    is_about_one_object,
)
from lemmy_safety.pictrs.keys import is_health_check
from lemmy_safety.records import UNKNOWN_TIME, ActionPlan, ActionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lemmy_safety.actions.base import Action
    from lemmy_safety.actions.caches import Caches
    from lemmy_safety.actions.guard import CircuitBreaker
    from lemmy_safety.errors import LemmySafetyError
    from lemmy_safety.ledger import FlaggedRow, Ledger, PendingAction
    from lemmy_safety.records import PassSoFar, StoredObject
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: Where files grow in place, an unreadable file is acted on only after this long without a change: pict-rs writes data
#: as it arrives, and a phone on a train may send nothing for minutes. By then Lemmy and its proxy have given up.
_REST_OF_UNREADABLE = timedelta(minutes=10)

#: Pauses before what was sent is checked again. pict-rs 0.5.25 removes a picture in under a second.
LOOK_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

_HELD = later(Wait.BREAKER, "the circuit breaker is tripped; see 'lemmy-safety resume'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReport:
    """How far one intent got."""

    key: str
    action: str
    result: ActionResult

    @property
    def state(self) -> ActionState:
        return self.result.state

    @property
    def detail(self) -> str:
        return self.result.detail

    @property
    def held(self) -> bool:
        """The circuit breaker is tripped, and a person has to decide."""
        return self.result.wait is Wait.BREAKER

    @property
    def asks(self) -> bool:
        """A person has to decide about this very picture."""
        return self.result.wait is Wait.PERSON


class ActionRunner:
    """Intents in, reports out, for one storage."""

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        actions: Mapping[str, Action],
        guard: CircuitBreaker,
        caches: Caches | None = None,
    ) -> None:
        """``caches`` are told what was removed through pict-rs."""
        self.storage = storage
        self.ledger = ledger
        self.guard = guard
        self._actions = actions
        self._caches = caches
        self._said: LemmySafetyError | None = None
        self._told: dict[int, str] = {}
        #: What was sent and has not happened yet, and what waits for other objects of its picture, by number.
        self._removing: dict[int, PendingAction] = {}
        self._awaiting: dict[int, tuple[PendingAction, str | None]] = {}

    @property
    def tells_pictrs(self) -> bool:
        """Whether pict-rs is told what is removed."""
        return any(action.tells_pictrs for action in self._actions.values())

    def carry_out(self, pending: PendingAction, so_far: PassSoFar | None = None) -> ActionReport:
        """Carry out an intent and record the outcome; a temporary error leaves the intent for later.

        ``so_far`` is what the pass has judged, None for a command. The circuit breaker is asked last, so that it counts
        only what is carried out.

        :raises LedgerError: the outcome could not be recorded; the intent remains and is repeated at the next start.
        """
        self._removing.pop(pending.id, None)
        self._awaiting.pop(pending.id, None)
        report = self._carry_out(pending, so_far)
        if report.result.wait is Wait.REMOVAL:
            self._removing[pending.id] = pending
        if report.result.wait is Wait.ORIGINAL:
            self._awaiting[pending.id] = pending, report.result.original
        return report

    @property
    def awaited(self) -> tuple[str, ...]:
        """Keys of the originals that have to be judged before something can be done about their other sizes."""
        return tuple(sorted({original for _, original in self._awaiting.values() if original is not None}))

    @property
    def still_removing(self) -> int:
        """How many were sent and had not happened when they were last checked."""
        return len(self._removing)

    def settle(self, wait: Callable[[float], bool], so_far: PassSoFar | None = None) -> Iterator[ActionReport]:
        """Look again at what was sent until it has happened, then at what waited for that; a minute at most.

        At the end caches are told what was removed. ``wait`` pauses for some seconds and returns whether the run is asked to stop. Yields what has ended since; the
        next pass follows up the rest.
        """
        yield from self._see_removed(wait, so_far)
        waited, self._awaiting = self._awaiting, {}
        for pending, _ in waited.values():
            if wait(0):
                return
            yield self.carry_out(pending, so_far)
        yield from self._see_removed(wait, so_far)
        if self._caches is not None:
            self._caches.tell(wait)

    def _see_removed(self, wait: Callable[[float], bool], so_far: PassSoFar | None) -> Iterator[ActionReport]:
        for seconds in LOOK_AGAIN_S:
            if not self._removing or wait(seconds):
                return
            for pending in tuple(self._removing.values()):
                report = self.carry_out(pending, so_far)
                if pending.id not in self._removing:
                    yield report

    def _carry_out(self, pending: PendingAction, so_far: PassSoFar | None) -> ActionReport:
        if not self.ledger.actions.is_intended(pending.id):
            return _report(pending, self._why_not_wanted(pending))
        if is_health_check(pending.obj.key, pending.obj.size):
            detail = "pict-rs's own health check, left alone"
            return self._finished(pending, ActionResult(state=ActionState.REFUSED, detail=detail))
        if pending.unreadable and self._may_be_in_writing(pending.obj):
            return self._postponed(pending, later(Wait.REST, "may still be in writing; done when it has rested"))
        try:
            result = self._advance(pending, so_far)
        except ObjectChanged as error:
            result = ActionResult(state=ActionState.REFUSED, detail=error.message)
        except (StorageUnreachable, PictrsError) as error:
            return self._not_reached(pending, error)
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            result = ActionResult(state=ActionState.FAILED, detail=error.message)
        if result.state is ActionState.INTENDED:
            return self._postponed(pending, result)
        return self._finished(pending, result)

    def _advance(self, pending: PendingAction, so_far: PassSoFar | None) -> ActionResult:
        """One step. What was sent is followed up whatever the breaker says; it is asked last before anything is done."""
        action = self._actions[pending.action]
        result = action.follow_up(self.storage, pending)
        if result is None and self.guard.holds(pending.id):
            result = _HELD
        if result is None:
            result = action.prepare(self.storage, pending)
        if result is None and not self.guard.admits(pending.id, so_far):
            result = _HELD if self.ledger.actions.is_intended(pending.id) else self._why_not_wanted(pending)
        return action.carry_out(self.storage, pending) if result is None else result

    def _why_not_wanted(self, pending: PendingAction) -> ActionResult:
        return ELSEWHERE if self.ledger.actions.state(pending.id) is ActionState.DONE else NOT_WANTED

    def _finished(self, pending: PendingAction, result: ActionResult) -> ActionReport:
        if result not in {NOT_WANTED, ELSEWHERE}:
            self.ledger.actions.finish(pending.id, result.state, result.detail)
            level = logging.INFO if result.state is ActionState.DONE else logging.WARNING
            _log(level, result.state.value, pending, result.detail)
        return _report(pending, result)

    def _postponed(self, pending: PendingAction, result: ActionResult) -> ActionReport:
        if result.wait is not Wait.BREAKER:  # the breaker has a line of its own
            self.ledger.actions.postpone(pending.id, result.detail, asks=result.wait is Wait.PERSON)
            # A removal is followed up many times: only news is worth a line.
            is_news = self._told.get(pending.id) != result.detail
            self._told[pending.id] = result.detail
            level = logging.WARNING if result.wait is Wait.PERSON else logging.INFO
            _log(level if is_news else logging.DEBUG, "postponed", pending, result.detail)
        return _report(pending, result)

    def _not_reached(self, pending: PendingAction, error: LemmySafetyError) -> ActionReport:
        # One error about pict-rs as a whole comes with many actions.
        _log(logging.DEBUG if error is self._said else logging.WARNING, "postponed", pending, error.message)
        self._said = error
        self.ledger.actions.postpone(pending.id, error.message, asks=False)
        return _report(pending, ActionResult(state=ActionState.INTENDED, detail=error.message))

    def _may_be_in_writing(self, obj: StoredObject) -> bool:
        """Whether an unreadable file may be the first half of a picture whose sender pauses."""
        return self.storage.settle_s > 0 and obj.modified_at > self._storage_time() - _REST_OF_UNREADABLE

    def _storage_time(self) -> datetime:
        """Now, by the clock that dates the objects."""
        return datetime.now(UTC) + self.storage.clock_ahead

    def finish_unfinished(self, plan: ActionPlan, so_far: PassSoFar | None = None) -> Iterator[ActionReport]:
        """Carry out what an earlier run intended and did not finish.

        Only intents of the actions planned now: an admin who has since switched to reports may have had a reason.
        """
        for pending in self.ledger.actions.unfinished(self.storage.name):
            if pending.action == (plan.unreadable if pending.unreadable else plan.flagged):
                yield self.carry_out(pending, so_far)

    def act_on_flagged(
        self, rows: Sequence[FlaggedRow], action: str, *, approved: bool = False
    ) -> Iterator[ActionReport]:
        """Write the intent for each row and carry it out, without reading or judging an object again.

        ``approved``: a person saw these very rows and confirmed, so the circuit breaker admits them.
        """
        for row in rows:
            pending = self._intend(row, action)
            if isinstance(pending, ActionReport):
                yield pending
                continue
            if approved:
                self.ledger.actions.approve([pending.id])
            yield self.carry_out(pending)

    def _intend(self, row: FlaggedRow, action: str) -> PendingAction | ActionReport:
        if row.origin == "ancestor":
            return self._intend_for_ancestor_row(row, action)
        written = self.ledger.actions.intend(self.storage.name, [row.key], ActionPlan(flagged=action))
        return written[0] if written else _not_now(row, action)

    def _intend_for_ancestor_row(self, row: FlaggedRow, action: str) -> PendingAction | ActionReport:
        """The legacy tool recorded neither size nor tag, and not even whether it had deleted the object.

        Its row is about this very object if the object has not been modified since the row was written.
        """
        try:
            current = self.storage.stat(row.key)
        except ObjectGone:
            return self._ancestor_object_is_gone(row, action)
        except StorageError as error:
            if not (isinstance(error, StorageUnreachable) or is_about_one_object(error)):
                raise
            return _row_report(row, action, row.action_state, error.message)
        # The storage dates the object by its own clock; the row has the time of a machine like this one.
        judged_at = row.checked_at + min(self.storage.clock_ahead, timedelta(0))
        if current.modified_at > judged_at or current.modified_at <= UNKNOWN_TIME:
            detail = "modified after the earlier tool judged it, or without a date; a sweep will judge it again"
            self._close_legacy(row, ActionState.REFUSED, detail)
            return _row_report(row, action, ActionState.REFUSED, detail)
        return self.ledger.actions.adopt(row.id, self.storage.name, current, action) or _not_now(row, action)

    def _ancestor_object_is_gone(self, row: FlaggedRow, action: str) -> ActionReport:
        try:
            self.storage.ensure_mounted(row.key)
        except StorageUnreachable as error:
            return _row_report(row, action, row.action_state, error.message)
        self._close_legacy(row, ActionState.DONE, "was already gone")
        return _row_report(row, action, ActionState.DONE, "was already gone")

    def _close_legacy(self, row: FlaggedRow, state: ActionState, detail: str) -> None:
        """Record the outcome of the action that the legacy tool may have carried out."""
        if row.action_id is None:
            raise LedgerError(f"{row.key!r} was flagged by the legacy tool and has no action.", hint="")
        self.ledger.actions.finish(row.action_id, state, detail)


def _report(pending: PendingAction, result: ActionResult) -> ActionReport:
    return ActionReport(key=pending.obj.key, action=pending.action, result=result)


def _row_report(row: FlaggedRow, action: str, state: ActionState, detail: str) -> ActionReport:
    return ActionReport(key=row.key, action=action, result=ActionResult(state=state, detail=detail))


def _not_now(row: FlaggedRow, action: str) -> ActionReport:
    """The row waits to be judged again, such as one whose object changed."""
    return _row_report(row, action, ActionState.REFUSED, "changed since it was judged; the next pass judges it again")


def _log(level: int, what: str, pending: PendingAction, detail: str) -> None:
    log.log(level, "action %s key=%r action=%s detail=%s", what, pending.obj.key, pending.action, detail)
