"""Runs and cursors: what each pass did, and up to where the storage was seen whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger.models import cursors, runs
from lemmy_safety.ledger.storages import ensure_storage, new_id

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.rows import RunCounts


def start_run(
    connection: Connection, storage: str, kind: str, *, dry_run: bool, detectors: Collection[str], now: datetime
) -> int:
    values = {
        "storage_id": ensure_storage(connection, storage),
        "kind": kind,
        "dry_run": dry_run,
        "detectors": frozenset(detectors),
        "started_at": now,
        "complete": False,
    }
    return new_id(connection, runs.insert().values(values))


def finish_run(connection: Connection, run_id: int, counts: RunCounts, *, complete: bool, now: datetime) -> None:
    statement = runs.update().where(runs.c.id == run_id)
    values = {"finished_at": now, "complete": complete, "counts": dict(counts)}
    if connection.execute(statement.values(values)).rowcount == 0:
        raise LedgerError(f"There is no run {run_id} in the ledger.", hint="")


def cursor(connection: Connection, scope: str, name: str) -> datetime | None:
    query = select(cursors.c.at).where(cursors.c.scope == scope, cursors.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def set_cursor(connection: Connection, scope: str, name: str, at: datetime) -> None:
    place = (cursors.c.scope == scope, cursors.c.name == name)
    if connection.execute(cursors.update().where(*place).values(at=at)).rowcount == 0:
        connection.execute(cursors.insert().values(scope=scope, name=name, at=at))
