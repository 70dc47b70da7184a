"""Writes the results of a pass, inside the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select

from lemmy_safety.ledger.actions.current import EARLIER
from lemmy_safety.ledger.actions.records import PendingAction, pending_action_of
from lemmy_safety.ledger.actions.rows import WantedAction, drop, subject_of, write_intents
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.rules import EarlierRow, merge, overruled
from lemmy_safety.ledger.schema.codec import object_of
from lemmy_safety.ledger.schema.storages import ensure_storage, storage_id_of
from lemmy_safety.ledger.schema.tables import events, images
from lemmy_safety.ledger.schema.values import LEGACY, EventKind, Origin, WantedBy
from lemmy_safety.ledger.uploads.recording import settle_unchecked
from lemmy_safety.ledger.verdicts.decisions import Decision, decisions_on, write_decision
from lemmy_safety.ledger.verdicts.flags import Judgements
from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.rules import Change, PassTerms
    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import ItemResult, ItemStatus


def record_results(
    connection: Connection,
    storage: str,
    results: Sequence[ItemResult],
    terms: PassTerms,
    *,
    now: datetime,
) -> list[PendingAction]:
    """Merge a batch into the ledger; returns the actions that it decided."""
    storage_id = ensure_storage(connection, storage)
    pending: list[PendingAction] = []
    for batch in _without_repeats(results):
        earlier = _earlier_rows(connection, storage_id, [result.obj.key for result in batch])
        hashes = {result.assessment.sha256 for result in batch if result.assessment.sha256}
        decisions = decisions_on(connection, hashes)
        judgements = Judgements(connection, hashes, now)
        writes = _Writes(storage_id, terms.run_id, now)
        effective: list[ItemResult] = []
        for result in batch:
            row = earlier.get(result.obj.key)
            before = None if row is None else earlier_row_of(row)
            decision = _decision(row, before, result, decisions)
            sha256 = result.assessment.sha256
            if decision is not None and sha256 is not None and sha256 not in decisions:
                # The decision was made before its hash was known.
                write_decision(connection, [sha256], decision)
                decisions[sha256] = decision
            flag = judgements.note(result.assessment, key=result.obj.key, looked=result.reused_from is None)
            effective.append(result if flag is None else overruled(result, flag))
            change = merge(before, result, flag=flag, decision=decision, terms=terms)
            writes.add(row, result, change)
        writes.send(connection)
        settle_unchecked(connection, storage_id, effective, now)
        for keys in chunks(writes.intended):
            query = EARLIER.where(images.c.storage_id == storage_id, images.c.key.in_(keys))
            pending.extend(pending_action_of(row) for row in connection.execute(query.order_by(images.c.id)))
    return pending


def _without_repeats(results: Sequence[ItemResult]) -> Iterable[list[ItemResult]]:
    """The results in order, split where a key repeats, so that the second result sees what the first one wrote."""
    batch: dict[str, ItemResult] = {}
    for result in results:
        if result.obj.key in batch:
            yield list(batch.values())
            batch = {}
        batch[result.obj.key] = result
    if batch:
        yield list(batch.values())


class _Writes:
    """Statements of one batch, grouped so that each kind is sent once."""

    def __init__(self, storage_id: int, run_id: int, now: datetime) -> None:
        #: Keys with a new intent.
        self.intended: list[str] = []
        self._wanted: dict[str, tuple[str, datetime | None]] = {}
        self._dropped: list[tuple[int, str]] = []
        self._storage_id = storage_id
        self._run_id = run_id
        self._now = now
        self._common = {"storage_id": storage_id, "run_id": run_id, "checked_at": now}
        self._inserts: list[dict[str, Any]] = []
        self._updates: dict[frozenset[str], list[dict[str, Any]]] = {}
        self._events: list[dict[str, Any]] = []

    def add(self, row: AnyRow | None, result: ItemResult, change: Change) -> None:
        failed_passes = self._failed_passes(row, result.assessment.status)
        values = {**change.values, **self._common, "failed_passes": failed_passes}
        for kind, detail in change.events:
            self._add_event(result, kind, detail)
            if kind is EventKind.DROPPED and row is not None:
                self._dropped.append((row.action_id, detail["why"]))
        if change.intends is not None:
            self._add_event(result, EventKind.INTENDED, {"action": change.intends})
            self.intended.append(result.obj.key)
            self._wanted[result.obj.key] = (change.intends, _approval(row, result, change.intends))
        if row is None:
            self._inserts.append({"key": result.obj.key, **values})
        else:
            # storage_id is among the values: a legacy row moves to the storage where its key was found.
            self._updates.setdefault(frozenset(values), []).append({"row_id": row.id, **values})

    def _failed_passes(self, row: AnyRow | None, status: ItemStatus) -> int:
        if status.settled:
            return 0
        if row is None or not row.failed_passes:
            return 1
        another_pass = row.run_id != self._run_id
        return int(row.failed_passes) + int(another_pass)

    def _add_event(self, result: ItemResult, kind: EventKind, detail: Mapping[str, Any]) -> None:
        self._events.append(
            {
                "at": self._common["checked_at"],
                "storage_id": self._common["storage_id"],
                "key": result.obj.key,
                "sha256": result.assessment.sha256,
                "kind": kind,
                "detail": detail,
                "run_id": self._common["run_id"],
            }
        )

    def send(self, connection: Connection) -> None:
        if self._inserts:
            connection.execute(images.insert(), self._inserts)
        for names, rows in self._updates.items():
            # Prefixed, because SQLAlchemy reserves the plain column names in an UPDATE.
            connection.execute(
                images.update()
                .where(images.c.id == bindparam("row_id"))
                .values({name: bindparam(f"new_{name}") for name in sorted(names)}),
                [{"row_id": row["row_id"], **{f"new_{name}": row[name] for name in names}} for row in rows],
            )
        for action_id, why in self._dropped:
            drop(connection, [action_id], why, self._now)
        self._write_intents(connection)
        if self._events:
            connection.execute(events.insert(), self._events)

    def _write_intents(self, connection: Connection) -> None:
        storage_id = self._storage_id
        columns = (images.c.id, images.c.key, images.c.sha256, images.c.judgement)
        wanted: list[WantedAction] = []
        for keys in chunks(self.intended):
            query = select(*columns).where(images.c.storage_id == storage_id, images.c.key.in_(keys))
            for row in connection.execute(query.order_by(images.c.id)):
                kind, approved_at = self._wanted[row.key]
                wanted.append(
                    WantedAction(
                        image_id=row.id,
                        kind=kind,
                        judgement=row.judgement,
                        subject=subject_of(row.sha256, storage_id, row.key),
                        approved_at=approved_at,
                    )
                )
        write_intents(connection, wanted, by=WantedBy.PASS, run_id=self._run_id, now=self._now)


def _approval(row: AnyRow | None, result: ItemResult, action: str) -> datetime | None:
    """When a person approved the action that this one follows: on the same bytes, and not carried out yet."""
    if row is None or row.action_state is not ActionState.INTENDED or row.action_wanted != action:
        return None
    approved_at: datetime | None = row.action_approved_at
    return approved_at if row.sha256 is not None and row.sha256 == result.assessment.sha256 else None


def _earlier_rows(connection: Connection, storage_id: int, keys: Sequence[str]) -> dict[str, AnyRow]:
    """The known row of each key: the storage's own, else the legacy one."""
    legacy_id = storage_id_of(connection, LEGACY)
    found: dict[str, AnyRow] = {}
    for chunk in chunks(keys):
        query = EARLIER.where(images.c.storage_id.in_([storage_id, legacy_id]), images.c.key.in_(chunk))
        for row in connection.execute(query):
            if row.key not in found or row.storage_id == storage_id:
                found[row.key] = row
    return found


def earlier_row_of(row: AnyRow) -> EarlierRow:
    return EarlierRow(
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
        judgement=row.judgement,
    )


def _decision(
    row: AnyRow | None,
    before: EarlierRow | None,
    result: ItemResult,
    by_hash: Mapping[str, Decision],
) -> Decision | None:
    sha256 = result.assessment.sha256
    if sha256 is not None and sha256 in by_hash:
        return by_hash[sha256]
    if row is None or before is None or before.review is Review.NONE:
        return None
    # A legacy row was judged by its key, which pict-rs never gives to other bytes.
    if before.origin is Origin.LEGACY or before.same_content_as(result.obj, sha256):
        return Decision(review=row.review, note=row.review_note, at=row.review_at)
    return None
