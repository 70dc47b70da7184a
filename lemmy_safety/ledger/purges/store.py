"""The store of removals through pict-rs. What will go is written before pict-rs is asked, and stays on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, select

from lemmy_safety.ledger.database.chunks import chunks
from lemmy_safety.ledger.purges.records import Purge, PurgeAlias
from lemmy_safety.ledger.schema.codec import checked_keys
from lemmy_safety.ledger.schema.columns import clean_text
from lemmy_safety.ledger.schema.storages import ensure_storage, new_id, storage_id_of
from lemmy_safety.ledger.schema.tables import actions, images, purge_aliases, purge_keys, purges
from lemmy_safety.records import ActionState, PurgeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.database.database import Database

_OPEN = (PurgeState.PLANNED, PurgeState.SENT)

#: The action that leaves no object behind; others keep it elsewhere.
_DELETE = "delete"


class Purges:
    """Removals by number. A picture has at most one that is open; it can come back and be removed again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_for(self, storage: str, key: str) -> Purge | None:
        """The open removal that this object belongs to."""
        with self._database.reading() as connection:
            found = _open_for(connection, storage_id_of(connection, storage), [key])
            return None if found is None else _purge(connection, found)

    def plan(
        self,
        storage: str,
        *,
        sha256: str | None,
        original: str,
        aliases: Sequence[PurgeAlias],
        keys: Sequence[str],
    ) -> Purge:
        """Write down what goes with a picture, and return its open removal; what an open one has already stays in it.

        :raises PassRunning: the calling pass has lost its lease.
        """
        all_keys = sorted({original, *keys})
        checked_keys(all_keys)
        with self._database.writing() as connection:
            storage_id = ensure_storage(connection, storage)
            found = _open_for(connection, storage_id, [original])
            if found is None:
                values = {
                    "storage_id": storage_id,
                    "sha256": sha256,
                    "original": original,
                    "state": PurgeState.PLANNED,
                    "planned_at": self._database.now(),
                    "tries": 0,
                }
                found = new_id(connection, purges.insert().values(values))
            _add_keys(connection, found, all_keys)
            _add_aliases(connection, found, aliases)
            return _purge(connection, found)

    def add_aliases(self, purge_id: int, names: Iterable[str]) -> Purge:
        """Write down names that a picture got since it was planned."""
        with self._database.writing() as connection:
            _add_aliases(connection, purge_id, [PurgeAlias(name) for name in names])
            return _purge(connection, purge_id)

    def sent(self, purge_id: int) -> Purge:
        """Record that pict-rs accepted the request, once more."""
        values = {"state": PurgeState.SENT, "sent_at": self._database.now(), "tries": purges.c.tries + 1}
        with self._database.writing() as connection:
            connection.execute(purges.update().where(purges.c.id == purge_id).values(values))
            return _purge(connection, purge_id)

    def end(self, purge_id: int, state: PurgeState) -> None:
        """Record that it is over: GONE or FAILED."""
        if state in _OPEN:
            raise ValueError(f"a removal cannot end as {state!r}")
        values = {"state": state, "ended_at": self._database.now()}
        with self._database.writing() as connection:
            connection.execute(purges.update().where(purges.c.id == purge_id).values(values))

    def repairs(self, storage: str) -> list[Purge]:
        """The open removals that ``repair`` began, the oldest first."""
        with self._database.reading() as connection:
            query = select(purges.c.id).where(
                purges.c.storage_id == storage_id_of(connection, storage),
                purges.c.state.in_(_OPEN),
                purges.c.repair_at.is_not(None),
            )
            found = connection.execute(query.order_by(purges.c.id)).scalars().all()
            return [_purge(connection, number) for number in found]

    def deleted_files(self, storage: str) -> dict[str, str | None]:
        """Keys whose object an action deleted as a file, with the SHA-256 of what it was (None: not recorded).

        Left out: those removed through pict-rs, then or since.
        """
        with self._database.reading() as connection:
            storage_id = storage_id_of(connection, storage)
            removed = (
                select(purge_keys.c.key)
                .join(purges, purges.c.id == purge_keys.c.purge_id)
                .where(purges.c.storage_id == storage_id, purges.c.state == PurgeState.GONE)
            )
            query = (
                select(images.c.key, images.c.sha256)
                .join(actions, and_(actions.c.image_id == images.c.id, actions.c.id == images.c.action_id))
                .where(
                    images.c.storage_id == storage_id,
                    actions.c.state == ActionState.DONE,
                    actions.c.kind == _DELETE,
                    images.c.key.not_in(removed),
                )
                .order_by(images.c.id)
            )
            return {row.key: row.sha256 for row in connection.execute(query)}

    def untold(self, storage: str, *, since: datetime) -> list[tuple[int, str]]:
        """Removed aliases that caches were not told of, the latest removal first; those that ended from then (aware) on."""
        with self._database.reading() as connection:
            query = (
                select(purge_aliases.c.purge_id, purge_aliases.c.alias)
                .join(purges, purges.c.id == purge_aliases.c.purge_id)
                .where(
                    purges.c.storage_id == storage_id_of(connection, storage),
                    purges.c.state == PurgeState.GONE,
                    purges.c.ended_at >= since,
                    purge_aliases.c.told_at.is_(None),
                )
                .order_by(purge_aliases.c.purge_id.desc(), purge_aliases.c.alias)
            )
            return [(row.purge_id, row.alias) for row in connection.execute(query)]

    def told(self, purge_id: int, alias: str) -> None:
        """Record that caches were told that this alias is gone."""
        where = (purge_aliases.c.purge_id == purge_id, purge_aliases.c.alias == alias)
        with self._database.writing() as connection:
            connection.execute(purge_aliases.update().where(*where).values(told_at=self._database.now()))

    def earlier(self, purge: Purge) -> int:
        """How many times the same bytes were removed before this removal."""
        if purge.sha256 is None:
            return 0
        query = select(purges.c.id).where(
            purges.c.sha256 == purge.sha256, purges.c.state == PurgeState.GONE, purges.c.id != purge.id
        )
        with self._database.reading() as connection:
            return len(connection.execute(query).all())


def _open_for(connection: Connection, storage_id: int | None, keys: Sequence[str]) -> int | None:
    query = (
        select(purges.c.id)
        .join(purge_keys, purge_keys.c.purge_id == purges.c.id)
        .where(purge_keys.c.key.in_(keys), purges.c.storage_id == storage_id, purges.c.state.in_(_OPEN))
        .order_by(purges.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def _add_keys(connection: Connection, purge_id: int, keys: Sequence[str]) -> None:
    query = select(purge_keys.c.key).where(purge_keys.c.purge_id == purge_id)
    known = set(connection.execute(query).scalars())
    for chunk in chunks([key for key in keys if key not in known]):
        connection.execute(purge_keys.insert(), [{"purge_id": purge_id, "key": key} for key in chunk])


def _add_aliases(connection: Connection, purge_id: int, aliases: Sequence[PurgeAlias]) -> None:
    query = select(purge_aliases.c.alias).where(purge_aliases.c.purge_id == purge_id)
    known = set(connection.execute(query).scalars())
    new = {clean_text(alias.name): alias.origin_url for alias in aliases}
    values = [
        {"purge_id": purge_id, "alias": name, "origin_url": None if url is None else clean_text(url)}
        for name, url in new.items()
        if name not in known
    ]
    for chunk in chunks(values):
        connection.execute(purge_aliases.insert(), list(chunk))


def _purge(connection: Connection, purge_id: int) -> Purge:
    row = connection.execute(select(purges).where(purges.c.id == purge_id)).one()
    names = select(purge_aliases).where(purge_aliases.c.purge_id == purge_id).order_by(purge_aliases.c.alias)
    keys = select(purge_keys.c.key).where(purge_keys.c.purge_id == purge_id).order_by(purge_keys.c.key)
    return Purge(
        id=row.id,
        sha256=row.sha256,
        original=row.original,
        aliases=tuple(PurgeAlias(one.alias, one.origin_url) for one in connection.execute(names)),
        keys=tuple(connection.execute(keys).scalars()),
        state=row.state,
        sent_at=row.sent_at,
        tries=row.tries,
        repair_at=row.repair_at,
        approved=row.approved_at is not None,
    )
