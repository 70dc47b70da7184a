"""Questions about objects that depend on flags elsewhere: on the same bytes, or on the original of a variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.conditions import FLAGGED, IS_VARIANT
from lemmy_safety.ledger.schema.storages import among_few, storage_id_of
from lemmy_safety.ledger.schema.tables import images
from lemmy_safety.ledger.verdicts.flags import flagged_at_the_door, stands_at_the_door
from lemmy_safety.records import ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: The hook flagged the same bytes since: the verdict written here is no longer valid.
IS_OUTDONE = and_(
    images.c.status == ItemStatus.CHECKED, images.c.outcome != Outcome.FLAGGED, stands_at_the_door(images.c.sha256)
)


def outdone_keys(connection: Connection, storage: str, limit: int) -> list[str]:
    """Looks up the hashes that the hook flagged. In a single query, servers walk over all objects instead."""
    here = among_few(storage_id_of(connection, storage))
    keys: list[str] = []
    for chunk in chunks(flagged_at_the_door(connection)):
        query = select(images.c.key).where(here, images.c.sha256.in_(chunk), IS_OUTDONE).limit(limit - len(keys))
        keys += connection.execute(query).scalars()
        if len(keys) >= limit:
            break
    return keys


def following_a_flag(connection: Connection, storage: str, limit: int) -> list[str]:
    """Keys of variants that were not judged, whose original is flagged now and was not cleared by a person.

    In two steps, because flags are few and variants are not.
    """
    here = storage_id_of(connection, storage)
    flagged = select(images.c.key).where(among_few(here), FLAGGED, images.c.review != Review.CLEARED)
    keys: list[str] = []
    for chunk in chunks(connection.execute(flagged.order_by(images.c.id)).scalars().all()):
        query = select(images.c.key).where(images.c.storage_id == here, images.c.variant_of.in_(chunk), IS_VARIANT)
        keys += connection.execute(query.order_by(images.c.id).limit(limit - len(keys))).scalars()
        if len(keys) >= limit:
            break
    return keys
