"""What a worker does with one medium: judges it, answers its server, and records it here."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.outgoing import ServerTrouble
from lemmy_safety.records import Assessment, ItemStatus
from lemmy_safety.relay.messages import encode_answer
from lemmy_safety.uploads.lookups import Learned

if TYPE_CHECKING:
    from lemmy_safety.relay.worker.backoff import Backoff
    from lemmy_safety.relay.worker.client import Popped, WorkerClient
    from lemmy_safety.uploads.judging import UploadJudging
    from lemmy_safety.uploads.recorder import UploadRecorder
    from lemmy_safety.uploads.records import Upload

log = logging.getLogger(__name__)

#: How long after the medium came an answer is still worth sending; pict-rs has given up by then.
WORTH_TELLING_S: Final = 30.0


class Answering:
    """The media of one server. Belongs to one event loop."""

    def __init__(
        self,
        *,
        client: WorkerClient,
        judging: UploadJudging,
        recorder: UploadRecorder,
        backoff: Backoff,
        accept_unchecked: bool,
        dry_run: bool,
    ) -> None:
        """``accept_unchecked`` and ``dry_run`` are those of ``WorkerOptions``."""
        self._client = client
        self._judging = judging
        self._recorder = recorder
        self._backoff = backoff
        self._accept_unchecked = accept_unchecked
        self._dry_run = dry_run
        self._loop = asyncio.get_running_loop()

    async def handle(self, popped: Popped) -> None:
        """Judge it, send the result, and record it."""
        learned = await self._judge(popped)
        assessment = learned.assessment
        refuse = self._refuses(learned)
        message = encode_answer(popped.name, assessment, refuse=refuse)
        in_time = await self._tell(message)
        if popped.upload is not None:
            self._record(popped.upload, assessment, refuse=refuse, in_time=in_time)

    async def _judge(self, popped: Popped) -> Learned:
        upload = popped.upload
        if upload is None:
            status = ItemStatus.TOO_LARGE if popped.too_large else ItemStatus.UNREADABLE
            return Learned(Assessment(status=status, reason=popped.reason))
        job = self._judging.admit(upload)
        learned = None
        if job is not None:
            job.waiting += 1
            try:
                learned = await asyncio.shield(job.learned)
            finally:
                job.waiting -= 1
                self._judging.left(job)
        if learned is not None:
            return learned
        return Learned(Assessment(status=ItemStatus.DETECTOR_FAILED, reason="no room", sha256=upload.sha256))

    def _refuses(self, learned: Learned) -> bool:
        if learned.assessment.verdict is None:
            # A relay receives the status, and follows its own setting for it.
            return not self._client.is_relay and not self._accept_unchecked
        return learned.flagged and not self._dry_run

    async def _tell(self, message: dict[str, object]) -> bool:
        """Send the answer. Returns whether it was in time for pict-rs."""
        worth_until = self._loop.time() + WORTH_TELLING_S
        while True:
            asked_at = self._backoff.now()
            try:
                in_time = await self._client.answer(message)
            except ServerTrouble as error:
                if self._loop.time() >= worth_until:
                    log.warning("an answer could not be delivered: %s", error)
                    return False
                await self._backoff.after(error)
            else:
                self._backoff.answered(asked_at=asked_at)
                return in_time

    def _record(self, upload: Upload, assessment: Assessment, *, refuse: bool, in_time: bool) -> None:
        """An answer sent in time was also given to pict-rs. A late one was, as far as we know, accepted, and is judged
        now.

        Without a verdict the relay keeps the record, and ``UncheckedMirror`` reads it.
        """
        if assessment.verdict is None and (self._client.is_relay or not in_time):
            return
        if assessment.verdict is None:
            answer = UploadAnswer.REFUSED if refuse else UploadAnswer.UNCHECKED
            self._recorder.record_later(_row(upload, assessment, answer))
        elif in_time:
            answer = UploadAnswer.REFUSED if refuse else UploadAnswer.ACCEPTED
            self._recorder.record_later(_row(upload, assessment, answer))
        else:
            self._recorder.record_later(_row(upload, None, UploadAnswer.UNCHECKED))
            self._recorder.record_later(_row(upload, assessment, None))


def _row(upload: Upload, assessment: Assessment | None, answer: UploadAnswer | None) -> UploadResult:
    return UploadResult(
        sha256=upload.sha256,
        size=upload.size,
        media_type=upload.media_type,
        answer=answer,
        assessment=assessment,
        reason="judged too late" if assessment is None else "",
    )
