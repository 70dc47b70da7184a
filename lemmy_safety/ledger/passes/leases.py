"""One pass per storage and database: the rows that record which pass has it, inside the caller's transaction.

A pass holds a lease: a row with a heartbeat. Every write of the pass proves in its own transaction that the lease is
still
its own, so a pass that lost its lease can record nothing more. Leases use only rows, no session locks, so they work
through
a connection pool such as PgBouncer. Times are the database's own, because machines' clocks differ.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from lemmy_safety.errors import PassRunning
from lemmy_safety.ledger.passes.processes import Process, this_process
from lemmy_safety.ledger.schema.tables import leases, storages

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

    from lemmy_safety.ledger.schema.codec import AnyRow

#: The kinds of passes, by which others distinguish them.
SWEEP, DAEMON, RECHECK = "sweep", "daemon", "recheck"

#: Seconds between two heartbeats, and seconds without one after which a lease expires. Six tries fit in between, and
#: each may wait 10 s for another writer.
BEAT_S = 10.0
OVER_S = 60.0

#: How databases report the time in UTC, whatever the session's time zone. PostgreSQL's ``now()`` is the start of
#: the transaction, which may have waited for another writer.
_CLOCKS = {
    "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "postgresql": "SELECT clock_timestamp()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who runs a pass over ``storage``, its ``kind`` and start; ``silent_s`` is the time since its last heartbeat."""

    storage: str
    token: str
    kind: str
    process: Process
    since: datetime
    silent_s: float

    def is_over(self, own: Collection[str]) -> bool:
        """Whether the lease may be taken. ``own`` are the tokens that this process holds now.

        A heartbeat from the future counts as an old one: the database's clock was set back.
        """
        if abs(self.silent_s) > OVER_S:
            return True
        if self.process.is_this_one():
            return self.token not in own
        return self.process.is_known_to_be_dead()

    def refusal(self) -> PassRunning:
        """The error for a pass that wants the lease now."""
        since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        return PassRunning(
            f"A pass over {self.storage} is running: {self.kind} on {self.process.host}, process {self.process.pid}, "
            f"since {since}.",
            kind=self.kind,
            hint="Wait until it has ended, or stop it, and try again. After a crash on another machine or in another "
            f"container its place is free {OVER_S:.0f} s after its last sign of life.",
        )


def holder(connection: Connection, storage: str) -> Holder | None:
    """Who has the lease on a storage, expired or not; None if there is none."""
    query = (
        select(leases, storages.c.name.label("storage"))
        .join(storages, leases.c.storage_id == storages.c.id)
        .where(storages.c.name == storage)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _holder_of(row, database_now(connection))


def take(connection: Connection, storage: str, storage_id: int, kind: str, *, own: Collection[str]) -> str:
    """Take the lease on a storage; returns the token that proves it from now on.

    The connection must hold the writer's lock, so that two simultaneous requests run one after the other.

    :raises PassRunning: another pass has it.
    """
    present = holder(connection, storage)
    if present is not None and not present.is_over(own):
        raise present.refusal()
    process, now, token = this_process(), database_now(connection), secrets.token_hex(16)
    connection.execute(leases.delete().where(leases.c.storage_id == storage_id))
    connection.execute(
        leases.insert().values(
            storage_id=storage_id,
            token=token,
            kind=kind,
            machine=process.machine,
            host=process.host,
            pid=process.pid,
            process_started=process.started,
            since=now,
            heartbeat_at=now,
        )
    )
    return token


def prove(connection: Connection, storage: str, token: str) -> None:
    """Check that the lease is still the one that was taken.

    :raises PassRunning: another pass has taken it, or had it meanwhile.
    """
    if connection.execute(select(leases.c.token).where(leases.c.token == token)).first() is None:
        raise lost(storage, holder(connection, storage))


def beat(connection: Connection, token: str) -> None:
    """Record that the pass is alive."""
    now = database_now(connection)
    connection.execute(leases.update().where(leases.c.token == token).values(heartbeat_at=now))


def release(connection: Connection, token: str) -> None:
    """Give the lease back, if it is still the one that was taken."""
    connection.execute(leases.delete().where(leases.c.token == token))


def lost(storage: str, present: Holder | None) -> PassRunning:
    """The error for a pass whose lease another pass has taken."""
    taken = "" if present is None else f" to {present.kind} on {present.process.host}, process {present.process.pid}"
    return PassRunning(
        f"This pass over {storage} lost its place{taken}; it stopped and recorded nothing since.",
        kind="" if present is None else present.kind,
        hint=f"It was silent for more than {OVER_S:.0f} s: the machine slept, or the database could not be reached. "
        "Start it again when no other pass is running.",
    )


def database_now(connection: Connection) -> datetime:
    """The time by the database's clock."""
    said = connection.exec_driver_sql(_CLOCKS[connection.dialect.name]).scalar_one()
    now: datetime = datetime.fromisoformat(said) if isinstance(said, str) else said
    return now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)


def _holder_of(row: AnyRow, now: datetime) -> Holder:
    return Holder(
        storage=row.storage,
        token=row.token,
        kind=row.kind,
        process=Process(machine=row.machine, host=row.host, pid=row.pid, started=row.process_started),
        since=row.since,
        silent_s=(now - row.heartbeat_at) / timedelta(seconds=1),
    )
