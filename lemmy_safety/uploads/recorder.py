"""Writes answers to the ledger: in groups, in order, outside the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from lemmy_safety.ledger import UploadResult, Uploads
    from lemmy_safety.uploads.metrics import Meters

log = logging.getLogger(__name__)

#: Results in one transaction; a commit costs far more than a row.
_GROUP = 200

#: Results kept for a retry while the database cannot be written; a few kilobytes each, with their findings.
_MOST_KEPT = 10_000

#: Seconds until the next retry, unless a new result triggers one earlier.
_RETRY_S = 2.0


@dataclass(slots=True, eq=False)
class _Entry:
    result: UploadResult
    keep: bool
    written: asyncio.Future[bool]
    """How the first try ended."""


class UploadRecorder:
    """Belongs to one event loop; one thread writes."""

    def __init__(self, uploads: Uploads, meters: Meters) -> None:
        self._uploads = uploads
        self._meters = meters
        self._thread = WorkerThreads("record-uploads")
        self._waiting: deque[_Entry] = deque()
        self._writing = False
        self._one_by_one = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._retry: asyncio.TimerHandle | None = None

    async def record(self, result: UploadResult, *, within_s: float, keep: bool) -> bool:
        """Record a result. Returns whether it is on disk after the first try, within ``within_s`` at most.

        With ``keep`` it is retried until it is; otherwise it is given up.
        """
        entry = self._add(result, keep=keep)
        await asyncio.wait({entry.written}, timeout=within_s)
        if entry.written.done():
            return entry.written.result()
        if not keep and entry in self._waiting:
            self._waiting.remove(entry)
        return False

    def record_later(self, result: UploadResult) -> None:
        """``record`` without waiting."""
        self._add(result, keep=True)

    async def flush(self, *, within_s: float) -> bool:
        """Wait until everything is written; False on timeout."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Stop retrying. What is still unwritten is lost, and a log line says so."""
        if self._retry is not None:
            self._retry.cancel()
        self._thread.close()
        self._lose(len(self._waiting))
        self._waiting.clear()

    def _add(self, result: UploadResult, *, keep: bool) -> _Entry:
        if result.at is None:  # stamped here, because the database may be away for a while
            result = replace(result, at=datetime.now(UTC))
        entry = _Entry(result, keep, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._idle.clear()
        self._pump()
        return entry

    def _pump(self) -> None:
        if self._writing or not self._waiting:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        size = 1 if self._one_by_one else min(_GROUP, len(self._waiting))
        group = [self._waiting.popleft() for _ in range(size)]
        results = [entry.result for entry in group]
        self._writing = True
        done = self._thread.run(lambda: self._uploads.record(results))
        done.add_done_callback(lambda future: self._tried(group, future.exception()))

    def _tried(self, group: list[_Entry], error: BaseException | None) -> None:
        self._writing = False
        if error is None:
            self._settle(group, written=True)
            self._pump()
        else:
            self._failed(group, error)
        if not self._waiting and not self._writing:
            self._one_by_one = False
            self._idle.set()

    def _failed(self, group: list[_Entry], error: BaseException) -> None:
        self._meters.record_failed()
        log.error("%d answered uploads could not be recorded: %s", len(group), error)
        passing = isinstance(error, LedgerError)
        kept = [entry for entry in group if entry.keep]
        if not passing:
            # A bug of ours in one result must not keep the others from being written.
            if len(group) == 1:
                kept = []
                self._lose(1)
            self._one_by_one = True
        self._settle(group, written=False)
        self._waiting.extendleft(reversed(kept))
        excess = [self._waiting.popleft() for _ in range(len(self._waiting) - _MOST_KEPT)]
        self._lose(len(excess))
        if not self._waiting:
            return
        if passing:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._pump)
        else:
            self._pump()

    def _settle(self, group: list[_Entry], *, written: bool) -> None:
        for entry in group:
            if not entry.written.done():
                entry.written.set_result(written)

    def _lose(self, count: int) -> None:
        if count:
            self._meters.unrecorded(count)
            log.error("the records of %d answered uploads are lost", count)
