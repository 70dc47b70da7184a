"""The store of passes: what each did, up to when it saw the whole storage, and which one may work on a storage now.

``leases.py`` describes how leases are kept.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import select

from lemmy_safety.errors import LedgerError, PassRunning
from lemmy_safety.ledger.passes import leases
from lemmy_safety.ledger.schema.storages import ensure_storage, new_id
from lemmy_safety.ledger.schema.tables import cursors, runs, storages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from lemmy_safety.ledger.database.database import Database


#: What a pass counted, by the caller's own names; stored as JSON.
RunCounts: TypeAlias = "Mapping[str, object]"

log = logging.getLogger(__name__)

#: Tokens of the leases held in this process. A lease whose token is missing here was left behind.
_held: set[str] = set()


class Lease:
    """What a pass holds while it runs."""

    def __init__(self, storage: str, token: str) -> None:
        self.storage = storage
        self.token = token
        self._ended = threading.Event()
        self._lost: PassRunning | None = None

    @property
    def is_lost(self) -> bool:
        """Whether another pass is known to have taken it; makes no query."""
        return self._lost is not None

    def check(self) -> None:
        """:raises PassRunning: another pass is known to have taken it."""
        if self._lost is not None:
            raise self._lost

    def prove(self, connection: Connection) -> None:
        """:raises PassRunning: the row says that another pass has taken it, or had it meanwhile."""
        try:
            leases.prove(connection, self.storage, self.token)
        except PassRunning as error:
            self._lost = error
            raise


class Passes:
    """Runs, cursors and leases of passes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, storage: str, kind: str, *, dry_run: bool, detectors: Collection[str]) -> int:
        """Record the start of a pass; returns the run id for its results."""
        with self._database.writing() as connection:
            values = {
                "storage_id": ensure_storage(connection, storage),
                "kind": kind,
                "dry_run": dry_run,
                "detectors": frozenset(detectors),
                "started_at": self._database.now(),
                "complete": False,
            }
            return new_id(connection, runs.insert().values(values))

    def finish(self, run_id: int, counts: RunCounts, *, complete: bool) -> None:
        """Record the end of a pass, and whether it saw everything it was meant to.

        :raises LedgerError: no such run.
        """
        values = {"finished_at": self._database.now(), "complete": complete, "counts": dict(counts)}
        with self._database.writing() as connection:
            if connection.execute(runs.update().where(runs.c.id == run_id).values(values)).rowcount == 0:
                raise LedgerError(f"There is no run {run_id} in the ledger.", hint="")

    def last_counts(self, storage: str, kind: str) -> RunCounts | None:
        """What the latest complete pass of this kind counted; None if there was none."""
        query = (
            select(runs.c.counts)
            .join(storages, storages.c.id == runs.c.storage_id)
            .where(storages.c.name == storage, runs.c.kind == kind, runs.c.complete)
            .order_by(runs.c.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def cursor(self, scope: str, name: str) -> datetime | None:
        """A time that a pass saved for the next one, such as up to when everything was seen; None before the first.

        ``scope`` says where it is valid: at least the storage, and whatever else makes passes incomparable.
        """
        query = select(cursors.c.at).where(cursors.c.scope == scope, cursors.c.name == name)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def set_cursor(self, scope: str, name: str, at: datetime) -> None:
        """Set a cursor to an aware time; ``scope`` and ``name`` are any text.

        :raises ValueError: ``at`` is not aware.
        """
        if at.tzinfo is None:
            raise ValueError("at must be timezone-aware")
        place = (cursors.c.scope == scope, cursors.c.name == name)
        with self._database.writing() as connection:
            if connection.execute(cursors.update().where(*place).values(at=at)).rowcount == 0:
                connection.execute(cursors.insert().values(scope=scope, name=name, at=at))

    @contextmanager
    def lease(self, storage: str, kind: str) -> Iterator[Lease]:
        """Be the only pass over a storage until the end of the ``with``; others see ``kind``.

        A thread sends heartbeats. Meanwhile every write of this ledger, and ``is_intended``, first proves the lease.
        After a lost lease (this machine slept, and another took over), all writes of this ledger stop until it gets
        another one.

        :raises PassRunning: another pass has the storage, and appears to be alive.
        """
        self._database.guard = None  # of a lease that was lost
        with self._database.writing() as connection:
            token = leases.take(connection, storage, ensure_storage(connection, storage), kind, own=_held)
            _held.add(token)
        lease = Lease(storage, token)
        self._database.guard = lease.prove
        beating = threading.Thread(target=self._beat, args=(lease,), name="heartbeat", daemon=True)
        beating.start()
        try:
            yield lease
        finally:
            lease._ended.set()  # noqa: SLF001 - its maker's
            self._release(lease)

    def ensure_no_sweep_runs(self, storage: str) -> None:
        """Check this before loading gigabytes of models in vain. Passes of the daemon are short, and worth waiting for.

        :raises PassRunning: a process that appears to be alive is running a sweep.
        """
        with self._database.reading() as connection:
            present = leases.holder(connection, storage)
        if present is not None and present.kind == leases.SWEEP and not present.is_over(_held):
            raise present.refusal()

    def _beat(self, lease: Lease) -> None:
        while not lease._ended.wait(leases.BEAT_S):  # noqa: SLF001 - its maker's
            try:
                with self._database.writing() as connection:
                    leases.beat(connection, lease.token)
            except PassRunning:
                return  # the lease records it, and the pass checks that
            except LedgerError as error:
                log.warning("the heartbeat of this pass could not be recorded: %s", error.message)

    def _release(self, lease: Lease) -> None:
        _held.discard(lease.token)
        if lease.is_lost:
            return
        self._database.guard = None
        try:
            with self._database.writing() as connection:
                leases.release(connection, lease.token)
        except LedgerError as error:
            log.warning("the end of this pass could not be recorded: %s", error.message)
