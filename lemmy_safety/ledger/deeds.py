"""Writing intents, how they ended, and what humans decided, inside one transaction that the caller holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.action_rows import WantedAction, close, drop, retry, subject_of, write_intents
from lemmy_safety.ledger.codec import (
    NO_DECODER,
    flagged_row_of,
    object_columns,
    object_of,
    pending_action_of,
)
from lemmy_safety.ledger.columns import clean_text
from lemmy_safety.ledger.lookups import FULL_ROW, UNJUDGED, is_open
from lemmy_safety.ledger.merging import Decision, holds_no_picture
from lemmy_safety.ledger.models import actions, events, images, storages
from lemmy_safety.ledger.pieces import chunks
from lemmy_safety.ledger.recording import EARLIER, write_decision
from lemmy_safety.ledger.rows import ANCESTOR, EventKind, FlaggedRow, Origin, PendingAction, WantedBy
from lemmy_safety.ledger.storages import ensure_storage, storage_id_of
from lemmy_safety.ledger.uploads.lookups import uploads_named
from lemmy_safety.records import ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.codec import AnyRow
    from lemmy_safety.records import StoredObject

_FINISHED: Mapping[ActionState, EventKind] = {
    ActionState.DONE: EventKind.DONE,
    ActionState.REFUSED: EventKind.REFUSED,
    ActionState.FAILED: EventKind.FAILED,
}

#: States from which an action may be (or already is) intended. A done one needs none, a refused one is judged anew.
_ACTIONABLE = frozenset({ActionState.NONE, ActionState.FAILED, ActionState.INTENDED, ActionState.UNKNOWN})


def intend_actions(
    connection: Connection,
    storage: str,
    keys: Sequence[str],
    action: str | None,
    *,
    unreadable_action: str | None,
    run_id: int | None,
    now: datetime,
) -> list[PendingAction]:
    """Write intents for rows that are flagged, or hold no picture, and wait; those there are already come back as they are."""
    storage_id = storage_id_of(connection, storage)
    pending: list[PendingAction] = []
    for chunk in chunks(keys):
        query = EARLIER.where(images.c.storage_id == storage_id, images.c.key.in_(chunk)).order_by(images.c.id)
        for row in connection.execute(query).all():
            wanted = _action_on(row, action, unreadable_action)
            if wanted is not None and object_of(row) is not None:
                pending.append(_intended(connection, row, {}, wanted, run_id=run_id, now=now))
    return pending


def adopt_row(
    connection: Connection, row_id: int, storage: str, obj: StoredObject, action: str, *, now: datetime
) -> PendingAction | None:
    """Say which object a row of the ancestor is about, and intend an action on it."""
    row = connection.execute(EARLIER.where(images.c.id == row_id)).one_or_none()
    if row is None or row.origin is not Origin.ANCESTOR or row.key != obj.key:
        raise LedgerError(
            f"Row {row_id} of the ledger is not one that the earlier tool wrote about {obj.key!r}.", hint=""
        )
    if _action_on(row, action, None) is None:
        return None
    described = {"storage_id": ensure_storage(connection, storage), **object_columns(obj)}
    return _intended(connection, row, described, action, run_id=None, now=now)


def _action_on(row: AnyRow, action: str | None, unreadable_action: str | None) -> str | None:
    """Which of the two is wanted for this row; None when neither is."""
    waits = row.review is not Review.CLEARED and row.status is not ItemStatus.GONE and row.action_state in _ACTIONABLE
    if waits and row.outcome is Outcome.FLAGGED:
        return action
    if waits and holds_no_picture(row.status, row.outcome, row.sha256, decoder_broke=row.decoder_broke):
        return unreadable_action
    return None


def _intended(
    connection: Connection, row: AnyRow, described: Mapping[str, Any], action: str, *, run_id: int | None, now: datetime
) -> PendingAction:
    if described:
        connection.execute(images.update().where(images.c.id == row.id).values(described))
    if row.action_state is not ActionState.INTENDED:
        place = {**_place(row), "storage_id": described.get("storage_id", row.storage_id)}
        connection.execute(
            events.insert().values(_event(place, EventKind.INTENDED, {"action": action}, now, run_id=run_id))
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
    connection.execute(events.insert().values(_event(_place(row), kind, told, now)))


def decide(
    connection: Connection, keys: Sequence[str], decision: Review, note: str, now: datetime, *, storage: str | None
) -> tuple[list[FlaggedRow], list[str]]:
    """Write a human's decision on all rows of these keys and of their bytes; the rows, and the keys without any.

    An upload that was refused has no key. It is named by its SHA-256, or enough of its beginning.

    :raises LedgerError: a key stands for different bytes in several storages, and nobody said which.
    """
    places = select(storages.c.id)  # named, because the index on keys begins with the storage
    if storage is not None:
        places = places.where(storages.c.name.in_([storage, ANCESTOR]))
    hits: dict[int, AnyRow] = {}
    for chunk in chunks(keys):
        query = EARLIER.where(images.c.storage_id.in_(places), images.c.key.in_(chunk))
        hits.update((row.id, row) for row in connection.execute(query))
    _see_that_keys_are_clear(hits.values())
    unknown = set(keys) - {row.key for row in hits.values()}
    named = uploads_named(connection, sorted(unknown))
    unknown -= named.keys()
    hashes = sorted({row.sha256 for row in hits.values() if row.sha256 is not None} | set(named.values()))
    write_decision(connection, hashes, Decision(review=decision, note=clean_text(note), at=now))
    for chunk in chunks(hashes):
        copies = EARLIER.where(images.c.sha256.in_(chunk))
        hits.update((row.id, row) for row in connection.execute(copies))

    # A dropped action still counts for its object: if it is under way, the ledger must learn that it was done.
    dropped = [row for row in hits.values() if decision is Review.CLEARED and row.action_state is ActionState.INTENDED]
    told = {"decision": decision.value, "note": note}
    audit = [_event(_place(row), EventKind.REVIEWED, told, now) for row in hits.values()]
    audit += [_event(_place(row), EventKind.DROPPED, {"why": "cleared by a human"}, now) for row in dropped]
    audit += [
        _event({"storage_id": None, "key": None, "sha256": sha256}, EventKind.REVIEWED, told, now)
        for sha256 in sorted(set(named.values()) - {row.sha256 for row in hits.values()})
    ]
    if audit:
        connection.execute(events.insert(), audit)
    values = {"review": decision, "review_note": clean_text(note), "review_at": now}
    for ids in chunks(sorted(hits)):
        connection.execute(images.update().where(images.c.id.in_(ids)).values(values))
    drop(connection, [row.action_id for row in dropped], "cleared by a human", now)

    changed: list[FlaggedRow] = []
    for ids in chunks(sorted(hits)):
        full = FULL_ROW.where(images.c.id.in_(ids)).order_by(images.c.id)
        changed.extend(flagged_row_of(row) for row in connection.execute(full))
    return changed, [key for key in dict.fromkeys(keys) if key in unknown]


def ask_for_another_look(connection: Connection, row_ids: Sequence[int], now: datetime) -> int:
    """Let the next pass read these objects again; how many of them it will read.

    What was to be done about one for being unreadable is dropped: it may turn out to be a picture. Left out are objects
    that were judged at the last attempt, and those that are gone, deleted, or cleared by a human.
    """
    to_be_read = 0
    for chunk in chunks(row_ids):
        query = EARLIER.where(images.c.id.in_(chunk), UNJUDGED, *is_open())
        rows = connection.execute(query).all()
        to_be_read += len(rows)
        settled = [row for row in rows if row.status.settled]  # the others are read again as it is
        connection.execute(
            images.update().where(images.c.id.in_([row.id for row in settled])).values(decoder=NO_DECODER)
        )
        unflagged = [row for row in settled if row.outcome is None]
        # As in decide(), an action that is under way must still be able to say how it ended.
        dropped = [row for row in unflagged if row.action_state is ActionState.INTENDED]
        if dropped:
            why = {"why": "to be read again"}
            connection.execute(events.insert(), [_event(_place(row), EventKind.DROPPED, why, now) for row in dropped])
        drop(connection, [row.action_id for row in dropped], "to be read again", now)
        ended = [row.id for row in unflagged if row not in dropped]
        connection.execute(images.update().where(images.c.id.in_(ended)).values(action_id=None))
    return to_be_read


def _see_that_keys_are_clear(rows: Iterable[AnyRow]) -> None:
    meant: dict[str, str] = {}
    for row in rows:
        if row.sha256 is not None and meant.setdefault(row.key, row.sha256) != row.sha256:
            raise LedgerError(
                f"{row.key!r} lies in several storages with different bytes; nothing was recorded.",
                hint="Say with --storage which one is meant.",
            )


def _place(row: AnyRow) -> dict[str, Any]:
    return {"storage_id": row.storage_id, "key": row.key, "sha256": row.sha256}


def _event(
    place: Mapping[str, Any], kind: EventKind, detail: Mapping[str, Any], now: datetime, *, run_id: int | None = None
) -> dict[str, Any]:
    return {**place, "kind": kind, "detail": detail, "at": now, "run_id": run_id}
