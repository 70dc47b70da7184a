"""The store of actions: wanted, approved, under way, ended. It carries nothing out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.actions import rows
from lemmy_safety.ledger.actions.current import ACTING, ACTION_COLUMNS, EARLIER
from lemmy_safety.ledger.actions.intents import action_on, intend
from lemmy_safety.ledger.actions.records import pending_action_of
from lemmy_safety.ledger.actions.stuck import failed_keys, stuck_actions
from lemmy_safety.ledger.audit import entry, place_of
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.codec import checked_keys, object_columns, object_of
from lemmy_safety.ledger.schema.conditions import IS_INTENDED, may_act
from lemmy_safety.ledger.schema.storages import among_few, ensure_storage, storage_id_of
from lemmy_safety.ledger.schema.tables import actions, events, images
from lemmy_safety.ledger.schema.values import EventKind, Origin
from lemmy_safety.records import ActionPlan, ActionState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from lemmy_safety.ledger.actions.records import PendingAction, StuckActions
    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.records import StoredObject

_FINISHED: Mapping[ActionState, EventKind] = {
    ActionState.DONE: EventKind.DONE,
    ActionState.REFUSED: EventKind.REFUSED,
    ActionState.FAILED: EventKind.FAILED,
}


class Actions:
    """Actions on objects, by number: each is one row, and an object can have several over time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_intended(self, action_id: int) -> bool:
        """Whether an action is still wanted: intended, about the latest judgement, and not cleared by a person.

        :raises PassRunning: the calling pass has lost its lease; see ``lease``.
        """
        with self._database.reading() as connection:
            self._database.prove(connection)
            return rows.is_intended(connection, action_id)

    def state(self, action_id: int) -> ActionState:
        """How far an action has got.

        :raises LedgerError: no such action.
        """
        with self._database.reading() as connection:
            found = connection.execute(select(actions.c.state).where(actions.c.id == action_id)).scalar_one_or_none()
        if found is None:
            raise LedgerError(f"There is no action {action_id} in the ledger.", hint="")
        return ActionState(found)

    def unfinished(self, storage: str) -> list[PendingAction]:
        """Actions intended and not known to be carried out, in the order in which their objects were first seen."""
        with self._database.reading() as connection:
            query = (
                select(images, *ACTION_COLUMNS)
                .select_from(ACTING)
                .where(among_few(storage_id_of(connection, storage)), IS_INTENDED, may_act(images.c.outcomes))
                .order_by(images.c.id)
            )
            return [pending_action_of(row) for row in connection.execute(query)]

    def stuck(self, storage: str | None = None, *, due_before: datetime) -> StuckActions:
        """Count the open actions that need a person; ``overdue`` are those intended before ``due_before`` (aware)."""
        with self._database.reading() as connection:
            return stuck_actions(connection, storage, due_before=due_before)

    def failed(self, storage: str, *, before: datetime) -> list[str]:
        """Keys of actions that the storage refused in their latest attempt, before that time (aware)."""
        with self._database.reading() as connection:
            return failed_keys(connection, storage, before=before)

    def intend(
        self,
        storage: str,
        keys: Sequence[str],
        plan: ActionPlan,
        *,
        run_id: int | None = None,
    ) -> list[PendingAction]:
        """Record intents for the keys that are waiting for an action of the plan and are not cleared; return them.

        Keys that already have an intent return it. Left out: unknown keys, rows that are gone, done, or refused (those
        are
        judged again), and legacy rows whose object was never described (see ``adopt``).
        """
        checked_keys(keys)
        now = self._database.now()
        pending: list[PendingAction] = []
        with self._database.writing() as connection:
            storage_id = storage_id_of(connection, storage)
            for chunk in chunks(keys):
                here = (images.c.storage_id == storage_id, images.c.key.in_(chunk), may_act(images.c.outcomes))
                for row in connection.execute(EARLIER.where(*here).order_by(images.c.id)).all():
                    wanted = action_on(row, plan)
                    if wanted is not None and object_of(row) is not None:
                        pending.append(intend(connection, row, wanted, run_id=run_id, now=now))
        return pending

    def adopt(self, row_id: int, storage: str, obj: StoredObject, action: str) -> PendingAction | None:
        """State that a legacy row is about this object, and intend the action; the row then belongs to the storage.

        The caller vouches that ``obj`` is what the legacy tool judged. None if a person cleared it or it was acted on.

        :raises LedgerError: not a legacy row, or one with another key.
        """
        checked_keys([obj.key])
        with self._database.writing() as connection:
            row = connection.execute(EARLIER.where(images.c.id == row_id)).one_or_none()
            if row is None or row.origin is not Origin.LEGACY or row.key != obj.key:
                raise LedgerError(
                    f"Row {row_id} of the ledger is not one that the earlier tool wrote about {obj.key!r}.", hint=""
                )
            if action_on(row, ActionPlan(flagged=action)) is None:
                return None
            described = {"storage_id": ensure_storage(connection, storage), **object_columns(obj)}
            connection.execute(images.update().where(images.c.id == row_id).values(described))
            row = connection.execute(EARLIER.where(images.c.id == row_id)).one()
            return intend(connection, row, action, run_id=None, now=self._database.now())

    def finish(self, id: int, state: ActionState, detail: str = "") -> None:  # noqa: A002
        """Record how an action ended: DONE, REFUSED (the object changed; it is judged again) or FAILED.

        Finishing again overwrites. If the object was judged again meanwhile, only the event is recorded. The id of a
        legacy row stands for its unknown action.

        :raises LedgerError: no such action.
        :raises ValueError: another state.
        """
        kind = _FINISHED.get(state)
        if kind is None:
            raise ValueError(f"an action cannot end as {state!r}")
        now = self._database.now()
        with self._database.writing() as connection:
            action = connection.execute(select(actions).where(actions.c.id == id)).one_or_none()
            if action is None:
                raise LedgerError(f"There is no action {id} in the ledger.", hint="")
            row = connection.execute(EARLIER.where(images.c.id == action.image_id)).one()
            rows.close(connection, id, state, detail, now)
            told = {"action": action.kind, "detail": detail, "judged_anew_meanwhile": row.action_id != id}
            connection.execute(events.insert().values(entry(place_of(row), kind, told, now)))

    def postpone(self, id: int, detail: str, *, asks: bool) -> None:  # noqa: A002
        """Record what an intended action waits for. ``asks``: a person has to decide about this very object."""
        now = self._database.now()
        with self._database.writing() as connection:
            rows.postpone(connection, id, detail, now if asks else None)

    def approve(self, action_ids: Sequence[int]) -> int:
        """Record that a person approved exactly these actions; those no longer intended are left out.

        The approval remains valid while the object has the same bytes. Returns how many were approved.
        """
        with self._database.writing() as connection:
            return rows.approve(connection, action_ids, self._database.now())
