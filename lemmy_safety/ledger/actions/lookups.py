"""Actions that are still wanted. Each function asks on a connection that the caller holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.ledger.actions.current import ACTING, ACTION_COLUMNS
from lemmy_safety.ledger.actions.records import pending_action_of
from lemmy_safety.ledger.schema.conditions import IS_INTENDED, may_act
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import actions, images
from lemmy_safety.records import Review

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lemmy_safety.ledger.actions.records import PendingAction


def is_intended(connection: Connection, action_id: int) -> bool:
    query = (
        select(images.c.id)
        .select_from(ACTING)
        .where(actions.c.id == action_id, IS_INTENDED, may_act(images.c.outcomes), images.c.review != Review.CLEARED)
    )
    return connection.execute(query).first() is not None


def unfinished_actions(connection: Connection, storage: str) -> list[PendingAction]:
    query = (
        select(images, *ACTION_COLUMNS)
        .select_from(ACTING)
        .where(among_few(storage_id_of(connection, storage)), IS_INTENDED, may_act(images.c.outcomes))
        .order_by(images.c.id)
    )
    return [pending_action_of(row) for row in connection.execute(query)]
