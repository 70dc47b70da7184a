"""Decodes and judges uploads: each content once at a time, in bounded queues, judged in small batches.

::

    admit -> known to the ledger? -> decode, N threads -> judge, 1 thread -> cleared by a human? -> on_learned

The same bytes are one job (``jobs.py``); ``decoding.py`` and ``batches.py`` are the two halves. A file's own frames may be
judged while the rest of it is still being decoded: a flag answers the upload, anything else waits for the rest.

It sends no answer and records nothing; ``decider.py`` does. All state belongs to the event loop's thread. Other threads
only run ``Inspector`` and look things up in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.records import Review
from lemmy_safety.uploads.batches import Batches, fault
from lemmy_safety.uploads.decoding import Decoding
from lemmy_safety.uploads.jobs import Job, JobTable
from lemmy_safety.uploads.lookups import Learned, Questions, learned_from, stands_against
from lemmy_safety.uploads.threads import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Assessment, Sample
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.backlog import Backlog
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import ModelState, Upload


class UploadJudging:
    """The queues and threads of one service. ``on_learned`` is called in the loop, before waiting callers wake up."""

    def __init__(
        self,
        *,
        inspector: Inspector,
        ledger: Ledger,
        queue: int,
        decode_workers: int,
        meters: Meters,
        on_learned: Callable[[Job, Learned], None],
    ) -> None:
        self._inspector = inspector
        self._ledger = ledger
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._questions = Questions("look-up-uploads")
        self._tasks = Tasks()
        self._jobs = JobTable(capacity=queue, meters=meters, on_learned=on_learned)
        self._decoding = Decoding(inspector, workers=decode_workers, follower=self)
        self._batches = Batches(inspector, jobs=self._jobs, meters=meters, follower=self)
        inspector.when_full(self._pump_from_a_thread)

    # For the engine.

    @property
    def model(self) -> ModelState:
        return self._batches.model

    @property
    def per_medium_s(self) -> float | None:
        """Seconds of the judge for one medium on average; None before the first."""
        return self._batches.per_medium_s

    async def load(self) -> None:
        """Open the detectors; uploads are accepted and decoded meanwhile.

        :raises LemmySafetyError: what keeps a detector from working; nothing can be judged then.
        """
        await self._batches.load()

    def admit(self, upload: Upload) -> Job | None:
        """Take ownership of an upload. Returns the job of the same bytes if there is one, None if there is no room."""
        job = self._jobs.admit(upload, make_room=self._make_room)
        if job is None:
            return None
        if job.upload is upload:
            self._tasks.start(self._look_up(job))
        else:
            self._loop.call_soon(self._pump)  # it has a waiting caller again, once this was returned
        return job

    def holds(self, upload: Upload) -> bool:
        """Whether this very upload is being judged, and not another one of the same bytes."""
        return self._jobs.holds(upload)

    def left(self, job: Job) -> None:
        """A caller stopped waiting for it; uploads that yielded to it go on."""
        if not job.awaited and not job.learned.done():
            self._pump()

    def forget_late(self) -> int:
        """Give up the bytes of an upload that was already answered. Returns how many bytes that freed."""
        job = self._decoding.backlog.late()
        if job is None:
            return 0
        self._forget(job, self._decoding.backlog)
        return job.upload.size

    async def close(self, *, within_s: float) -> None:
        """Close the detectors and let the threads end; a thread that does not end in time is left behind."""
        self._batches.stop()
        self._decoding.stop()
        self._inspector.abort()
        await self._batches.close(within_s=within_s)
        self._decoding.close()
        self._questions.close()

    # What the ledger knows, before and after.

    async def _look_up(self, job: Job) -> None:
        known = await self._questions.ask(partial(self._known, job.upload))
        if known is not None:
            self._meters.reused()
            self._finish(job, known)
            self._batches.pump()
        elif (costly := self._decoding.known_costly(job.upload)) is not None:
            job.upload.drop()
            job.sample = costly
            self._batches.put(job)  # a hash list may contain the bytes
        else:
            self._decoding.put(job)

    def _known(self, upload: Upload) -> Learned | None:
        """In a thread: a verdict on the same bytes by the same rules, or a flag by other detectors, which ours cannot
        replace.
        """
        ruleset = self._inspector.ruleset
        known = self._ledger.objects.verdict_for(upload.sha256, ruleset)
        if known is None:
            known = self._ledger.objects.verdict_for(upload.sha256)
            if known is None or not stands_against(known, ruleset.detectors):
                return None
        return learned_from(known)

    async def _ask_about_humans(self, job: Job, assessment: Assessment) -> None:
        """A human may have cleared these bytes, even under other rules."""
        known = await self._questions.ask(partial(self._ledger.objects.verdict_for, job.upload.sha256))
        learned = Learned(assessment, cleared=known is not None and known.review is Review.CLEARED)
        if job.early_of is None:
            self._finish(job, learned)
        elif not job.learned.done():
            self._finish_early(job.early_of, learned)
        self._pump()

    # For the decoders.

    def has_enough(self, job: Job) -> bool:
        """See ``decoding.Follower``."""
        return self._batches.has_enough_before(job)

    def shown(self, job: Job, sample: Sample) -> None:
        """See ``decoding.Follower``: judged as a job of its own."""
        early = Job(job.upload, job.learned, sample=sample, early_of=job)
        early.await_until(job.deadline, self._loop.time())
        self._batches.put(early)

    def decoded(self, job: Job) -> None:
        """See ``decoding.Follower``."""
        self._batches.backlog.put(job)  # ``freed`` comes next

    def failed(self, job: Job, error: BaseException) -> None:
        """See ``decoding.Follower``."""
        self._finish(job, Learned(fault(job.upload, error)))

    def freed(self) -> None:
        """See ``decoding.Follower``."""
        self._pump()

    # For the judge.

    def is_decoding(self) -> bool:
        """See ``batches.Follower``."""
        return self._decoding.busy

    def judged(self, job: Job, assessment: Assessment) -> None:
        """See ``batches.Follower``. Of a file's own frames only a flag counts."""
        if assessment.flagged:
            self._tasks.start(self._ask_about_humans(job, assessment))
        elif job.early_of is None:
            self._finish(job, Learned(assessment))

    def give_up(self, job: Job) -> None:
        """See ``batches.Follower``."""
        self._forget(job, self._batches.backlog)

    def taken(self) -> None:
        """See ``batches.Follower``."""
        self._decoding.pump()

    def _pump(self) -> None:
        self._batches.pump()
        self._decoding.pump()

    def _pump_from_a_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._pump)

    # The end of a job.

    def _finish(self, job: Job, learned: Learned | None) -> None:
        if not job.learned.done():  # else an early look was enough
            self._jobs.finish(job, learned)

    def _finish_early(self, job: Job, learned: Learned) -> None:
        """What is known is enough: skip the rest of decoding or judging."""
        if not self._decoding.spare(job) and job in self._batches.backlog:
            self._batches.backlog.remove(job)
            if job.sample is not None:
                self._inspector.discard(job.sample)
        self._finish(job, learned)

    def _make_room(self) -> bool:
        """Give up an upload that was already answered, in favour of one that was not."""
        for backlog in (self._decoding.backlog, self._batches.backlog):
            job = backlog.late()
            if job is not None:
                self._forget(job, backlog)
                return True
        return False

    def _forget(self, job: Job, backlog: Backlog[Job]) -> None:
        backlog.remove(job)
        if job.sample is not None:
            self._inspector.discard(job.sample)
        self._meters.dropped_late()
        self._finish(job, None)
