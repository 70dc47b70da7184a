"""The part of the ledger that lets one pass at a time work on a storage; how that is kept is told in ``leases.py``."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError, PassRunning
from lemmy_safety.ledger import leases
from lemmy_safety.ledger.database import Database
from lemmy_safety.ledger.storages import ensure_storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

log = logging.getLogger(__name__)

#: Tokens of the leases that are held in this process: one that is not among them was left behind.
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
        """Whether somebody else is known to have taken it. Asks nobody."""
        return self._lost is not None

    def check(self) -> None:
        """:raises PassRunning: somebody else is known to have taken it."""
        if self._lost is not None:
            raise self._lost

    def prove(self, connection: Connection) -> None:
        """:raises PassRunning: the row says that somebody else has taken it, or had it meanwhile."""
        try:
            leases.prove(connection, self.storage, self.token)
        except PassRunning as error:
            self._lost = error
            raise


class PassLeases(Database):
    """Who passes over which storage."""

    @contextmanager
    def lease(self, storage: str, kind: str) -> Iterator[Lease]:
        """Be the one pass over a storage; ``kind`` is what others are told. Held until the end of the ``with``.

        A heartbeat goes on in a thread. Meanwhile every write of this ledger, and ``is_intended``, proves the lease first.
        A lease that was lost (this machine slept, and another took over) stops all writes of this ledger until it gets
        another one.

        :raises PassRunning: another pass has the storage, and is alive as far as can be told.
        """
        self.guard = None  # of a lease that was lost
        with self.writing() as connection:
            token = leases.take(connection, storage, ensure_storage(connection, storage), kind, own=_held)
            _held.add(token)
        lease = Lease(storage, token)
        self.guard = lease.prove
        beating = threading.Thread(target=self._beat, args=(lease,), name="heartbeat", daemon=True)
        beating.start()
        try:
            yield lease
        finally:
            lease._ended.set()  # noqa: SLF001 - its maker's
            self._release(lease)

    def see_that_no_sweep_runs(self, storage: str) -> None:
        """Before gigabytes of models are loaded in vain. Passes of the daemon are short, and waited for.

        :raises PassRunning: a sweep of somebody who is alive as far as can be told.
        """
        with self.reading() as connection:
            present = leases.holder(connection, storage)
        if present is not None and present.kind == leases.SWEEP and not present.is_over(_held):
            raise present.refusal()

    def _beat(self, lease: Lease) -> None:
        while not lease._ended.wait(leases.BEAT_S):  # noqa: SLF001 - idem
            try:
                with self.writing() as connection:
                    leases.beat(connection, lease.token)
            except PassRunning:
                return  # noted in the lease, and the pass looks there
            except LedgerError as error:
                log.warning("the heartbeat of this pass could not be recorded: %s", error.message)

    def _release(self, lease: Lease) -> None:
        _held.discard(lease.token)
        if lease.is_lost:
            return
        self.guard = None
        try:
            with self.writing() as connection:
                leases.release(connection, lease.token)
        except LedgerError as error:
            log.warning("the end of this pass could not be recorded: %s", error.message)
