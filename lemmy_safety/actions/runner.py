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

from lemmy_safety.errors import (
    LedgerError,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageUnreachable,
    is_about_one_object,
)
from lemmy_safety.pictrs.keys import is_health_check
from lemmy_safety.records import UNKNOWN_TIME, ActionPlan, ActionState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lemmy_safety.actions.base import Action
    from lemmy_safety.actions.guard import CircuitBreaker
    from lemmy_safety.ledger import FlaggedRow, Ledger, PendingAction
    from lemmy_safety.records import PassSoFar, StoredObject
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: Where files grow in place, an unreadable file is acted on only after this long without a change: pict-rs writes data
#: as it arrives, and a phone on a train may send nothing for minutes. By then Lemmy and its proxy have given up.
_REST_OF_UNREADABLE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReport:
    """The outcome of one intent. INTENDED means: not now, but it stays on the list.

    ``rests``: nothing went wrong, but the object must stay unchanged for a while first. ``held``: the circuit breaker
    is tripped, and a person has to decide.
    """

    key: str
    action: str
    state: ActionState
    detail: str
    rests: bool = False
    held: bool = False


class ActionRunner:
    """Intents in, reports out, for one storage."""

    def __init__(
        self, *, storage: Storage, ledger: Ledger, actions: Mapping[str, Action], guard: CircuitBreaker
    ) -> None:
        self.storage = storage
        self.ledger = ledger
        self.guard = guard
        self._actions = actions

    def carry_out(self, pending: PendingAction, so_far: PassSoFar | None = None) -> ActionReport:
        """Carry out an intent and record the outcome; a temporary error leaves the intent for later.

        ``so_far`` is what the pass has judged, None for a command. The circuit breaker is asked last, so that it counts
        only what is carried out.

        :raises LedgerError: the outcome could not be recorded; the intent remains and is repeated at the next start.
        """
        key = pending.obj.key
        if not self.ledger.actions.is_intended(pending.id):
            return _not_wanted(pending)
        if is_health_check(key, pending.obj.size):
            detail = "pict-rs's own health check, left alone"
            self.ledger.actions.finish(pending.id, ActionState.REFUSED, detail)
            return ActionReport(key=key, action=pending.action, state=ActionState.REFUSED, detail=detail)
        if pending.unreadable and self._may_be_in_writing(pending.obj):
            detail = "may still be in writing; done when it has rested"
            log.info("action postponed key=%r action=%s reason=%s", key, pending.action, detail)
            return ActionReport(key=key, action=pending.action, state=ActionState.INTENDED, detail=detail, rests=True)
        if not self.guard.admits(pending.id, so_far):
            return self._not_admitted(pending)
        try:
            detail = self._actions[pending.action].carry_out(self.storage, pending.obj, pending.sha256)
            state = ActionState.DONE
        except ObjectChanged as error:
            state, detail = ActionState.REFUSED, error.message
        except StorageUnreachable as error:
            log.warning("action postponed key=%r action=%s reason=%s", key, pending.action, error.message)
            return ActionReport(key=key, action=pending.action, state=ActionState.INTENDED, detail=error.message)
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            state, detail = ActionState.FAILED, error.message
        self.ledger.actions.finish(pending.id, state, detail)
        level = logging.INFO if state is ActionState.DONE else logging.WARNING
        log.log(level, "action %s key=%r action=%s detail=%s", state.value, key, pending.action, detail)
        return ActionReport(key=key, action=pending.action, state=state, detail=detail)

    def _not_admitted(self, pending: PendingAction) -> ActionReport:
        if not self.ledger.actions.is_intended(pending.id):
            return _not_wanted(pending)
        detail = "the circuit breaker is tripped; see 'lemmy-safety resume'"
        return ActionReport(
            key=pending.obj.key, action=pending.action, state=ActionState.INTENDED, detail=detail, held=True
        )

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
            return ActionReport(key=row.key, action=action, state=row.action_state, detail=error.message)
        # The storage dates the object by its own clock; the row has the time of a machine like this one.
        judged_at = row.checked_at + min(self.storage.clock_ahead, timedelta(0))
        if current.modified_at > judged_at or current.modified_at <= UNKNOWN_TIME:
            detail = "modified after the earlier tool judged it, or without a date; a sweep will judge it again"
            self._close_legacy(row, ActionState.REFUSED, detail)
            return ActionReport(key=row.key, action=action, state=ActionState.REFUSED, detail=detail)
        return self.ledger.actions.adopt(row.id, self.storage.name, current, action) or _not_now(row, action)

    def _ancestor_object_is_gone(self, row: FlaggedRow, action: str) -> ActionReport:
        try:
            self.storage.ensure_mounted(row.key)
        except StorageUnreachable as error:
            return ActionReport(key=row.key, action=action, state=row.action_state, detail=error.message)
        self._close_legacy(row, ActionState.DONE, "was already gone")
        return ActionReport(key=row.key, action=action, state=ActionState.DONE, detail="was already gone")

    def _close_legacy(self, row: FlaggedRow, state: ActionState, detail: str) -> None:
        """Record the outcome of the action that the legacy tool may have carried out."""
        if row.action_id is None:
            raise LedgerError(f"{row.key!r} was flagged by the legacy tool and has no action.", hint="")
        self.ledger.actions.finish(row.action_id, state, detail)


def _not_wanted(pending: PendingAction) -> ActionReport:
    """The action is no longer wanted: since it was queued, a person cleared the object, or it was judged again."""
    return ActionReport(
        key=pending.obj.key, action=pending.action, state=ActionState.NONE, detail="not wanted any more"
    )


def _not_now(row: FlaggedRow, action: str) -> ActionReport:
    """The row waits to be judged again, such as one whose object changed."""
    detail = "changed since it was judged; the next pass judges it again"
    return ActionReport(key=row.key, action=action, state=ActionState.REFUSED, detail=detail)
