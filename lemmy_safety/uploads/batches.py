"""The second half of judging an upload: samples become assessments in small batches, in one thread.

Uploads with a waiting caller are judged before those without. The batch size is learned (``judge_speed.py``);
``backlog.py`` decides which upload is next.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.records import Assessment, ItemStatus
from lemmy_safety.uploads.backlog import Backlog
from lemmy_safety.uploads.judge_speed import JudgeSpeed
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.jobs import Job, JobTable
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import ModelState, Upload

log = logging.getLogger(__name__)

#: Seconds that the judge waits for a fuller batch while other uploads are being decoded: short compared to any model,
#: long enough for a decode to end. If nothing is being decoded, it does not wait.
_BATCH_WINDOW_S = 0.03


class Follower(Protocol):
    """Receives what was judged. All methods are called in the event loop."""

    def is_decoding(self) -> bool:
        """Whether more is about to come."""
        ...

    def judged(self, job: Job, assessment: Assessment) -> None:
        """Receives the detectors' assessment of the job."""
        ...

    def give_up(self, job: Job) -> None:
        """No caller waits for the job, and its frames occupy memory that others need. Removes it from the backlog."""
        ...

    def taken(self) -> None:
        """The queue got shorter."""
        ...


class Batches:
    """The samples of one service on their way through the detectors. Belongs to one event loop."""

    def __init__(self, inspector: Inspector, *, jobs: JobTable, meters: Meters, follower: Follower) -> None:
        """``jobs`` holds all jobs in progress, including those not decoded yet."""
        self._inspector = inspector
        self._jobs = jobs
        self._meters = meters
        self._follower = follower
        self._loop = asyncio.get_running_loop()
        self._thread = WorkerThreads("judge-uploads")
        self.backlog: Backlog[Job] = Backlog()
        self._judging = False
        self._window: asyncio.TimerHandle | None = None
        self._speed = JudgeSpeed()
        self.model: ModelState = "loading"
        meters.model(self.model)

    @property
    def per_medium_s(self) -> float | None:
        """Seconds for one medium on average; None before the first."""
        return self._speed.per_medium_s

    async def load(self) -> None:
        """Open the detectors; samples may come meanwhile.

        :raises LemmySafetyError: what keeps a detector from working; nothing can be judged then.
        """
        try:
            await self._thread.run(self._inspector.open)
        except LemmySafetyError:
            self._note_model("broken")
            raise
        self._note_model("ready")
        self.pump()

    def put(self, job: Job) -> None:
        self.backlog.put(job)
        self.pump()

    def has_enough_before(self, job: Job) -> bool:
        """Whether the jobs ahead of this one already fill the next batch."""
        before = [other for other in self.backlog if other.awaited or not job.awaited]
        return self._speed.is_enough(before, self._inspector.batch_size)

    def pump(self, *, window_passed: bool = False) -> None:
        """Judge the next batch, if the judge is free and need not wait for a fuller batch."""
        if self._judging or self.model == "loading" or not len(self.backlog):
            return
        waiting = self.backlog.in_order(self._loop.time(), self._speed.takes_s)
        # An upload with a waiting caller never waits for one without.
        if any(job.awaited for job in self._jobs):
            late, waiting = waiting, [job for job in waiting if job.awaited]
            if not waiting:
                for job in late:
                    # Late uploads fill the memory that awaited ones need for decoding, and are not judged while a
                    # caller waits. Give them up, as for a full queue, until there is room.
                    if not self._inspector.is_full:
                        break
                    self._follower.give_up(job)
                self._follower.taken()
                return
        batch, full = self._speed.choose(waiting, self._inspector.batch_size)
        if not full and self._follower.is_decoding() and not window_passed:
            if self._window is None:
                self._window = self._loop.call_later(_BATCH_WINDOW_S, self._end_window)
            return
        self.stop()
        for job in batch:
            self.backlog.remove(job)
        self._judging = True
        self._meters.batch(len(batch))
        samples = [job.sample for job in batch if job.sample is not None]
        began = self._loop.time()
        judged = self._thread.run(partial(self._inspector.judge, samples))
        judged.add_done_callback(partial(self._judged, batch, began))
        self._follower.taken()

    def stop(self) -> None:
        """Stop waiting for fuller batches."""
        if self._window is not None:
            self._window.cancel()
            self._window = None

    async def close(self, *, within_s: float) -> None:
        """Close the detectors and let the thread end; one that does not come back in time is left behind."""
        closed = self._thread.run(self._inspector.close)
        await asyncio.wait({closed}, timeout=within_s)
        self._thread.close()

    def _end_window(self) -> None:
        self._window = None
        self.pump(window_passed=True)

    def _judged(self, batch: list[Job], began: float, done: asyncio.Future[list[Assessment]]) -> None:
        self._judging = False
        self._speed.note(len(batch), sum(job.frames for job in batch), self._loop.time() - began)
        error = done.exception()
        if error is not None:
            log.error("fault while judging", exc_info=error)
        assessments = [fault(job.upload, error) for job in batch] if error is not None else done.result()
        self._note_model("broken" if self._inspector.broken else "ready")
        for job, assessment in zip(batch, assessments, strict=True):
            job.sample = None
            self._follower.judged(job, assessment)
        self.pump()

    def _note_model(self, state: ModelState) -> None:
        if state != self.model:
            log.info("model %s", state)
        self.model = state
        self._meters.model(state)


def fault(upload: Upload, error: BaseException) -> Assessment:
    """The assessment of an upload that could not be judged because of a bug of ours."""
    reason = f"fault: {type(error).__name__}"
    return Assessment(status=ItemStatus.DETECTOR_FAILED, reason=reason, sha256=upload.sha256)
