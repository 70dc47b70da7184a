"""Uploads that workers judge: kept in memory, handed out, forgotten after the answer.

It replaces ``uploads/judging.py`` in the same engine: ``uploads/decider.py`` decides on the answer and records it in
both cases. It opens no detector, decodes nothing and never reads a medium's content.

A relay that exits loses its uploads; the requests of pict-rs about them fail at the same moment, and pict-rs refuses an
upload without an answer.
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

from lemmy_safety.records import Assessment, ItemStatus, Outcome, Verdict
from lemmy_safety.relay.protocol import UNKNOWN_RULES, BadMessage, image_name
from lemmy_safety.relay.server.assignments import LEASE_S, Assignments, Item
from lemmy_safety.uploads.jobs import Job, JobTable
from lemmy_safety.uploads.lookups import Learned, Questions, learned_from, outranks
from lemmy_safety.uploads.threads import Tasks, WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.relay.messages import WorkerAnswer
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import ModelState, Upload

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The statuses that a worker can report for a medium.
_POSSIBLE = frozenset(
    {
        ItemStatus.CHECKED,
        ItemStatus.UNREADABLE,
        ItemStatus.UNSUPPORTED,
        ItemStatus.TOO_LARGE,
        ItemStatus.DETECTOR_FAILED,
    }
)

#: The fraction of the budget after which an earlier verdict is used if no worker has given a new one.
_FALLBACK_AFTER = 0.75

#: How long clean uploads stay in the ledger after the last question about them; they save workers from judging the same
#: bytes again.
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
        self._budget_s = budget_s
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._questions = Questions("look-up-upload")
        #: For slow questions and writes: no upload waits for them.
        self._books = WorkerThreads("relay-recorder")
        self._tasks = Tasks()
        self._jobs = JobTable(capacity=queue, meters=meters, on_learned=on_learned, is_open=_is_open)
        self._assignments = Assignments(budget_s=budget_s, now=self._loop.time())
        self._bell = asyncio.Event()
        self._closed = False

    @property
    def model(self) -> ModelState:
        """Ready while a worker is there (or was a moment ago), else loading."""
        return "ready" if self._assignments.present(self._loop.time()) else "loading"

    async def load(self) -> None:
        """Manage the uploads until cancelled; there is nothing to load."""
        forgotten = -_FORGETTING_S
        while True:
            now = self._loop.time()
            self._forget_old()
            self._meters.model(self.model)
            if now - forgotten >= _FORGETTING_S:
                forgotten = now
                self._books.run(self._forget_rows).add_done_callback(_log_fault)
            await asyncio.sleep(_HOUSEKEEPING_S)

    def _forget_rows(self) -> None:
        if count := self._ledger.uploads.forget(datetime.now(UTC) - _KEPT):
            log.info("%d uploads that were not asked about for long were forgotten", count)

    # For the engine, as in ``UploadJudging``.

    def admit(self, upload: Upload) -> Job | None:
        """Take ownership of an upload. Returns the job of the same bytes if there is one, None if there is no room."""
        job = self._jobs.admit(upload, new=not self._closed)
        if job is not None and job.upload is upload:
            self._tasks.start(self._look_up(job))
        return job

    def left(self, job: Job) -> None:
        """A caller stopped waiting for it; see ``_let_go``."""

    async def _look_up(self, job: Job) -> None:
        """Use the latest verdict on these bytes, by any rules; then a worker's."""
        question = partial(self._ledger.objects.verdict_for, job.upload.sha256)
        known = await self._questions.ask(question)
        now = self._loop.time()
        if job.learned.done():  # ended meanwhile
            return
        rules = self._assignments.rules(now)
        earlier = None if known is None else learned_from(known)
        by_these_rules = known is not None and (not rules or known.verdict.rules_version in rules)
        if by_these_rules and known is not None and not known.assessment.flagged:
            self._meters.reused()
            self._jobs.finish(job, earlier)
            return
        # Flagged bytes are judged again: they are rare, and a human may have cleared them on the worker's side.
        if not self._assignments.present(now):
            self._jobs.finish(job, earlier)
            return
        name = image_name(secrets.token_hex(16), job.upload.media_type)
        item = Item(name=name, job=job, since=now, fallback=earlier)
        self._assignments.add(item)
        if earlier is not None:
            # A slow sender has already used up some of the time.
            at = min(now + self._budget_s * _FALLBACK_AFTER, job.deadline - self._budget_s * (1 - _FALLBACK_AFTER))
            self._loop.call_at(at, self._fall_back, item)
        self._loop.call_at(min(now + self._budget_s, job.deadline), self._let_go, item)
        self._ring()

    def _fall_back(self, item: Item) -> None:
        if not item.job.learned.done():
            self._meters.reused()
            self._assignments.remove(item)
            self._jobs.finish(item.job, item.fallback)

    def _let_go(self, item: Item) -> None:
        """Forget the bytes when the last caller was answered without a verdict."""
        if item.job.learned.done():
            return
        if item.job.awaited:  # another caller asked about the same bytes a little later
            self._loop.call_later(_LET_GO_AGAIN_S, self._let_go, item)
            return
        item.job.upload.drop()
        if item.handed_at is None:
            self._assignments.remove(item)
            self._meters.dropped_late()
            self._jobs.finish(item.job, None)

    def _forget_old(self) -> None:
        for item in self._assignments.forget(self._loop.time()):
            self._meters.dropped_late()
            self._jobs.finish(item.job, None)

    def holds(self, upload: Upload) -> bool:
        """Whether this very upload is held, and not another one of the same bytes."""
        return self._jobs.holds(upload)

    def forget_late(self) -> int:
        """Bytes are dropped soon after the last answer, so there are none to free."""
        return 0

    def in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Query or write the ledger outside the event loop."""
        return self._books.run(work)

    async def close(self, *, within_s: float) -> None:  # noqa: ARG002 - nothing here takes time
        """End all waits: for an answer, or for a job."""
        self.end_waits()
        for item in self._assignments.items():
            self._assignments.remove(item)
            if not item.job.learned.done():
                self._jobs.finish(item.job, None)
        for threads in (self._questions, self._books):
            threads.close()

    def end_waits(self) -> None:
        """Hand out no more jobs, and answer all waiting workers."""
        self._closed = True
        self._ring()

    # For workers.

    async def wait_for_work(self, worker: str, rules: str, *, wait_s: float) -> Item | None:
        """Something to judge, at once or within ``wait_s``. It is cancelled when the worker disconnects."""
        ends = self._loop.time() + wait_s
        worker = self._assignments.name_of(worker)
        self._assignments.note_poll(worker, rules, self._loop.time())
        try:
            while True:
                if self._closed:
                    return None
                bell, now = self._bell, self._loop.time()
                item = self._assignments.next_for(worker, now)
                if item is not None or now >= ends:
                    return item
                # Not longer, because there is no signal when another worker has gone.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(ends - now, LEASE_S)):
                        await bell.wait()
        finally:
            self._assignments.note_poll_ended(worker, self._loop.time())

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()

    def learn(self, worker: str, answer: WorkerAnswer) -> bool | None:
        """Accept a worker's answer; True if it came too late for pict-rs, None if no such upload is known.

        :raises BadMessage: it is impossible.
        """
        now = self._loop.time()
        item = self._assignments.find(answer.image)
        if item is None:
            return None
        learned = _learned(item.job, answer)
        if item.fallback is not None and item.fallback.cleared:
            learned = replace(learned, cleared=True)  # by a human on this side
        if item.fallback is not None and outranks(item.fallback, learned):
            learned = item.fallback
        self._assignments.note_answer(worker, item, now)
        self._assignments.remove(item)
        late = not item.job.awaited
        self._jobs.finish(item.job, learned)
        return late


def _is_open(job: Job) -> bool:
    """A job without a waiting caller and without bytes takes no slot, though a worker may still answer it."""
    return job.awaited or job.upload.data is not None


def _learned(job: Job, answer: WorkerAnswer) -> Learned:
    sha256 = job.upload.sha256
    if answer.learned is None:
        outcome = Outcome.FLAGGED if answer.refuse else Outcome.CLEAR
        verdict = Verdict(outcome=outcome, nsfw=answer.nsfw, findings=(), rules_version=UNKNOWN_RULES)
        return Learned(Assessment(status=ItemStatus.CHECKED, sha256=sha256, verdict=verdict))
    said = answer.learned.assessment(sha256)
    if said.status not in _POSSIBLE:
        raise BadMessage(f"no worker can have found {said.status}")
    return Learned(said, cleared=said.flagged and not answer.refuse)


def _log_fault(done: asyncio.Future[None]) -> None:
    error = done.exception()
    if error is not None:
        log.error("old uploads could not be forgotten: %s", error)
