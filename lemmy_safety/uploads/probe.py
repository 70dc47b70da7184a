"""What ``/ready`` and ``/metrics`` ask of the ledger: rarely, outside the event loop, and with a short timeout."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from lemmy_safety.errors import LedgerReplaced
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that an answer is cached: each question costs a commit or a count, and anyone who reaches the port may ask.
_WRITABLE_FRESH_S = 3.0
_COUNT_FRESH_S = 10.0

#: Seconds that a probe may take before it counts as failed; a health check gives up after a few.
_PATIENCE_S = 2.0


class LedgerProbe:
    """Belongs to one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._thread = WorkerThreads("probe-ledger")
        self._writable = _Probe(self._thread, ledger.maintenance.check_writable, fresh_s=_WRITABLE_FRESH_S)
        self._unchecked = _Probe(self._thread, ledger.uploads.count_unchecked, fresh_s=_COUNT_FRESH_S)
        self._breaker = _Probe(self._thread, ledger.breaker.state, fresh_s=_COUNT_FRESH_S)

    async def writable(self) -> bool:
        """Whether verdicts can be recorded."""
        return await self._writable.ask() is not None

    async def unchecked_open(self) -> int | None:
        """How many uploads were accepted unchecked and have no verdict yet; None when the ledger does not say."""
        answer = await self._unchecked.ask()
        return None if answer is None else answer[0]

    async def breaker_tripped(self) -> bool | None:
        """Whether the circuit breaker keeps passes from deleting; None when the ledger does not say."""
        answer = await self._breaker.ask()
        return None if answer is None else answer[0].is_tripped

    async def watch(self) -> None:
        """Check every ten seconds that the ledger still exists, until it does not. Its other faults may be temporary.

        :raises LedgerReplaced: it was deleted, moved, emptied or replaced; what is written to it is lost.
        """
        while True:
            await asyncio.sleep(_COUNT_FRESH_S)
            await self._unchecked.ask()
            self._unchecked.raise_if(LedgerReplaced)

    def close(self) -> None:
        self._thread.close()


class _Probe(Generic[T]):
    """One question; the answer in a tuple of one, None if there is none."""

    def __init__(self, thread: WorkerThreads, question: Callable[[], T], *, fresh_s: float) -> None:
        self._thread = thread
        self._question = question
        self._fresh_s = fresh_s
        self._asked: asyncio.Future[T] | None = None
        self._asked_at = 0.0

    async def ask(self) -> tuple[T] | None:
        now = asyncio.get_running_loop().time()
        if self._asked is None or (self._asked.done() and now - self._asked_at > self._fresh_s):
            self._asked, self._asked_at = self._thread.run(self._question), now
            self._asked.add_done_callback(_log_reason)
        await asyncio.wait({self._asked}, timeout=_PATIENCE_S)
        if not self._asked.done() or self._asked.exception() is not None:
            return None
        return (self._asked.result(),)

    def raise_if(self, kind: type[Exception]) -> None:
        """Raise the error of the latest question that was answered, if it is of this kind."""
        if self._asked is not None and self._asked.done() and isinstance(error := self._asked.exception(), kind):
            raise error


def _log_reason(done: asyncio.Future[T]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("the database does not answer: %s", error)
