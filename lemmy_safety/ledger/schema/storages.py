"""The numbers of storages, which all other tables refer to. Each function works on the caller's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.schema.tables import images, storages
from lemmy_safety.ledger.schema.values import LEGACY

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Insert


def storage_id_of(connection: Connection, name: str) -> int | None:
    return connection.execute(select(storages.c.id).where(storages.c.name == name)).scalar_one_or_none()


def among_few(storage_id: int | None) -> ColumnElement[bool]:
    """Rows of one storage, among the few that another condition of the query finds.

    A storage may hold every row of the table. SQLite, which has no statistics here, still prefers the storage's index
    and
    walks over the whole storage; so this uses the column in a form that no index has.
    """
    return images.c.storage_id + 0 == storage_id


def new_id(connection: Connection, statement: Insert) -> int:
    """Insert one row; returns its number."""
    (number,) = connection.execute(statement).inserted_primary_key or (None,)
    if number is None:
        raise LedgerError("The database gave a new row no number.")
    return int(number)


def ensure_storage(connection: Connection, name: str) -> int:
    """The storage's number, created on first use.

    :raises ValueError: the name is the reserved one.
    """
    if name == LEGACY:
        raise ValueError(f"{LEGACY!r} is not a storage that can be scanned")
    found = storage_id_of(connection, name)
    if found is None:
        found = new_id(connection, storages.insert().values(name=name))
    return found
