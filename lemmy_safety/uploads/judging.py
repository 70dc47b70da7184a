"""Uploads through decoding and judging: the same bytes once at a time, in bounded queues, the judge in small batches.

::

    admit -> known to the ledger? -> decode, N threads -> judge, 1 thread -> cleared by a human? -> on_learned

No client can hold all decoders: when uploads wait and each decoder has had its file for longer than ``SHARE_S``, the
file that was there first makes way. It is not judged then, which is answered and recorded as any such upload, so a pass
looks at it later. The same bytes cost no second share.

What a file itself shows is often decoded long before what else is in it. Where that takes long, the file's own frames are
judged first (``_look_early``): a flag answers the upload, anything else waits for the rest.

It answers nobody and records nothing; ``decider.py`` does. All state belongs to the event loop's thread. Other
threads run ``Inspector`` and look things up in the ledger, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.records import Assessment, ItemStatus, Review
from lemmy_safety.scan.inspection import name_of
from lemmy_safety.uploads.backlog import Backlog
from lemmy_safety.uploads.batching import JudgeSpeed
from lemmy_safety.uploads.lookups import Learned, Questions, learned_from, stands_against
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Sample
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import ModelState, Upload

log = logging.getLogger(__name__)

#: Seconds that the judge waits for company while other uploads are being decoded: little against any model, and
#: enough for a decode to end. With nothing being decoded it does not wait at all.
_BATCH_WINDOW_S = 0.03

#: Seconds that a file may be decoded while others wait for a decoder: photos take a tenth of a second, short videos one.
SHARE_S: Final = 2.0

_LOOK_AGAIN_S: Final = 0.1

#: Files that cost their decoder or made way: how many are remembered, and for how many seconds. By then a pass has looked.
_MOST_COSTLY: Final = 1_000
_COSTLY_S: Final = 600.0


@dataclass(slots=True, eq=False)
class Job:
    """Bytes that are being judged, for everybody who asks about them meanwhile.

    ``learned`` is None when they were given up because nobody waited any more.
    """

    upload: Upload
    learned: asyncio.Future[Learned | None]
    sample: Sample | None = None
    waiting: int = 0
    half: float = math.inf
    deadline: float = math.inf
    """When half of the time for an answer is over, and all of it (the loop's clock), for whoever can wait longest."""
    began: float = math.inf
    """When its decoding began (the loop's clock)."""
    made_way: bool = False
    let_down: bool = False
    """Whether somebody was answered without waiting for the end."""
    early_of: Job | None = None
    """The job of the same bytes that goes on meanwhile, where this one is about the file's own frames only."""

    @property
    def awaited(self) -> bool:
        return self.waiting > 0

    def await_until(self, deadline: float, now: float) -> None:
        """Somebody waits for it from now on."""
        if not self.awaited or deadline > self.deadline:
            self.half, self.deadline = (now + deadline) / 2, deadline
        self.waiting += 1

    @property
    def frames(self) -> int:
        return len(self.sample.frames) if self.sample else 0


class UploadJudging:
    """The queues and threads of one service. ``on_learned`` is called in the loop, before anybody who waits wakes up."""

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
        self._queue = queue
        self._decode_workers = decode_workers
        self._meters = meters
        self._on_learned = on_learned
        self._loop = asyncio.get_running_loop()
        self._decode_threads = WorkerThreads("decode-upload", decode_workers)
        self._judge_thread = WorkerThreads("judge-uploads")
        self._questions = Questions("look-up-uploads")
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs: dict[str, Job] = {}
        self._to_decode: Backlog[Job] = Backlog()
        self._to_judge: Backlog[Job] = Backlog()
        self._decoding: set[Job] = set()
        self._share: asyncio.TimerHandle | None = None
        self._costly: dict[str, tuple[float, Sample]] = {}
        self._judging = False
        self._window: asyncio.TimerHandle | None = None
        self._speed = JudgeSpeed()
        inspector.when_full(self._pump_from_a_thread)
        self.model: ModelState = "loading"
        meters.model(self.model)

    async def load(self) -> None:
        """Open the detectors; uploads are taken and decoded meanwhile.

        :raises LemmySafetyError: what keeps a detector from working; nothing can be judged then.
        """
        try:
            await self._judge_thread.run(self._inspector.open)
        except LemmySafetyError:
            self._note_model("broken")
            raise
        self._note_model("ready")
        self._pump_judge()

    def admit(self, upload: Upload) -> Job | None:
        """Take an upload over; the job of the same bytes where there is one, None where there is no room."""
        job = self._jobs.get(upload.sha256)
        if job is not None:
            self._meters.joined()
            upload.drop()
            self._loop.call_soon(self._pump)  # somebody waits for it again, once this was returned
            return job
        if len(self._jobs) >= self._queue and not self._make_room():
            upload.drop()
            return None
        job = Job(upload, self._loop.create_future())
        self._jobs[upload.sha256] = job
        self._meters.queue(len(self._jobs))
        self._start(self._look_up(job))
        return job

    def holds(self, upload: Upload) -> bool:
        """Whether this very upload is being judged, and not another one of the same bytes."""
        job = self._jobs.get(upload.sha256)
        return job is not None and job.upload is upload

    def left(self, job: Job) -> None:
        """Somebody does not wait for it any more; what stood back for it goes on."""
        if not job.awaited and not job.learned.done():
            self._pump()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, job: Job) -> None:
        known = await self._questions.ask(partial(self._known, job.upload))
        if known is not None:
            self._meters.reused()
            self._finish(job, known)
            self._pump_judge()
        elif (costly := self._known_costly(job.upload)) is not None:
            job.upload.drop()
            job.sample = costly
            self._to_judge.put(job)  # a list may know the bytes
            self._pump_judge()
        else:
            self._to_decode.put(job)
            self._pump_decode()

    def _known(self, upload: Upload) -> Learned | None:
        """In a thread: a verdict on the same bytes by the same rules, or a flag of others, which ours cannot replace."""
        ruleset = self._inspector.ruleset
        known = self._ledger.objects.verdict_for(upload.sha256, ruleset)
        if known is None:
            known = self._ledger.objects.verdict_for(upload.sha256)
            if known is None or not stands_against(known, ruleset.detectors):
                return None
        return learned_from(known)

    @property
    def per_medium_s(self) -> float | None:
        """Seconds of the judge for one medium on average; None before the first."""
        return self._speed.per_medium_s

    def _pump_from_a_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        self._pump_judge()
        self._pump_decode()

    def _pump_decode(self) -> None:
        """Decode, but not further ahead than one batch: the sooner somebody's turn is fixed, the more will be late."""
        while len(self._to_decode):
            if len(self._decoding) >= self._decode_workers:
                self._make_way()
                return
            job = self._to_decode.in_order(self._loop.time())[0]
            decoded_already = [other for other in self._to_judge if other.awaited or not job.awaited]
            if self._speed.is_enough(decoded_already, self._inspector.batch_size):
                return
            self._to_decode.remove(job)
            self._decoding.add(job)
            job.began = self._loop.time()
            data, sha256 = job.upload.data or b"", job.upload.sha256
            decoded = self._decode_threads.run(partial(self._inspector.examine, data, sha256))
            decoded.add_done_callback(partial(self._decoded, job))
            left_s = max(0.0, job.deadline - job.began)
            self._loop.call_later(min(SHARE_S, left_s / 2), self._look_early, job)

    def _look_early(self, job: Job) -> None:
        """Have the file's own frames judged, while its decoder still looks at what else is in it."""
        if job not in self._decoding or job.made_way or job.learned.done():
            return
        shown = self._inspector.examine_so_far(job.upload.data or b"", job.upload.sha256) if job.awaited else None
        if shown is None:
            self._loop.call_later(_LOOK_AGAIN_S, self._look_early, job)
            return
        early = Job(job.upload, job.learned, sample=shown, early_of=job)
        early.await_until(job.deadline, self._loop.time())
        self._to_judge.put(early)
        self._pump_judge()

    def _make_way(self) -> None:
        """End one of the files that have all decoders, if each had its share and somebody waits for another one."""
        if self._share is not None:
            self._share.cancel()
            self._share = None
        if not any(job.awaited for job in self._to_decode) or any(job.made_way for job in self._decoding):
            return
        now = self._loop.time()
        over_at = max(job.began for job in self._decoding) + SHARE_S
        if now >= over_at:
            first = min(self._decoding, key=lambda job: (job.awaited, job.began))
            first.made_way = self._inspector.make_way(first.upload.data or b"", share_s=SHARE_S)
            if first.made_way:
                log.warning("%s makes way for other uploads", name_of(first.upload.sha256))
                return
        # A process that had to be started first has had its file for less time than it was waited for.
        self._share = self._loop.call_at(max(over_at, now + _LOOK_AGAIN_S), self._pump_decode)

    def _known_costly(self, upload: Upload) -> Sample | None:
        """What became of the same bytes a short time ago, if that was a decoder or its share of the time."""
        at, sample = self._costly.get(upload.sha256, (-math.inf, None))
        return sample if self._loop.time() < at + _COSTLY_S else None

    def _remember_costly(self, sample: Sample) -> None:
        self._costly.pop(sample.sha256, None)
        self._costly[sample.sha256] = self._loop.time(), sample
        if len(self._costly) > _MOST_COSTLY:
            del self._costly[next(iter(self._costly))]

    def _decoded(self, job: Job, done: asyncio.Future[Sample]) -> None:
        self._decoding.discard(job)
        job.upload.drop()
        error = done.exception()
        if job.learned.done():  # by an early look
            if error is None:
                self._inspector.discard(done.result())
        elif error is None:
            sample = job.sample = done.result()
            if sample.refusal is not None and (job.made_way or sample.refusal.decoder_broke):
                self._remember_costly(sample)
            self._to_judge.put(job)
        else:
            log.error("fault while decoding %s", name_of(job.upload.sha256), exc_info=error)
            self._finish(job, Learned(_failed(job.upload, error)))
        self._pump_judge()
        self._pump_decode()

    def _pump_judge(self, *, window_passed: bool = False) -> None:
        if self._judging or self.model == "loading" or not len(self._to_judge):
            return
        waiting = self._to_judge.in_order(self._loop.time(), self._speed.takes_s)
        # Nobody who waits for an answer waits for those whom nobody waits for.
        if any(job.awaited for job in self._jobs.values()):
            late, waiting = waiting, [job for job in waiting if job.awaited]
            if not waiting:
                for job in late:
                    # What somebody waits for cannot be decoded while these fill the memory, and they are not judged
                    # while somebody waits: given up, as they are for a full queue, until there is room.
                    if not self._inspector.is_full:
                        break
                    self._forget(job, self._to_judge)
                self._pump_decode()
                return
        batch, full = self._speed.choose(waiting, self._inspector.batch_size)
        if not full and self._decoding and not window_passed:
            if self._window is None:
                self._window = self._loop.call_later(_BATCH_WINDOW_S, self._end_window)
            return
        if self._window is not None:
            self._window.cancel()
            self._window = None
        for job in batch:
            self._to_judge.remove(job)
        self._judging = True
        self._meters.batch(len(batch))
        samples = [job.sample for job in batch if job.sample is not None]
        began = self._loop.time()
        judged = self._judge_thread.run(partial(self._inspector.judge, samples))
        judged.add_done_callback(partial(self._judged, batch, began))
        self._pump_decode()

    def _end_window(self) -> None:
        self._window = None
        self._pump_judge(window_passed=True)

    def _judged(self, batch: list[Job], began: float, done: asyncio.Future[list[Assessment]]) -> None:
        self._judging = False
        self._speed.note(len(batch), sum(job.frames for job in batch), self._loop.time() - began)
        error = done.exception()
        if error is not None:
            log.error("fault while judging", exc_info=error)
        assessments = [_failed(job.upload, error) for job in batch] if error is not None else done.result()
        self._note_model("broken" if self._inspector.broken else "ready")
        for job, assessment in zip(batch, assessments, strict=True):
            job.sample = None
            if assessment.flagged:
                self._start(self._ask_about_humans(job, assessment))
            elif job.early_of is None:
                self._finish(job, Learned(assessment))
        self._pump_judge()

    async def _ask_about_humans(self, job: Job, assessment: Assessment) -> None:
        """A human may have cleared these bytes, be it under other rules."""
        known = await self._questions.ask(partial(self._ledger.objects.verdict_for, job.upload.sha256))
        learned = Learned(assessment, cleared=known is not None and known.review is Review.CLEARED)
        if job.early_of is None:
            self._finish(job, learned)
        elif not job.learned.done():
            self._finish_early(job.early_of, learned)
        self._pump()

    def _finish_early(self, job: Job, learned: Learned) -> None:
        """What is known is enough: spare the decoder or the judge the rest."""
        if job in self._decoding:
            self._inspector.make_way(job.upload.data or b"", share_s=0.0)
        elif job in self._to_judge:
            self._to_judge.remove(job)
            if job.sample is not None:
                self._inspector.discard(job.sample)
        self._finish(job, learned)

    def _note_model(self, state: ModelState) -> None:
        if state != self.model:
            log.info("model %s", state)
        self.model = state
        self._meters.model(state)

    def _finish(self, job: Job, learned: Learned | None) -> None:
        """Nothing more will be learned of these bytes; None when they were given up."""
        if job.learned.done():  # an early look was enough
            return
        del self._jobs[job.upload.sha256]
        self._meters.queue(len(self._jobs))
        job.sample = None
        job.upload.drop()
        job.learned.set_result(learned)
        if learned is not None:
            self._on_learned(job, learned)

    def _make_room(self) -> bool:
        """Give up an upload that was answered already, in favour of one that was not."""
        for backlog in (self._to_decode, self._to_judge):
            job = backlog.late()
            if job is not None:
                self._forget(job, backlog)
                return True
        return False

    def forget_late(self) -> int:
        """Give up the bytes of an upload that was answered already; how many bytes that freed."""
        job = self._to_decode.late()
        if job is None:
            return 0
        self._forget(job, self._to_decode)
        return job.upload.size

    def _forget(self, job: Job, backlog: Backlog[Job]) -> None:
        backlog.remove(job)
        if job.sample is not None:
            self._inspector.discard(job.sample)
        self._meters.dropped_late()
        self._finish(job, None)

    async def close(self, *, within_s: float) -> None:
        """Close the detectors and let the threads end; a thread that does not come back in time is left behind."""
        if self._window is not None:
            self._window.cancel()
        if self._share is not None:
            self._share.cancel()
        self._inspector.abort()
        closed = self._judge_thread.run(self._inspector.close)
        await asyncio.wait({closed}, timeout=within_s)
        for threads in (self._judge_thread, self._decode_threads, self._questions):
            threads.close()


def _failed(upload: Upload, error: BaseException) -> Assessment:
    reason = f"fault: {type(error).__name__}"
    return Assessment(status=ItemStatus.DETECTOR_FAILED, reason=reason, sha256=upload.sha256)
