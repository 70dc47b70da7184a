"""Actions that were tried and not carried out: how often, which need a person, which are worth another try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from lemmy_safety.ledger.actions.current import IS_OPEN, WITH_ACTION
from lemmy_safety.ledger.actions.records import StuckActions, is_confirmed
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.conditions import FLAGGED, UNREADABLE
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import actions, events, images
from lemmy_safety.ledger.schema.values import EventKind
from lemmy_safety.records import ActionState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.schema.codec import AnyRow

#: From this many refusals of the same bytes on, a person has to look. One is normal: an object can change between its
#: judgement and its deletion, and the next pass judges it again. The same bytes do not change twice.
MANY_REFUSALS = 2

_TRIED = (ActionState.REFUSED, ActionState.FAILED, ActionState.INTENDED)


def count_refusals(connection: Connection, rows: Sequence[AnyRow]) -> dict[int, int]:
    """How often an action on these objects, with their current bytes, was refused or failed; by row id."""
    tried = [row for row in rows if row.action_state in _TRIED]
    found: dict[tuple[int, str, str | None], int] = {}
    for chunk in chunks(tried):
        place = (events.c.storage_id, events.c.key, events.c.sha256)
        query = (
            select(*place, func.count())
            .where(
                events.c.key.in_([row.key for row in chunk]),
                events.c.kind.in_([EventKind.REFUSED, EventKind.FAILED]),
            )
            .group_by(*place)
        )
        for storage_id, key, sha256, number in connection.execute(query):
            found[storage_id, key, sha256] = number
    return {row.id: found.get((row.storage_id, row.key, row.sha256), 0) for row in tried}


def stuck_actions(connection: Connection, storage: str | None, *, due_before: datetime) -> StuckActions:
    failed = again = overdue = asks = 0
    columns = (
        images.c.id,
        images.c.storage_id,
        images.c.key,
        images.c.sha256,
        actions.c.state.label("action_state"),
        actions.c.changed_at.label("action_at"),
        actions.c.asks_since.label("action_asks_since"),
        images.c.review,
        images.c.review_at,
    )
    for which in (FLAGGED, UNREADABLE):
        query = select(*columns).select_from(WITH_ACTION)
        query = query.where(which, IS_OPEN, *_in(connection, storage), actions.c.state.in_(_TRIED))
        rows = connection.execute(query).all()
        refusals = count_refusals(connection, [row for row in rows if row.action_state is ActionState.REFUSED])
        failed += sum(row.action_state is ActionState.FAILED for row in rows)
        again += sum(number >= MANY_REFUSALS for number in refusals.values())
        intended = [row for row in rows if row.action_state is ActionState.INTENDED]
        asking = [row for row in intended if row.action_asks_since is not None and not is_confirmed(row)]
        asks += len(asking)
        overdue += sum(row.action_at < due_before for row in intended) - sum(
            row.action_at < due_before for row in asking
        )
    return StuckActions(failed=failed, refused_again=again, overdue=overdue, asks=asks)


def failed_keys(connection: Connection, storage: str, *, before: datetime) -> list[str]:
    keys: list[str] = []
    for which in (FLAGGED, UNREADABLE):
        query = (
            select(images.c.key)
            .select_from(WITH_ACTION)
            .where(
                which,
                IS_OPEN,
                *_in(connection, storage),
                actions.c.state == ActionState.FAILED,
                actions.c.changed_at < before,
            )
        )
        keys += connection.execute(query.order_by(images.c.id)).scalars()
    return keys


def _in(connection: Connection, storage: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if storage is None else (among_few(storage_id_of(connection, storage)),)
