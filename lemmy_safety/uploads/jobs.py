"""Uploads that an engine is judging: one job for the same bytes, and no more jobs than there is room for."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.records import Sample
    from lemmy_safety.uploads.lookups import Learned
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import Upload


@dataclass(slots=True, eq=False)
class Job:
    """Bytes that are being judged, for all callers that ask about them meanwhile.

    ``learned`` is None when they were given up because no caller waited any more.
    """

    upload: Upload
    learned: asyncio.Future[Learned | None]
    sample: Sample | None = None
    waiting: int = 0
    half: float = math.inf
    deadline: float = math.inf
    """When half of the time for an answer is over, and all of it (the loop's clock), for the most patient caller."""
    began: float = math.inf
    """When its decoding began (the loop's clock)."""
    made_way: bool = False
    answered_early: bool = False
    """Whether a caller was answered before the job ended."""
    early_of: Job | None = None
    """If this job is only about the file's own frames: the job of the same bytes, which goes on meanwhile."""

    @property
    def awaited(self) -> bool:
        return self.waiting > 0

    def await_until(self, deadline: float, now: float) -> None:
        """A caller waits for it from now on."""
        if not self.awaited or deadline > self.deadline:
            self.half, self.deadline = (now + deadline) / 2, deadline
        self.waiting += 1

    @property
    def frames(self) -> int:
        return len(self.sample.frames) if self.sample else 0


class JobTable:
    """The jobs of one engine by their SHA-256. Belongs to one event loop."""

    def __init__(
        self,
        *,
        capacity: int,
        meters: Meters,
        on_learned: Callable[[Job, Learned], None],
        is_open: Callable[[Job], bool] = lambda _job: True,
    ) -> None:
        """At most ``capacity`` jobs are open at a time. One that is not ``is_open`` takes no slot and cannot be joined.

        ``on_learned`` is called before any waiting caller wakes up.
        """
        self._capacity = capacity
        self._meters = meters
        self._on_learned = on_learned
        self._is_open = is_open
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def admit(self, upload: Upload, *, make_room: Callable[[], bool] = lambda: False, new: bool = True) -> Job | None:
        """Take ownership of an upload. Returns the open job of the same bytes if any, None if there is no room.

        ``make_room`` is asked to end a job if all slots are taken. Without ``new`` no job is added. An added job is
        about this very upload.
        """
        job = self._jobs.get(upload.sha256)
        if job is not None and self._is_open(job):
            self._meters.joined()
            upload.drop()
            return job
        if not new or (sum(map(self._is_open, self)) >= self._capacity and not make_room()):
            upload.drop()
            return None
        job = Job(upload, self._loop.create_future())
        self._jobs[upload.sha256] = job
        self._meters.queue(len(self._jobs))
        return job

    def holds(self, upload: Upload) -> bool:
        """Whether this very upload is being judged, and not another one of the same bytes."""
        job = self._jobs.get(upload.sha256)
        return job is not None and job.upload is upload

    def finish(self, job: Job, learned: Learned | None) -> None:
        """End a job: nothing more will be learned about its bytes. None if they were given up. Once per job."""
        if self._jobs.get(job.upload.sha256) is job:  # else a later job of the same bytes replaced it
            del self._jobs[job.upload.sha256]
        self._meters.queue(len(self._jobs))
        job.sample = None
        job.upload.drop()
        job.learned.set_result(learned)
        if learned is not None:
            self._on_learned(job, learned)
