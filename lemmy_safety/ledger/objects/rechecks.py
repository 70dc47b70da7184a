"""Queries which objects can be judged again on request, and what is recorded about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.ledger.actions.current import IS_NOT_DONE, WITH_ACTION
from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.schema.codec import checked_keys
from lemmy_safety.ledger.schema.conditions import FLAGGED
from lemmy_safety.ledger.schema.tables import images, storages
from lemmy_safety.ledger.schema.values import LEGACY
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Select

    from lemmy_safety.ledger.database.database import Database

#: Rows read at a time; no transaction is open between two pages.
_PAGE = 500


class Rechecks:
    """Queries for ``lemmy-safety recheck``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, storage: str, since: datetime, *, before: datetime) -> Iterator[str]:
        """Keys of a storage that were last judged from ``since`` on and before ``before`` (aware), lazily.

        Leaves out objects that are gone or deleted, and variants, which were not judged. Walks over the objects, so it takes seconds at 10 million rows.
        """
        after_id = 0
        while True:
            query = (
                _there(storage)
                .where(images.c.id > after_id, images.c.checked_at >= since, images.c.checked_at < before)
                .where(images.c.status != ItemStatus.VARIANT)
                .order_by(images.c.id)
                .limit(_PAGE)
            )
            with self._database.reading() as connection:
                page = connection.execute(query).all()
            yield from (row.key for row in page)
            if len(page) < _PAGE:
                return
            after_id = page[-1].id

    def there(self, storage: str, keys: Sequence[str]) -> set[str]:
        """The keys that this storage is known to hold."""
        return self._among(_there(storage), keys)

    def flagged(self, storage: str, keys: Sequence[str]) -> set[str]:
        """The keys that are flagged in this storage now."""
        return self._among(_there(storage).where(FLAGGED), keys)

    def _among(self, query: Select[tuple[int, str]], keys: Sequence[str]) -> set[str]:
        checked_keys(keys)
        found: set[str] = set()
        with self._database.reading() as connection:
            for chunk in chunks(keys):
                found.update(row.key for row in connection.execute(query.where(images.c.key.in_(chunk))))
        return found


def _there(storage: str) -> Select[tuple[int, str]]:
    """Objects of a storage that may still exist; includes those of the legacy tool, which may be in any storage."""
    places = select(storages.c.id).where(storages.c.name.in_([storage, LEGACY]))
    return (
        select(images.c.id, images.c.key)
        .select_from(WITH_ACTION)
        .where(images.c.storage_id.in_(places), images.c.status != ItemStatus.GONE, IS_NOT_DONE)
    )
