"""Writing intents, how they ended, and what humans decided, inside one transaction that the caller holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.actions.current import EARLIER
from lemmy_safety.ledger.actions.records import PendingAction, pending_action_of
from lemmy_safety.ledger.actions.rows import WantedAction, close, retry, subject_of, write_intents
from lemmy_safety.ledger.audit import entry, place_of
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.rules import holds_no_picture
from lemmy_safety.ledger.schema.codec import object_columns, object_of
from lemmy_safety.ledger.schema.conditions import may_act
from lemmy_safety.ledger.schema.storages import ensure_storage, storage_id_of
from lemmy_safety.ledger.schema.tables import actions, events, images
from lemmy_safety.ledger.schema.values import EventKind, Origin, WantedBy
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import StoredObject

_FINISHED: Mapping[ActionState, EventKind] = {
    ActionState.DONE: EventKind.DONE,
    ActionState.REFUSED: EventKind.REFUSED,
    ActionState.FAILED: EventKind.FAILED,
}

#: States from which an action may be (or already is) intended. A done one needs none, a refused one is judged again.
_ACTIONABLE = frozenset({ActionState.NONE, ActionState.FAILED, ActionState.INTENDED, ActionState.UNKNOWN})


def intend_actions(
    connection: Connection,
    storage: str,
    keys: Sequence[str],
    plan: ActionPlan,
    *,
    run_id: int | None,
    now: datetime,
) -> list[PendingAction]:
    """Write intents for rows that are flagged, or hold no picture, and wait; those there are already come back as they are."""
    storage_id = storage_id_of(connection, storage)
    pending: list[PendingAction] = []
    for chunk in chunks(keys):
        here = (images.c.storage_id == storage_id, images.c.key.in_(chunk), may_act(images.c.outcomes))
        for row in connection.execute(EARLIER.where(*here).order_by(images.c.id)).all():
            wanted = _action_on(row, plan)
            if wanted is not None and object_of(row) is not None:
                pending.append(_intended(connection, row, {}, wanted, run_id=run_id, now=now))
    return pending


def adopt_row(
    connection: Connection, row_id: int, storage: str, obj: StoredObject, action: str, *, now: datetime
) -> PendingAction | None:
    """Say which object a legacy row is about, and intend an action on it."""
    row = connection.execute(EARLIER.where(images.c.id == row_id)).one_or_none()
    if row is None or row.origin is not Origin.LEGACY or row.key != obj.key:
        raise LedgerError(
            f"Row {row_id} of the ledger is not one that the earlier tool wrote about {obj.key!r}.", hint=""
        )
    if _action_on(row, ActionPlan(flagged=action)) is None:
        return None
    described = {"storage_id": ensure_storage(connection, storage), **object_columns(obj)}
    return _intended(connection, row, described, action, run_id=None, now=now)


def _action_on(row: AnyRow, plan: ActionPlan) -> str | None:
    """Which of the two is wanted for this row; None when neither is."""
    waits = row.review is not Review.CLEARED and row.status is not ItemStatus.GONE and row.action_state in _ACTIONABLE
    if waits and row.outcome is Outcome.FLAGGED:
        return plan.flagged
    if waits and holds_no_picture(row.status, row.outcome, row.sha256, decoder_broke=row.decoder_broke):
        return plan.unreadable
    return None


def _intended(
    connection: Connection, row: AnyRow, described: Mapping[str, Any], action: str, *, run_id: int | None, now: datetime
) -> PendingAction:
    if described:
        connection.execute(images.update().where(images.c.id == row.id).values(described))
    if row.action_state is not ActionState.INTENDED:
        place = {**place_of(row), "storage_id": described.get("storage_id", row.storage_id)}
        connection.execute(
            events.insert().values(entry(place, EventKind.INTENDED, {"action": action}, now, run_id=run_id))
        )
        if row.action_state is ActionState.FAILED and row.action_wanted == action:
            retry(connection, row.action_id, now)
        else:
            wanted = WantedAction(
                image_id=row.id,
                kind=action,
                judgement=row.judgement,
                subject=subject_of(row.sha256, place["storage_id"], row.key),
            )
            by = WantedBy.COMMAND if run_id is None else WantedBy.PASS
            write_intents(connection, [wanted], by=by, run_id=run_id, now=now)
    return pending_action_of(connection.execute(EARLIER.where(images.c.id == row.id)).one())


def finish(connection: Connection, action_id: int, state: ActionState, detail: str, now: datetime) -> None:
    """Write how an intended action ended. It says nothing of an object that was judged again meanwhile."""
    kind = _FINISHED.get(state)
    if kind is None:
        raise ValueError(f"an action cannot end as {state!r}")
    action = connection.execute(select(actions).where(actions.c.id == action_id)).one_or_none()
    if action is None:
        raise LedgerError(f"There is no action {action_id} in the ledger.", hint="")
    row = connection.execute(EARLIER.where(images.c.id == action.image_id)).one()
    close(connection, action_id, state, detail, now)
    told = {"action": action.kind, "detail": detail, "judged_anew_meanwhile": row.action_id != action_id}
    connection.execute(events.insert().values(entry(place_of(row), kind, told, now)))
