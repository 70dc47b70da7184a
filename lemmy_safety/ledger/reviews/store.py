"""The store of reviews: what people list, and what they decide about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.actions.breaker import note_decision
from lemmy_safety.ledger.actions.current import ACTION_COLUMNS, EARLIER, IS_OPEN, WITH_ACTION
from lemmy_safety.ledger.actions.rows import drop
from lemmy_safety.ledger.actions.stuck import count_refusals
from lemmy_safety.ledger.audit import entry, place_of
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.reviews.records import EventRow, ReviewResult, flagged_row_of
from lemmy_safety.ledger.schema.codec import NO_DECODER, checked_keys
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.conditions import FLAGGED, UNJUDGED, UNREADABLE
from lemmy_safety.ledger.schema.tables import events, images, storages
from lemmy_safety.ledger.schema.values import LEGACY, EventKind
from lemmy_safety.ledger.uploads.lookups import uploads_named
from lemmy_safety.ledger.verdicts.decisions import Decision, write_decision
from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from lemmy_safety.ledger.database.database import Database
    from lemmy_safety.ledger.reviews.records import FlaggedRow
    from lemmy_safety.ledger.schema.codec import AnyRow

#: Rows as people see them.
_FULL_ROW = select(images, *ACTION_COLUMNS, storages.c.name.label("storage")).select_from(
    WITH_ACTION.join(storages, images.c.storage_id == storages.c.id)
)

_CLEARED = "cleared by a human"

#: Rows read at a time; no transaction is open between two pages, since it would delay a checkpoint.
PAGE = 500


class Reviews:
    """What a person sees of objects, and decides about their bytes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def flagged(
        self, *, storage: str | None = None, include_settled: bool = False, after_id: int = 0
    ) -> Iterator[FlaggedRow]:
        """Flagged rows by rising id, lazily, in bounded memory; rows written meanwhile may or may not appear.

        Without ``include_settled`` only open ones: not cleared by a person, not done, not gone. Legacy rows are
        open, because it is unknown whether the legacy tool acted; they belong to every ``storage``, and their ``obj``
        is None
        until a pass has judged them.
        """
        return self._pages(FLAGGED, storage, include_settled=include_settled, after_id=after_id)

    def unreadable(
        self, *, storage: str | None = None, include_settled: bool = False, after_id: int = 0
    ) -> Iterator[FlaggedRow]:
        """Undecodable objects, listed as ``flagged`` lists the flagged ones. None of them is flagged."""
        return self._pages(UNREADABLE, storage, include_settled=include_settled, after_id=after_id)

    def unjudged(
        self, *, storage: str | None = None, include_settled: bool = False, after_id: int = 0
    ) -> Iterator[FlaggedRow]:
        """Objects whose last attempt ended without a verdict, for any reason, listed as ``flagged`` lists the flagged.

        ``include_settled`` adds those that are gone and were never judged. Walks the whole table, so it takes seconds
        at
        10 million rows.
        """
        return self._pages(UNJUDGED, storage, include_settled=include_settled, after_id=after_id)

    def _pages(
        self, which: ColumnElement[bool], storage: str | None, *, include_settled: bool, after_id: int
    ) -> Iterator[FlaggedRow]:
        query = _FULL_ROW.where(which).order_by(images.c.id).limit(PAGE)
        if storage is not None:
            query = query.where(storages.c.name.in_([storage, LEGACY]))
        if not include_settled:
            query = query.where(IS_OPEN)
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query.where(images.c.id > after_id)).all()
                refusals = count_refusals(connection, rows)
            page = [flagged_row_of(row, refusals=refusals.get(row.id, 0)) for row in rows]
            yield from page
            if len(page) < PAGE:
                return
            after_id = page[-1].id

    def history(self, key: str) -> list[EventRow]:
        """The audit of one key, in all storages, in order. Objects that were always clear have none."""
        checked_keys([key])
        query = (
            select(events, storages.c.name.label("storage"))
            .join(storages, events.c.storage_id == storages.c.id, isouter=True)
            .where(events.c.key == key)
            .order_by(events.c.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
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
            for row in rows
        ]

    def decide(
        self, keys: Sequence[str], decision: Review, *, note: str = "", storage: str | None = None
    ) -> ReviewResult:
        """Record a person's decision on these keys, in one storage or in all, and on every key with the same bytes.

        An upload that the hook refused has no key; it is named by its SHA-256, or by 16 or more of its first
        digits. Clearing drops an intended action. ``Review.NONE`` withdraws a decision.

        :raises LedgerError: a key stands for different bytes in several storages, and ``storage`` does not say which.
        """
        checked_keys(keys)
        now = self._database.now()
        decided = Decision(review=decision, note=clean_text(note), at=now)
        with self._database.writing() as connection:
            hits = _rows_with(connection, keys, storage)
            _check_keys_unambiguous(hits.values())
            unknown = set(keys) - {row.key for row in hits.values()}
            named = uploads_named(connection, sorted(unknown))
            unknown -= named.keys()
            hashes = sorted({row.sha256 for row in hits.values() if row.sha256 is not None} | set(named.values()))
            write_decision(connection, hashes, decided)
            for chunk in chunks(hashes):
                copies = EARLIER.where(images.c.sha256.in_(chunk))
                hits.update((row.id, row) for row in connection.execute(copies))
            if hits or named:
                note_decision(connection, now)

            # A dropped action still applies to its object: if it is under way, the ledger must record that it was done.
            dropped = [
                row for row in hits.values() if decision is Review.CLEARED and row.action_state is ActionState.INTENDED
            ]
            only_uploaded = sorted(set(named.values()) - {row.sha256 for row in hits.values()})
            audit = _audit_of(hits.values(), dropped, only_uploaded, {"decision": decision.value, "note": note}, now)
            if audit:
                connection.execute(events.insert(), audit)
            for ids in chunks(sorted(hits)):
                connection.execute(images.update().where(images.c.id.in_(ids)).values(decided.columns))
            drop(connection, [row.action_id for row in dropped], _CLEARED, now)

            changed: list[FlaggedRow] = []
            for ids in chunks(sorted(hits)):
                full = _FULL_ROW.where(images.c.id.in_(ids)).order_by(images.c.id)
                changed.extend(flagged_row_of(row) for row in connection.execute(full))
        return ReviewResult(changed=tuple(changed), unknown=tuple(key for key in dict.fromkeys(keys) if key in unknown))

    def read_again(self, row_ids: Sequence[int]) -> int:
        """Make the next pass over each object's storage read it again, changed or not; returns how many objects.

        Drops an action that was intended because the object was unreadable. Leaves out rows that ``unjudged`` would not
        list as open.
        """
        to_be_read, now = 0, self._database.now()
        with self._database.writing() as connection:
            for chunk in chunks(row_ids):
                query = EARLIER.where(images.c.id.in_(chunk), UNJUDGED, IS_OPEN)
                rows = connection.execute(query).all()
                to_be_read += len(rows)
                settled = [row for row in rows if row.status.settled]  # the others are read again anyway
                connection.execute(
                    images.update().where(images.c.id.in_([row.id for row in settled])).values(decoder=NO_DECODER)
                )
                unflagged = [row for row in settled if row.outcome is None]
                # As in decide(), an action that is under way must still be able to record how it ended.
                dropped = [row for row in unflagged if row.action_state is ActionState.INTENDED]
                if dropped:
                    why = {"why": "to be read again"}
                    connection.execute(
                        events.insert(), [entry(place_of(row), EventKind.DROPPED, why, now) for row in dropped]
                    )
                drop(connection, [row.action_id for row in dropped], "to be read again", now)
                ended = [row.id for row in unflagged if row not in dropped]
                connection.execute(images.update().where(images.c.id.in_(ended)).values(action_id=None))
        return to_be_read


def _rows_with(connection: Connection, keys: Sequence[str], storage: str | None) -> dict[int, AnyRow]:
    """Rows of ``EARLIER`` with these keys, by number: in one storage, or in all."""
    places = select(storages.c.id)  # named, because the index on keys begins with the storage
    if storage is not None:
        places = places.where(storages.c.name.in_([storage, LEGACY]))
    found: dict[int, AnyRow] = {}
    for chunk in chunks(keys):
        query = EARLIER.where(images.c.storage_id.in_(places), images.c.key.in_(chunk))
        found.update((row.id, row) for row in connection.execute(query))
    return found


def _audit_of(
    rows: Collection[AnyRow],
    dropped: Sequence[AnyRow],
    only_uploaded: Sequence[str],
    told: Mapping[str, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """Entries for a decision on rows, some of whose actions are dropped, and on uploads by their SHA-256."""
    places = [place_of(row) for row in rows]
    uploads = [{"storage_id": None, "key": None, "sha256": sha256} for sha256 in only_uploaded]
    return [
        *(entry(place, EventKind.REVIEWED, told, now) for place in places),
        *(entry(place_of(row), EventKind.DROPPED, {"why": _CLEARED}, now) for row in dropped),
        *(entry(place, EventKind.REVIEWED, told, now) for place in uploads),
    ]


def _check_keys_unambiguous(rows: Iterable[AnyRow]) -> None:
    meant: dict[str, str] = {}
    for row in rows:
        if row.sha256 is not None and meant.setdefault(row.key, row.sha256) != row.sha256:
            raise LedgerError(
                f"{row.key!r} lies in several storages with different bytes; nothing was recorded.",
                hint="Say with --storage which one is meant.",
            )
