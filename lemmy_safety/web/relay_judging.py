"""Uploads that somebody else judges: kept in memory, handed to workers, forgotten after the answer.

It stands in the place of ``judging.py`` in the same engine: ``validation.py`` decides what is answered and records it,
whoever judged. It opens no detector, decodes nothing and never looks into a medium.

A relay that ends loses the uploads that it holds; the requests of pict-rs about them fail at the same moment, and
pict-rs refuses what it got no answer about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lemmy_safety.errors import LedgerError
from lemmy_safety.records import ItemResult, ItemStatus, Outcome, Review, StoredObject, Verdict
from lemmy_safety.web.handing_out import LEASE_S, HandingOut, Item
from lemmy_safety.web.judging import Job, Learned
from lemmy_safety.web.messages import decode_learned
from lemmy_safety.web.threads import WorkerThreads
from lemmy_safety.web.wire import UNKNOWN_RULES, BadMessage, image_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.ledger.rows import KnownVerdict
    from lemmy_safety.web.messages import WorkerAnswer
    from lemmy_safety.web.meters import Meters
    from lemmy_safety.web.uploads import ModelState, Upload

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What a worker can have learned of a medium that it was handed.
_POSSIBLE = frozenset(
    {
        ItemStatus.CHECKED,
        ItemStatus.UNREADABLE,
        ItemStatus.UNSUPPORTED,
        ItemStatus.TOO_LARGE,
        ItemStatus.DETECTOR_FAILED,
    }
)

#: The part of the budget after which an earlier verdict is used where no worker has given a new one.
_FALLBACK_AFTER = 0.75

#: Uploads that were fine are kept in the ledger so long after they were last asked about; they are there to spare
#: workers the same bytes.
_KEPT = timedelta(days=90)

_LET_GO_AGAIN_S = 1.0
_HOUSEKEEPING_S = 60.0
_FORGETTING_S = 24 * 3600.0


class RelayJudging:
    """The uploads of one service. Belongs to one event loop."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        queue: int,
        budget_s: float,
        meters: Meters,
        on_learned: Callable[[Job, Learned], None],
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._budget_s = budget_s
        self._meters = meters
        self._on_learned = on_learned
        self._loop = asyncio.get_running_loop()
        self._lookups = WorkerThreads("look-up-upload")
        self._jobs: dict[str, Job] = {}
        self._handing = HandingOut(budget_s=budget_s, now=self._loop.time())
        self._bell = asyncio.Event()
        self._closed = False

    @property
    def model(self) -> ModelState:
        """Ready while a worker is there (or was a moment ago), else loading."""
        return "ready" if self._handing.present(self._loop.time()) else "loading"

    async def load(self) -> None:
        """Look after the uploads until cancelled; there is nothing to get ready."""
        forgotten = -_FORGETTING_S
        while True:
            now = self._loop.time()
            self._forget_old()
            self._meters.model(self.model)
            if now - forgotten >= _FORGETTING_S:
                forgotten = now
                self._lookups.run(self._forget_rows).add_done_callback(_say_fault)
            await asyncio.sleep(_HOUSEKEEPING_S)

    def _forget_rows(self) -> None:
        if count := self._ledger.forget_uploads(datetime.now(UTC) - _KEPT):
            log.info("%d uploads that were not asked about for long were forgotten", count)

    # For the engine, as in ``UploadJudging``.

    def admit(self, upload: Upload) -> Job | None:
        """Take an upload over; the job of the same bytes where there is one, None where there is no room."""
        job = self._jobs.get(upload.sha256)
        if job is not None and (job.awaited or job.upload.data is not None):
            self._meters.joined()
            upload.drop()
            return job
        if len(self._jobs) >= self._queue:
            self._forget_old()
        if self._closed or len(self._jobs) >= self._queue:
            upload.drop()
            return None
        job = Job(upload, self._loop.create_future())
        self._jobs[upload.sha256] = job
        self._meters.queue(len(self._jobs))
        self._lookups.run(partial(self._known, upload.sha256)).add_done_callback(partial(self._looked, job))
        return job

    def _known(self, sha256: str) -> KnownVerdict | None:
        """In a thread: the latest verdict on these bytes, by whatever rules."""
        try:
            return self._ledger.verdict_for(sha256, detectors=frozenset())
        except LedgerError as error:
            log.error("known verdicts cannot be looked up: %s", error)  # noqa: TRY400 - expected, one line
            return None

    def _looked(self, job: Job, done: asyncio.Future[KnownVerdict | None]) -> None:
        now = self._loop.time()
        known = None if done.exception() is not None else done.result()
        rules = self._handing.rules(now)
        earlier = None if known is None else _from_ledger(job, known)
        by_these_rules = known is not None and (not rules or known.verdict.rules_version in rules)
        if by_these_rules and known is not None and known.verdict.outcome is not Outcome.FLAGGED:
            self._meters.reused()
            self._finish(job, earlier)
            return
        # What was flagged is asked again: it is rare, and a human may have cleared it where the worker is.
        if not self._handing.present(now):
            self._finish(job, earlier)
            return
        name = image_name(secrets.token_hex(16), job.upload.media_type)
        item = Item(name=name, job=job, since=now, fallback=earlier)
        self._handing.add(item)
        if earlier is not None:
            self._loop.call_later(self._budget_s * _FALLBACK_AFTER, self._fall_back, item)
        self._loop.call_later(self._budget_s, self._let_go, item)
        self._ring()

    def _fall_back(self, item: Item) -> None:
        if not item.job.learned.done():
            self._meters.reused()
            self._handing.remove(item)
            self._finish(item.job, item.fallback)

    def _let_go(self, item: Item) -> None:
        """Forget the bytes when the last one who asked about them was answered without a verdict."""
        if item.job.learned.done():
            return
        if item.job.awaited:  # somebody asked about the same bytes a little later
            self._loop.call_later(_LET_GO_AGAIN_S, self._let_go, item)
            return
        item.job.upload.drop()
        if item.handed_at is None:
            self._handing.remove(item)
            self._meters.dropped_late()
            self._finish(item.job, None)

    def _finish(self, job: Job, learned: Learned | None) -> None:
        if self._jobs.get(job.upload.sha256) is job:
            del self._jobs[job.upload.sha256]
        self._meters.queue(len(self._jobs))
        job.upload.drop()
        job.learned.set_result(learned)
        if learned is not None:
            self._on_learned(job, learned)

    def _forget_old(self) -> None:
        for item in self._handing.forget(self._loop.time()):
            self._meters.dropped_late()
            self._finish(item.job, None)

    def holds(self, upload: Upload) -> bool:
        """Whether this very upload is held, and not another one of the same bytes."""
        job = self._jobs.get(upload.sha256)
        return job is not None and job.upload is upload

    def forget_late(self) -> int:
        """Bytes are dropped with the answer, so there are none to free."""
        return 0

    def in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Ask the ledger something beside the event loop."""
        return self._lookups.run(work)

    async def close(self, *, within_s: float) -> None:  # noqa: ARG002 - nothing here takes time
        """Let everybody go who waits: for an answer, or for something to do."""
        self.end_waits()
        for item in self._handing.items():
            self._handing.remove(item)
            if not item.job.learned.done():
                self._finish(item.job, None)
        self._lookups.close()

    def end_waits(self) -> None:
        """Hand nothing out any more, and answer all workers who wait."""
        self._closed = True
        self._ring()

    # For workers.

    async def take(self, worker: str, rules: str, *, wait_s: float) -> Item | None:
        """Something to judge, at once or within ``wait_s``. Cancelling it is how a worker that went away is noticed."""
        ends = self._loop.time() + wait_s
        self._handing.note_poll(worker, rules, self._loop.time())
        try:
            while True:
                if self._closed:
                    return None
                bell, now = self._bell, self._loop.time()
                item = self._handing.take(worker, now)
                if item is not None or now >= ends:
                    return item
                # Not longer, because nobody rings when another worker has gone.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(ends - now, LEASE_S)):
                        await bell.wait()
        finally:
            self._handing.note_poll_ended(worker, self._loop.time())

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()

    def learn(self, worker: str, answer: WorkerAnswer) -> bool | None:
        """Take a worker's word; True when it came too late for the answer to pict-rs, None when nobody asked.

        :raises BadMessage: it says something that cannot be.
        """
        now = self._loop.time()
        item = self._handing.find(answer.image)
        if item is None:
            return None
        learned = _learned(item.job, answer)
        if item.fallback is not None and item.fallback.cleared:
            learned = replace(learned, cleared=True)  # by a human on this side
        self._handing.note_answer(worker, item, now)
        self._handing.remove(item)
        late = not item.job.awaited
        self._finish(item.job, learned)
        return late


def _learned(job: Job, answer: WorkerAnswer) -> Learned:
    result = ItemResult(obj=_as_object(job.upload), status=ItemStatus.CHECKED, sha256=job.upload.sha256)
    if answer.learned is None:
        outcome = Outcome.FLAGGED if answer.refuse else Outcome.CLEAR
        verdict = Verdict(outcome=outcome, nsfw=answer.nsfw, findings=(), rules_version=UNKNOWN_RULES)
        return Learned(replace(result, verdict=verdict))
    said = decode_learned(answer.learned)
    if said.status not in _POSSIBLE:
        raise BadMessage(f"no worker can have found {said.status}")
    result = replace(
        result,
        status=said.status,
        reason=said.reason,
        verdict=said.verdict,
        detectors=said.detectors,
        pdq=said.pdq,
        info=said.info,
    )
    flagged = said.verdict is not None and said.verdict.outcome is Outcome.FLAGGED
    return Learned(result, cleared=flagged and not answer.refuse)


def _from_ledger(job: Job, known: KnownVerdict) -> Learned:
    result = ItemResult(
        obj=_as_object(job.upload),
        status=ItemStatus.CHECKED,
        verdict=known.verdict,
        detectors=known.detectors,
        sha256=job.upload.sha256,
        pdq=known.pdq,
        info=known.info,
        reused_from=known.key,
    )
    return Learned(result, cleared=known.review is Review.CLEARED)


def _as_object(upload: Upload) -> StoredObject:
    return StoredObject(key=f"upload {upload.sha256[:16]}", size=upload.size, modified_at=datetime.now(UTC))


def _say_fault(done: asyncio.Future[None]) -> None:
    error = done.exception()
    if error is not None:
        log.error("old uploads could not be forgotten: %s", error)
