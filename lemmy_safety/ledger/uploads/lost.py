"""Unchecked uploads that were removed before they were judged: which ones a full sweep proves to be gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, case, func, or_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.conditions import IS_UNCHECKED
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import images, storages, uploads
from lemmy_safety.ledger.schema.values import LEGACY, UNSAID
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection


def belonging(connection: Connection, storage_id: int) -> set[str]:
    """Unchecked uploads that must be in this storage, if they still exist, and that cannot be one of its unread
    objects.

    A hook whose settings name this storage accepted them. If its settings name none, the storage itself is the proof:
    it
    has received a later upload that the hook accepted, and no other storage that was ever read holds any. A copy that a
    person made before has received none, and neither has any other folder. Uploads from before hooks recorded a storage
    count as belonging to the only storage that the database knows, if there is just one.
    """
    real = storages.c.name.not_in([LEGACY, UNSAID])
    is_only_one = ~select(storages.c.id).where(real, storages.c.id != storage_id).exists()
    unsaid = storage_id_of(connection, UNSAID)
    not_named = or_(uploads.c.storage_id.is_(None), uploads.c.storage_id == unsaid)
    here = and_(uploads.c.storage_id.is_(None), is_only_one)
    received_until = _received_until(connection, storage_id)
    if received_until is not None and not _others_hold_some(connection, storage_id):
        here = or_(here, and_(not_named, uploads.c.last_at < received_until))
    never_had = (
        select(images.c.id)
        .where(
            among_few(storage_id),
            images.c.sha256.is_(None),
            images.c.size == uploads.c.size,
            images.c.status.not_in([ItemStatus.GONE, ItemStatus.VARIANT]),  # pict-rs made variants itself
        )
        .exists()
    )
    query = select(uploads.c.sha256).where(IS_UNCHECKED, or_(uploads.c.storage_id == storage_id, here), ~never_had)
    return set(connection.execute(query).scalars())


def _received_until(connection: Connection, storage_id: int) -> datetime | None:
    """If this storage has received an upload, the time up to which earlier uploads belong here; None if it received
    none.

    One walk over the uploads, however many of them are unchecked.
    """
    earlier_time = case((uploads.c.first_at < images.c.modified_at, uploads.c.first_at), else_=images.c.modified_at)
    received = select(func.max(earlier_time)).where(
        images.c.sha256 == uploads.c.sha256, among_few(storage_id), images.c.status != ItemStatus.GONE
    )
    query = select(func.max(received.correlate(uploads).scalar_subquery()))
    until: datetime | None = connection.execute(query.select_from(uploads)).scalar_one()
    return until


def _others_hold_some(connection: Connection, storage_id: int) -> bool:
    elsewhere = select(images.c.id).where(images.c.sha256 == uploads.c.sha256, images.c.storage_id != storage_id)
    return connection.execute(select(uploads.c.sha256).where(elsewhere.exists()).limit(1)).first() is not None


def settle(
    connection: Connection, before: datetime, reason: str, now: datetime, *, among: Collection[str] | None = None
) -> int:
    """Remove from the list what was accepted before a time (of ``among``, if given) and not found since."""
    values = {"status": ItemStatus.GONE, "reason": clean_text(reason), "judged_at": now}
    lost = uploads.update().where(IS_UNCHECKED, uploads.c.last_at < before).values(values)
    if among is None:
        return connection.execute(lost).rowcount
    parts = (lost.where(uploads.c.sha256.in_(chunk)) for chunk in chunks(sorted(among)))
    return sum(connection.execute(part).rowcount for part in parts)
