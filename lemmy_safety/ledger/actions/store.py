"""The store of actions: what is wanted, approved, under way, done, and what became of the rest. It carries nothing out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.ledger.actions import intents, lookups, rows
from lemmy_safety.ledger.actions.stuck import failed_keys, stuck_actions
from lemmy_safety.ledger.schema.codec import checked_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lemmy_safety.ledger.actions.records import PendingAction, StuckActions
    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.records import ActionPlan, ActionState, StoredObject


class Actions:
    """Actions on objects, by their number: each is one row, and an object can have several over time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_intended(self, action_id: int) -> bool:
        """Whether an action is still wanted: intended, about the latest judgement, and not cleared by a human.

        :raises PassRunning: the lease of the pass that asks was lost; see ``lease``.
        """
        with self._database.reading() as connection:
            self._database.prove(connection)
            return lookups.is_intended(connection, action_id)

    def unfinished(self, storage: str) -> list[PendingAction]:
        """Actions intended and not known to be carried out, in the order their objects were first seen."""
        with self._database.reading() as connection:
            return lookups.unfinished_actions(connection, storage)

    def stuck(self, storage: str | None = None, *, due_before: datetime) -> StuckActions:
        """Count the open actions that need a person; ``overdue`` are those intended before ``due_before`` (aware)."""
        with self._database.reading() as connection:
            return stuck_actions(connection, storage, due_before=due_before)

    def failed(self, storage: str, *, before: datetime) -> list[str]:
        """Keys whose action the storage refused when it was last tried, which was before that time (aware)."""
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
        """Write intents for those keys that wait for an action of the plan and are not cleared; return them.

        Keys whose intent is written already come back with it. Left out: unknown keys, rows that are gone, done, or
        refused (they are judged again), and legacy rows whose object was never described (see ``adopt``).
        """
        checked_keys(keys)
        with self._database.writing() as connection:
            return intents.intend_actions(
                connection,
                storage,
                keys,
                plan,
                run_id=run_id,
                now=self._database.now(),
            )

    def adopt(self, row_id: int, storage: str, obj: StoredObject, action: str) -> PendingAction | None:
        """Say that a legacy row is about this object, and intend the action; it is then the storage's row.

        The caller vouches that ``obj`` is what the legacy tool judged. None when a human cleared it or it was acted on.

        :raises LedgerError: it is not a legacy row, or it is of another key.
        """
        checked_keys([obj.key])
        with self._database.writing() as connection:
            return intents.adopt_row(connection, row_id, storage, obj, action, now=self._database.now())

    def finish(self, id: int, state: ActionState, detail: str = "") -> None:  # noqa: A002
        """Write how an action ended: DONE, REFUSED (the object changed; it is judged again) or FAILED.

        Finishing again overwrites. An action whose object was judged again meanwhile leaves its event only. The id of a
        legacy row stands for the action that is unknown of it.

        :raises LedgerError: no such action.
        :raises ValueError: another state.
        """
        with self._database.writing() as connection:
            intents.finish(connection, id, state, detail, self._database.now())

    def approve(self, action_ids: Sequence[int]) -> int:
        """Note that a person approved these very actions; those that are not intended any more are left out.

        The approval stays while the object has the same bytes. Returns how many were approved.
        """
        with self._database.writing() as connection:
            return rows.approve(connection, action_ids, self._database.now())
