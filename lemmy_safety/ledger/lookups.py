"""Reading the ledger: each function asks on a connection that the caller holds, in pieces that every database takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from lemmy_safety.ledger.codec import (
    object_of,
    pending_action_of,
)
from lemmy_safety.ledger.current_action import ACTING, ACTION_COLUMNS, IS_NOT_DONE, WITH_ACTION
from lemmy_safety.ledger.flags import flagged_at_the_door, stands_at_the_door
from lemmy_safety.ledger.merging import EarlierRow, standing
from lemmy_safety.ledger.models import (
    IS_FLAGGED,
    IS_INTENDED,
    IS_READ_AGAIN,
    IS_REFUSED,
    IS_RETRYABLE,
    IS_UNREADABLE,
    actions,
    events,
    images,
    runs,
    storages,
)
from lemmy_safety.ledger.pieces import chunks
from lemmy_safety.ledger.rows import ANCESTOR, EventRow, Known, PendingAction
from lemmy_safety.ledger.storages import among_few, storage_id_of
from lemmy_safety.records import ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.codec import AnyRow
    from lemmy_safety.records import StoredObject

#: Rows of ``flagged()`` read at a time; between two pieces no transaction is open that would hold back a checkpoint.
FLAGGED_PAGE = 500

#: The same bytes were flagged at the door since: what is written here does not hold any more.
_IS_OUTDONE = and_(
    images.c.status == ItemStatus.CHECKED, images.c.outcome != Outcome.FLAGGED, stands_at_the_door(images.c.sha256)
)

FULL_ROW = select(images, *ACTION_COLUMNS, storages.c.name.label("storage")).select_from(
    WITH_ACTION.join(storages, images.c.storage_id == storages.c.id)
)


def known(
    connection: Connection, storage: str, objects: Sequence[StoredObject], *, detectors: frozenset[str], decoder: str
) -> dict[str, Known]:
    places = [storage_id_of(connection, name) for name in (storage, ANCESTOR)]
    places = [place for place in places if place is not None]
    found: dict[str, Known] = {}
    for chunk in chunks(objects):
        listed = {obj.key: obj for obj in chunk}
        query = select(
            images.c.key,
            images.c.size,
            images.c.modified_at,
            images.c.etag,
            images.c.sha256,
            images.c.status,
            images.c.decoder,
            images.c.decoder_broke,
            images.c.outcome,
            images.c.detectors,
            *ACTION_COLUMNS,
            images.c.review,
            images.c.origin,
            _IS_OUTDONE.label("is_outdone"),
        )
        query = query.select_from(WITH_ACTION).where(images.c.storage_id.in_(places), images.c.key.in_(list(listed)))
        for row in connection.execute(query):
            before = EarlierRow(
                obj=object_of(row),
                sha256=row.sha256,
                status=row.status,
                decoder=row.decoder,
                decoder_broke=row.decoder_broke,
                outcome=row.outcome,
                detectors=row.detectors,
                action_state=row.action_state,
                review=row.review,
                origin=row.origin,
                judgement=0,  # of no matter here
            )
            answer = standing(before, listed[row.key], detectors=detectors, decoder=decoder)
            if answer is not None and not row.is_outdone:
                found[row.key] = answer
    return found


def retryable(connection: Connection, storage: str, limit: int) -> list[str]:
    query = (
        select(images.c.key)
        .where(images.c.storage_id == storage_id_of(connection, storage), IS_RETRYABLE)
        .order_by(images.c.checked_at)
        .limit(limit)
    )
    failed = list(connection.execute(query).scalars())
    # An object that was not what had been judged is to be judged anew, however old its time of modification is.
    refused = (
        select(images.c.key)
        .select_from(ACTING)
        .where(
            among_few(storage_id_of(connection, storage)),
            IS_REFUSED,
            or_(IS_FLAGGED, IS_UNREADABLE),
            images.c.status != ItemStatus.GONE,
        )
    )
    asked = select(images.c.key).where(images.c.storage_id == storage_id_of(connection, storage), IS_READ_AGAIN)
    again = [
        key
        for query in (refused, asked)
        for key in connection.execute(query.order_by(images.c.id).limit(limit)).scalars()
    ]
    return list(dict.fromkeys([*failed, *again, *_outdone_keys(connection, storage, limit)]))


def _outdone_keys(connection: Connection, storage: str, limit: int) -> list[str]:
    """By the hashes that the door flagged: asked in one query, servers walk over the objects instead."""
    here = among_few(storage_id_of(connection, storage))
    keys: list[str] = []
    for chunk in chunks(flagged_at_the_door(connection)):
        query = select(images.c.key).where(here, images.c.sha256.in_(chunk), _IS_OUTDONE).limit(limit - len(keys))
        keys += connection.execute(query).scalars()
        if len(keys) >= limit:
            break
    return keys


def is_intended(connection: Connection, action_id: int) -> bool:
    query = (
        select(images.c.id)
        .select_from(ACTING)
        .where(actions.c.id == action_id, IS_INTENDED, images.c.review != Review.CLEARED)
    )
    return connection.execute(query).first() is not None


def described(connection: Connection, storage: str, key: str) -> StoredObject | None:
    query = select(images).where(images.c.storage_id == storage_id_of(connection, storage), images.c.key == key)
    row = connection.execute(query).one_or_none()
    return None if row is None else object_of(row)


def unfinished_actions(connection: Connection, storage: str) -> list[PendingAction]:
    query = (
        select(images, *ACTION_COLUMNS)
        .select_from(ACTING)
        .where(among_few(storage_id_of(connection, storage)), IS_INTENDED)
        .order_by(images.c.id)
    )
    return [pending_action_of(row) for row in connection.execute(query)]


#: Which rows a page is of.
FLAGGED: ColumnElement[bool] = IS_FLAGGED
UNREADABLE: ColumnElement[bool] = and_(IS_UNREADABLE, images.c.outcome.is_(None))

#: No pass could judge it, for whatever reason; among those that are gone, what was never judged.
UNJUDGED: ColumnElement[bool] = and_(
    images.c.status != ItemStatus.CHECKED, or_(images.c.status != ItemStatus.GONE, images.c.outcome.is_(None))
)


def page(
    connection: Connection, which: ColumnElement[bool], *, storage: str | None, include_settled: bool, after_id: int
) -> Sequence[AnyRow]:
    query = FULL_ROW.where(which, images.c.id > after_id).order_by(images.c.id).limit(FLAGGED_PAGE)
    if storage is not None:
        query = query.where(storages.c.name.in_([storage, ANCESTOR]))
    if not include_settled:
        query = query.where(*is_open())
    return connection.execute(query).all()


def is_open() -> tuple[Any, ...]:
    """Of a row that is flagged or unreadable: nothing was done about it yet, and nobody cleared it."""
    return (
        images.c.review != Review.CLEARED,
        images.c.status != ItemStatus.GONE,
        # Only a done action closes the row; a failed, refused or unknown one is for a person to see.
        IS_NOT_DONE,
    )


def history(connection: Connection, key: str) -> list[EventRow]:
    query = (
        select(events, storages.c.name.label("storage"))
        .join(storages, events.c.storage_id == storages.c.id, isouter=True)
        .where(events.c.key == key)
        .order_by(events.c.id)
    )
    return [
        EventRow(
            id=row.id,
            at=row.at,
            storage=row.storage,
            key=row.key,
            sha256=row.sha256,
            kind=row.kind,
            detail=row.detail or {},
            run_id=row.run_id,
        )
        for row in connection.execute(query)
    ]


def counts(connection: Connection) -> tuple[dict[ItemStatus, int], dict[Outcome, int], int, int, int, int]:
    """Objects by status and by outcome, open flagged ones, open unreadable ones, acted-on ones, runs.

    From one walk over the table and short ones.
    """
    by_status: dict[ItemStatus, int] = {}
    by_outcome: dict[Outcome, int] = {}
    acted = 0
    query = (
        select(images.c.status, images.c.outcome, actions.c.state, func.count())
        .select_from(WITH_ACTION)
        .group_by(images.c.status, images.c.outcome, actions.c.state)
    )
    for status, outcome, state, number in connection.execute(query):
        by_status[status] = by_status.get(status, 0) + number
        if outcome is not None:
            by_outcome[outcome] = by_outcome.get(outcome, 0) + number
        if state is ActionState.DONE:
            acted += number
    flagged, unreadable = (
        connection.execute(select(func.count()).select_from(WITH_ACTION).where(which, *is_open())).scalar_one()
        for which in (FLAGGED, UNREADABLE)
    )
    passes = connection.execute(select(func.count()).select_from(runs)).scalar_one()
    return by_status, by_outcome, flagged, unreadable, acted, passes
