"""The first half of judging an upload: bytes become samples in a few threads.

No client can occupy all decoders: when uploads wait and each decoder has worked on its file for longer than
``SHARE_S``, the oldest file is ended. It gets no verdict, which is answered and recorded as for any such upload, so a
pass checks it later. The same bytes do not get a second share.

A file's own frames are often decoded long before anything embedded in it. If that takes long, its own frames are passed
on first (``_look_early``).
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from lemmy_safety.scan.inspection import name_of
from lemmy_safety.uploads.backlog import Backlog
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from lemmy_safety.records import Sample
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.jobs import Job
    from lemmy_safety.uploads.records import Upload

log = logging.getLogger(__name__)

#: Seconds that a file may be decoded while others wait for a decoder: photos take 0.1 s, short videos 1 s.
SHARE_S: Final = 2.0

_LOOK_AGAIN_S: Final = 0.1

#: How many files that crashed their decoder or were ended are remembered, and for how many seconds. A pass has checked
#: them by then.
_MOST_COSTLY: Final = 1_000
_COSTLY_S: Final = 600.0


class Follower(Protocol):
    """Receives what was decoded. All methods are called in the event loop."""

    def has_enough(self, job: Job) -> bool:
        """Whether enough is waiting for the judge, so that decoding this job can wait."""
        ...

    def shown(self, job: Job, sample: Sample) -> None:
        """The file's own frames, while its decoder still searches it for embedded files."""
        ...

    def decoded(self, job: Job) -> None:
        """Its sample is ready, or holds the reason why the bytes could not be decoded."""
        ...

    def failed(self, job: Job, error: BaseException) -> None:
        """A bug of ours."""
        ...

    def freed(self) -> None:
        """A decoder is free again."""
        ...


class Decoding:
    """The files of one service on their way through its decoders. Belongs to one event loop."""

    def __init__(self, inspector: Inspector, *, workers: int, follower: Follower) -> None:
        self._inspector = inspector
        self._workers = workers
        self._follower = follower
        self._loop = asyncio.get_running_loop()
        self._threads = WorkerThreads("decode-upload", workers)
        self.backlog: Backlog[Job] = Backlog()
        self._running: set[Job] = set()
        self._share: asyncio.TimerHandle | None = None
        self._costly: dict[str, tuple[float, Sample]] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is being decoded."""
        return bool(self._running)

    def put(self, job: Job) -> None:
        self.backlog.put(job)
        self.pump()

    def pump(self) -> None:
        """Decode, but not further ahead than one batch: the sooner the order is fixed, the more uploads are late."""
        while len(self.backlog):
            if len(self._running) >= self._workers:
                self._make_way()
                return
            job = self.backlog.in_order(self._loop.time())[0]
            if self._follower.has_enough(job):
                return
            self.backlog.remove(job)
            self._running.add(job)
            job.began = self._loop.time()
            data, sha256 = job.upload.data or b"", job.upload.sha256
            decoded = self._threads.run(partial(self._inspector.examine, data, sha256))
            decoded.add_done_callback(partial(self._decoded, job))
            left_s = max(0.0, job.deadline - job.began)
            self._loop.call_later(min(SHARE_S, left_s / 2), self._look_early, job)

    def spare(self, job: Job) -> bool:
        """End a decoding whose result is no longer needed; False if there is none."""
        if job not in self._running:
            return False
        self._inspector.make_way(job.upload.data or b"", share_s=0.0)
        return True

    def known_costly(self, upload: Upload) -> Sample | None:
        """The earlier result of the same bytes, if they recently crashed a decoder or used up their share of time."""
        at, sample = self._costly.get(upload.sha256, (-math.inf, None))
        return sample if self._loop.time() < at + _COSTLY_S else None

    def stop(self) -> None:
        """Cancel the pending timer."""
        if self._share is not None:
            self._share.cancel()

    def close(self) -> None:
        """Let the threads end; one that hangs is left behind."""
        self._threads.close()

    def _look_early(self, job: Job) -> None:
        """Have the file's own frames judged, while its decoder still searches it for embedded files."""
        if job not in self._running or job.made_way or job.learned.done():
            return
        shown = self._inspector.examine_so_far(job.upload.data or b"", job.upload.sha256) if job.awaited else None
        if shown is None:
            self._loop.call_later(_LOOK_AGAIN_S, self._look_early, job)
            return
        self._follower.shown(job, shown)

    def _make_way(self) -> None:
        """If all decoders are busy, each file had its share, and another upload waits, end one of them."""
        if self._share is not None:
            self._share.cancel()
            self._share = None
        if not any(job.awaited for job in self.backlog) or any(job.made_way for job in self._running):
            return
        now = self._loop.time()
        over_at = max(job.began for job in self._running) + SHARE_S
        if now >= over_at:
            first = min(self._running, key=lambda job: (job.awaited, job.began))
            first.made_way = self._inspector.make_way(first.upload.data or b"", share_s=SHARE_S)
            if first.made_way:
                log.warning("%s makes way for other uploads", name_of(first.upload.sha256))
                return
        # If its process had to be started first, it has had the file for less time than has passed here.
        self._share = self._loop.call_at(max(over_at, now + _LOOK_AGAIN_S), self.pump)

    def _remember_costly(self, sample: Sample) -> None:
        self._costly.pop(sample.sha256, None)
        self._costly[sample.sha256] = self._loop.time(), sample
        if len(self._costly) > _MOST_COSTLY:
            del self._costly[next(iter(self._costly))]

    def _decoded(self, job: Job, done: asyncio.Future[Sample]) -> None:
        self._running.discard(job)
        job.upload.drop()
        error = done.exception()
        if job.learned.done():  # from the early frames
            if error is None:
                self._inspector.discard(done.result())
        elif error is None:
            sample = job.sample = done.result()
            if sample.refusal is not None and (job.made_way or sample.refusal.decoder_broke):
                self._remember_costly(sample)
            self._follower.decoded(job)
        else:
            log.error("fault while decoding %s", name_of(job.upload.sha256), exc_info=error)
            self._follower.failed(job, error)
        self._follower.freed()
