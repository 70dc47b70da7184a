"""Decides which action an object is waiting for and records the intent, inside the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.ledger.actions.current import EARLIER
from lemmy_safety.ledger.actions.records import pending_action_of
from lemmy_safety.ledger.actions.rows import WantedAction, retry, subject_of, write_intents
from lemmy_safety.ledger.audit import entry, place_of
from lemmy_safety.ledger.rules import holds_no_picture
from lemmy_safety.ledger.schema.tables import events, images
from lemmy_safety.ledger.schema.values import EventKind, WantedBy
from lemmy_safety.records import ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.actions.records import PendingAction
    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import ActionPlan

#: States from which an action may be (or already is) intended. A done one needs none; a refused one is judged again.
_ACTIONABLE = frozenset({ActionState.NONE, ActionState.FAILED, ActionState.INTENDED, ActionState.UNKNOWN})


def action_on(row: AnyRow, plan: ActionPlan) -> str | None:
    """The plan's action for this row of ``EARLIER``; None if the plan has none for it."""
    waits = row.review is not Review.CLEARED and row.status is not ItemStatus.GONE and row.action_state in _ACTIONABLE
    if waits and row.outcome is Outcome.FLAGGED:
        return plan.flagged
    if waits and holds_no_picture(row.status, row.outcome, row.sha256, decoder_broke=row.decoder_broke):
        return plan.unreadable
    return None


def intend(connection: Connection, row: AnyRow, action: str, *, run_id: int | None, now: datetime) -> PendingAction:
    """Record the intent to act on this row of ``EARLIER``, unless there is one; a failed action becomes due again."""
    if row.action_state is not ActionState.INTENDED:
        connection.execute(
            events.insert().values(entry(place_of(row), EventKind.INTENDED, {"action": action}, now, run_id=run_id))
        )
        if row.action_state is ActionState.FAILED and row.action_wanted == action:
            retry(connection, row.action_id, now)
        else:
            wanted = WantedAction(
                image_id=row.id,
                kind=action,
                judgement=row.judgement,
                subject=subject_of(row.sha256, row.storage_id, row.key),
            )
            by = WantedBy.COMMAND if run_id is None else WantedBy.PASS
            write_intents(connection, [wanted], by=by, run_id=run_id, now=now)
    return pending_action_of(connection.execute(EARLIER.where(images.c.id == row.id)).one())
