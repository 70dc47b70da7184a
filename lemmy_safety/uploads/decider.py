"""The engine behind the hook: an upload in, a decision out, before a deadline. It is independent of HTTP.

Without a verdict in time, ``accept_unchecked`` decides the answer, but bytes known to be flagged are refused. An upload
is accepted unchecked only after the record of that is on disk. If even that fails, it is refused: nothing is accepted
without a trace. A verdict that comes after the answer is still recorded.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.records import ItemStatus
from lemmy_safety.scan.inspection import name_of
from lemmy_safety.uploads.judging import UploadJudging
from lemmy_safety.uploads.lookups import Questions, learned_from
from lemmy_safety.uploads.recorder import UploadRecorder
from lemmy_safety.uploads.records import AnswerKind, Cause, Decision

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Assessment
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.jobs import Job
    from lemmy_safety.uploads.lookups import Learned
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import ModelState, Upload

log = logging.getLogger(__name__)

#: The most seconds that an answer without a verdict waits for what the ledger knows of the same bytes, and that each
#: answer waits for its record, even beyond the budget: Lemmy waits 10 s for a thumbnail, and the budget is 8 s.
#: "Accepted unchecked" is never sent without a record; other answers are sent, and their record is retried.
_LOOKUP_WAIT_S = 0.5
_RECORD_WAIT_S = 1.0

_CAUSES = {
    ItemStatus.UNREADABLE: Cause.UNREADABLE,
    ItemStatus.UNSUPPORTED: Cause.UNSUPPORTED,
    ItemStatus.TOO_LARGE: Cause.TOO_LARGE,
    ItemStatus.DETECTOR_FAILED: Cause.DETECTOR_FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOptions:
    """``accept_unchecked``: the answer without a verdict. ``queue``: the most uploads in progress at a time.

    In a ``dry_run`` flagged uploads are recorded and accepted.
    """

    accept_unchecked: bool
    queue: int
    decode_workers: int
    dry_run: bool = False


class Judging(Protocol):
    """Judges uploads. Its methods are documented in ``UploadJudging``."""

    @property
    def model(self) -> ModelState: ...

    async def load(self) -> None: ...

    def admit(self, upload: Upload) -> Job | None: ...

    def holds(self, upload: Upload) -> bool: ...

    def left(self, job: Job) -> None: ...

    def forget_late(self) -> int: ...

    async def close(self, *, within_s: float) -> None: ...


class Decider(ABC):
    """Decides on uploads by what a ``Judging`` learns. Created in a running event loop and used only there."""

    def __init__(self, *, ledger: Ledger, accept_unchecked: bool, dry_run: bool, meters: Meters) -> None:
        self._accept_unchecked = accept_unchecked
        self._dry_run = dry_run
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._ledger = ledger
        # Not the thread that looks up new uploads: queued behind many of those, this question would time out, and
        # flagged bytes would be accepted unchecked.
        self._questions = Questions("look-up-flagged")
        self._recorder = UploadRecorder(ledger.uploads, meters)
        self._over: asyncio.Future[None] = self._loop.create_future()

    @property
    @abstractmethod
    def _judging(self) -> Judging: ...

    @property
    def model(self) -> ModelState:
        return self._judging.model

    async def load(self) -> None:
        """Open the detectors; uploads that arrive meanwhile wait.

        :raises LemmySafetyError: what keeps a detector from working; nothing can be judged then.
        """
        await self._judging.load()

    async def validate(self, upload: Upload, *, deadline: float) -> Decision:
        """Decide before ``deadline`` (the loop's time), at most 1.5 s after it. Owns the upload."""
        try:
            return await self._validate(upload, deadline)
        except Exception:
            log.exception("fault while deciding on %s", name_of(upload.sha256))
            if not self._judging.holds(upload):
                upload.drop()
            return await self._undecided(upload, Cause.FAULT)

    async def _validate(self, upload: Upload, deadline: float) -> Decision:
        job = self._judging.admit(upload)
        if job is None:
            return await self._undecided(upload, Cause.QUEUE_FULL)
        learned = await self._wait(job, deadline)
        if learned is None:
            return await self._undecided(upload, self._why_not(), job=job)
        return await self._decided(upload, learned)

    async def _wait(self, job: Job, deadline: float) -> Learned | None:
        ends: set[asyncio.Future[Learned | None] | asyncio.Future[None]] = {job.learned, self._over}
        now = self._loop.time()
        job.await_until(deadline, now)
        try:
            patience = max(0.0, deadline - now)
            await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            job.waiting -= 1
            self._judging.left(job)
        return job.learned.result() if job.learned.done() else None

    def _why_not(self) -> Cause:
        if self._over.done():
            return Cause.STOPPING
        return Cause.MODEL_LOADING if self.model == "loading" else Cause.TIMED_OUT

    async def _decided(self, upload: Upload, learned: Learned) -> Decision:
        assessment = learned.assessment
        if assessment.verdict is None:
            return await self._undecided(upload, _CAUSES[assessment.status], assessment)
        kind = AnswerKind.ACCEPTED
        if learned.flagged:
            kind = AnswerKind.ACCEPTED_DRY_RUN if self._dry_run else AnswerKind.REFUSED
        if kind is not AnswerKind.ACCEPTED:
            log.info("%s %s", _shown(upload), "refused" if kind is AnswerKind.REFUSED else "accepted in a dry run")
        answer = UploadAnswer.REFUSED if kind is AnswerKind.REFUSED else UploadAnswer.ACCEPTED
        await self._recorder.record(_record(upload, answer, learned), within_s=_RECORD_WAIT_S, keep=True)
        return Decision(kind=kind)

    async def _undecided(
        self, upload: Upload, cause: Cause, assessment: Assessment | None = None, *, job: Job | None = None
    ) -> Decision:
        known = await self._known_flagged(upload)
        if job is not None:
            if job.learned.done() and (late := job.learned.result()) is not None:  # just in time
                return await self._decided(upload, late)
            job.answered_early = True
        if known is not None:
            return await self._decided(upload, known)
        name, reason = _shown(upload), cause.value
        if assessment is not None and assessment.reason:
            reason = f"{reason}: {assessment.reason}"
        if not self._accept_unchecked:
            refused = _unchecked_record(upload, UploadAnswer.REFUSED, assessment, reason)
            await self._recorder.record(refused, within_s=_RECORD_WAIT_S, keep=True)
            log.warning("%s refused unchecked (%s)", name, reason)
            return Decision(kind=AnswerKind.UNCHECKED_REFUSED, cause=cause)
        record = _unchecked_record(upload, UploadAnswer.UNCHECKED, assessment, reason)
        if await self._recorder.record(record, within_s=_RECORD_WAIT_S, keep=False):
            log.warning("%s accepted unchecked (%s)", name, reason)
            return Decision(kind=AnswerKind.UNCHECKED_ACCEPTED, cause=cause)
        log.error("%s refused, because it cannot be recorded that it was not checked (%s)", name, reason)
        self._recorder.record_later(_unchecked_record(upload, UploadAnswer.REFUSED, assessment, reason))
        return Decision(kind=AnswerKind.UNCHECKED_REFUSED, cause=cause)

    async def _known_flagged(self, upload: Upload) -> Learned | None:
        """An earlier flag on these bytes, by any rules, that no human has cleared. Such bytes are not accepted just
        because there was no time to check them again.
        """
        question = partial(self._ledger.objects.verdict_for, upload.sha256)
        known = await self._questions.ask(question, within_s=_LOOKUP_WAIT_S)
        return learned_from(known) if known is not None and known.stands else None

    def _note_late(self, job: Job, learned: Learned) -> None:
        """Record what was learned after the answer was sent.

        The answer's own record was queued when it was sent, so this one follows it.
        """
        assessment = learned.assessment
        if job.answered_early and assessment.status.settled:
            self._recorder.record_later(_record(job.upload, None, learned))
            verdict = assessment.verdict
            self._meters.late_verdict(assessment.status.value if verdict is None else verdict.outcome.value)

    def forget_late(self) -> int:
        """See ``UploadEngine``."""
        return self._judging.forget_late()

    def end_waits(self) -> None:
        """See ``UploadEngine``."""
        if not self._over.done():
            self._over.set_result(None)

    async def close(self, *, within_s: float) -> None:
        """End all waits, write what is to be written, close the detectors; what takes longer is left behind."""
        self.end_waits()
        await self._recorder.flush(within_s=within_s / 2)
        self._recorder.close()
        self._questions.close()
        await self._judging.close(within_s=within_s / 2)


class Validator(Decider):
    """Decides with our own detectors."""

    def __init__(self, *, inspector: Inspector, ledger: Ledger, options: ValidationOptions, meters: Meters) -> None:
        super().__init__(
            ledger=ledger, accept_unchecked=options.accept_unchecked, dry_run=options.dry_run, meters=meters
        )
        self._detectors = UploadJudging(
            inspector=inspector,
            ledger=ledger,
            queue=options.queue,
            decode_workers=options.decode_workers,
            meters=meters,
            on_learned=self._note_late,
        )

    @property
    def _judging(self) -> Judging:
        return self._detectors


def _record(upload: Upload, answer: UploadAnswer | None, learned: Learned) -> UploadResult:
    return UploadResult(
        sha256=upload.sha256,
        size=upload.size,
        media_type=upload.media_type,
        answer=answer,
        assessment=learned.assessment,
        reused_from=learned.reused_from,
        storage_key=upload.storage_key,
    )


def _unchecked_record(upload: Upload, answer: UploadAnswer, assessment: Assessment | None, reason: str) -> UploadResult:
    """A result without a verdict; ``reason`` replaces the assessment's own."""
    return UploadResult(
        sha256=upload.sha256,
        size=upload.size,
        media_type=upload.media_type,
        answer=answer,
        assessment=None if assessment is None else replace(assessment, reason=reason),
        reason=reason,
        storage_key=upload.storage_key,
    )


def _shown(upload: Upload) -> str:
    """An upload as log lines name it, with its storage key if pict-rs gave one."""
    name = name_of(upload.sha256)
    return name if upload.storage_key is None else f"{name} ({upload.storage_key})"
