"""Writes, approves, retries, drops and closes rows of ``actions``, inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from lemmy_safety.ledger.actions.current import ACTING
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.conditions import IS_INTENDED, may_act
from lemmy_safety.ledger.schema.tables import actions, images
from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.values import WantedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAction:
    """An action to record as intended. ``approved_at`` is set if a person approved it for these bytes before."""

    image_id: int
    kind: str
    judgement: int
    subject: str
    approved_at: datetime | None = None


def subject_of(sha256: str | None, storage_id: int, key: str) -> str:
    """What limits count: the same bytes are one subject under every key; if the hash is unknown, the object is."""
    return sha256 if sha256 is not None else f"{storage_id}:{key}"


def write_intents(
    connection: Connection, wanted: Sequence[WantedAction], *, by: WantedBy, run_id: int | None, now: datetime
) -> None:
    """Write new rows, and make each the action that applies to its object."""
    if not wanted:
        return
    values = [
        {
            "image_id": one.image_id,
            "kind": one.kind,
            "state": ActionState.INTENDED,
            "judgement": one.judgement,
            "subject": clean_text(one.subject),
            "detail": "",
            "wanted_by": by,
            "wanted_at": now,
            "changed_at": now,
            "run_id": run_id,
            "approved_at": one.approved_at,
        }
        for one in wanted
    ]
    connection.execute(actions.insert(), values)
    # No RETURNING: SQLite has it only from 3.35 on. An object has at most one intended action.
    for ids in chunks([one.image_id for one in wanted]):
        query = select(actions.c.id, actions.c.image_id).where(actions.c.image_id.in_(ids), IS_INTENDED)
        connection.execute(
            images.update().where(images.c.id == bindparam("of_image")).values(action_id=bindparam("new_action")),
            [{"of_image": row.image_id, "new_action": row.id} for row in connection.execute(query)],
        )


def retry(connection: Connection, action_id: int, now: datetime) -> None:
    """Make the same action due again."""
    values = {"state": ActionState.INTENDED, "detail": "", "changed_at": now}
    connection.execute(actions.update().where(actions.c.id == action_id).values(values))


def drop(connection: Connection, action_ids: Sequence[int], why: str, now: datetime) -> None:
    """Close those that are still intended: they are no longer wanted."""
    values = {"state": ActionState.DROPPED, "detail": why, "changed_at": now}
    for ids in chunks(action_ids):
        connection.execute(actions.update().where(actions.c.id.in_(ids), IS_INTENDED).values(values))


def approve(connection: Connection, action_ids: Sequence[int], now: datetime) -> int:
    """Approve those that are still intended; returns how many."""
    approved = 0
    for ids in chunks(action_ids):
        query = actions.update().where(actions.c.id.in_(ids), IS_INTENDED).values(approved_at=now)
        approved += connection.execute(query).rowcount
    return approved


def is_intended(connection: Connection, action_id: int) -> bool:
    """Whether it is still wanted: intended, about the latest judgement, and not cleared by a person."""
    query = (
        select(images.c.id)
        .select_from(ACTING)
        .where(actions.c.id == action_id, IS_INTENDED, may_act(images.c.outcomes), images.c.review != Review.CLEARED)
    )
    return connection.execute(query).first() is not None


def is_approved(connection: Connection, action_id: int) -> bool:
    query = select(actions.c.id).where(actions.c.id == action_id, actions.c.approved_at.is_not(None))
    return connection.execute(query).first() is not None


def postpone(connection: Connection, action_id: int, detail: str, asks_since: datetime | None) -> None:
    """Record what it waits for, if it is still intended; the first time that it asked is kept."""
    since = actions.c.asks_since if asks_since is None else func.coalesce(actions.c.asks_since, asks_since)
    query = actions.update().where(actions.c.id == action_id, IS_INTENDED)
    connection.execute(query.values(detail=clean_text(detail), asks_since=since))


def close(connection: Connection, action_id: int, state: ActionState, detail: str, now: datetime) -> None:
    """Record how one ended, even if it was dropped while under way."""
    values = {"state": state, "detail": clean_text(detail), "changed_at": now, "asks_since": None}
    connection.execute(actions.update().where(actions.c.id == action_id).values(values))
