"""Reading the ledger: each function asks on a connection that the caller holds, in pieces that every database takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, or_, select

from lemmy_safety.ledger.actions.current import ACTING, ACTION_COLUMNS, IS_NOT_DONE, WITH_ACTION
from lemmy_safety.ledger.actions.records import pending_action_of
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import (
    IS_FLAGGED,
    IS_INTENDED,
    IS_UNREADABLE,
    actions,
    images,
    may_act,
    storages,
)
from lemmy_safety.records import ItemStatus, Review

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.actions.records import PendingAction

FULL_ROW = select(images, *ACTION_COLUMNS, storages.c.name.label("storage")).select_from(
    WITH_ACTION.join(storages, images.c.storage_id == storages.c.id)
)


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


#: Which rows a page is of.
FLAGGED: ColumnElement[bool] = and_(IS_FLAGGED, may_act(images.c.outcomes))
UNREADABLE: ColumnElement[bool] = and_(IS_UNREADABLE, images.c.outcome.is_(None))

#: No pass could judge it, for whatever reason; among those that are gone, what was never judged.
UNJUDGED: ColumnElement[bool] = and_(
    images.c.status != ItemStatus.CHECKED, or_(images.c.status != ItemStatus.GONE, images.c.outcome.is_(None))
)


def is_open() -> tuple[Any, ...]:
    """Of a row that is flagged or unreadable: nothing was done about it yet, and nobody cleared it."""
    return (
        images.c.review != Review.CLEARED,
        images.c.status != ItemStatus.GONE,
        # Only a done action closes the row; a failed, refused or unknown one is for a person to see.
        IS_NOT_DONE,
    )
