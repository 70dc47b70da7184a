"""Judges bytes that are sent to us instead of being fetched, exactly as a pass judges objects.

The same functions as in a pass decode (``decode``) and judge (``Judge``); this module adds only what a pass gets from
its pipeline: a bound on decoded frames, and a judge that continues after a detector broke. It does not know the ledger.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lemmy_safety.errors import DetectorError, WorkerDied
from lemmy_safety.foreign import foreign
from lemmy_safety.records import Assessment, ItemStatus, Refusal, Sample
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.pipeline import PipelineStopped
from lemmy_safety.scan.stages.decode import decode, sample_of
from lemmy_safety.scan.stages.judge import Judge, known_good_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.media import Decoder
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import Ruleset

log = logging.getLogger(__name__)

#: How many digits of the hash name a medium without a key; enough to find it in the ledger.
_DIGITS = 16


def name_of(sha256: str) -> str:
    """The name in logs for bytes that are not in a storage."""
    return f"upload {sha256[:_DIGITS]}"


class Inspector:
    """``examine`` in any number of threads, then ``judge`` in one.

    Each ``Sample`` from ``examine`` occupies the frame budget until it is passed to ``judge`` or ``discard``.
    """

    def __init__(
        self,
        *,
        detectors: Sequence[Detector],
        policy: Policy,
        decoder: Decoder,
        frame_bytes: int,
        skip_plain: bool = True,
    ) -> None:
        """``frame_bytes`` bounds the pixels that wait for the judge; detectors need not be open yet.

        :raises DetectorError: a detector cannot determine its version, such as with an unreadable hash list.
        """
        self._detectors = tuple(detectors)
        self._policy = policy
        self._decoder = decoder
        self._skip_plain = skip_plain
        self._frames = ByteBudget(frame_bytes)
        self._judge = self._new_judge()
        self._broken = False
        self._when_full: Callable[[], None] | None = None

    def _new_judge(self) -> Judge:
        return Judge(
            detectors=self._detectors,
            policy=self._policy,
            frames=self._frames,
            decoder=self._decoder.version,
            skip_plain=self._skip_plain,
        )

    @property
    def ruleset(self) -> Ruleset:
        """The rules of its verdicts, as in ``Judge``."""
        return self._judge.ruleset

    @property
    def batch_size(self) -> int:
        """The largest batch size that any detector can use."""
        return self._judge.batch_size

    @property
    def broken(self) -> bool:
        """Whether a detector failed on a whole batch and then on a known good picture."""
        return self._broken

    @property
    def is_full(self) -> bool:
        """Whether a decoded medium waits because the frames of others fill the budget until they are judged or
        discarded.
        """
        return self._frames.waiting > 0

    def when_full(self, call: Callable[[], None]) -> None:
        """Have ``call`` called whenever ``is_full`` may have become true, from any thread; it must not block."""
        self._when_full = call

    def open(self) -> None:
        """Load the models and run each on one picture, so that the first upload does not pay for the warm-up.

        :raises LemmySafetyError: MissingExtra or DetectorError, as ``Detector.open``.
        """
        for detector in self._detectors:
            detector.open()
            try:
                detector.detect([known_good_sample()])
            except DetectorError:
                raise
            except Exception as error:
                raise DetectorError(f"{detector.name} fails on its first picture: {foreign(error)}") from error

    def examine(self, data: bytes, sha256: str) -> Sample:
        """Decode; waits while the frames of others fill the budget. Raises nothing, whatever the bytes are."""
        try:
            sample = decode(self._decoder, data, sha256=sha256, key=name_of(sha256))
        except WorkerDied as error:
            log.error("nothing can be decoded: %s", error)  # noqa: TRY400 - one line says it
            return _unjudged(sha256, error.message)
        if sample.frames:
            try:
                self._frames.acquire(sample.nbytes, when_waiting=self._when_full)
            except PipelineStopped:
                return _unjudged(sha256, "stopped before it was judged")
        return sample

    def examine_so_far(self, data: bytes, sha256: str) -> Sample | None:
        """The file's own frames, while ``examine`` still searches it for embedded files.

        None if they are not known yet, or do not fit the budget now. Does not wait.
        """
        media = self._decoder.shown_so_far(data)
        if media is None:
            return None
        sample = sample_of(self._decoder, media, sha256=sha256, key=name_of(sha256))
        return sample if self._frames.take_now(sample.nbytes) else None

    def make_way(self, data: bytes, *, share_s: float) -> bool:
        """End the decoding of this very object, if it has run for ``share_s``; ``examine`` then returns what is known.

        Returns whether it was ended.
        """
        return self._decoder.make_way(data, share_s=share_s)

    def discard(self, sample: Sample) -> None:
        """Forget a medium without a waiting caller."""
        self._frames.release(sample.nbytes)

    def judge(self, batch: Sequence[Sample]) -> list[Assessment]:
        """Assessments in the order of the batch. Raises nothing.

        If a pass would end because a detector is broken, the media get the status DETECTOR_FAILED, and the findings of
        the other detectors still count.
        """
        try:
            return self._judged(batch)
        finally:
            for sample in batch:
                self.discard(sample)

    def _judged(self, batch: Sequence[Sample]) -> list[Assessment]:
        try:
            assessments = self._judge.judge(batch, names=_names(batch))
        except Exception:
            log.exception("a detector fails on everything")
            assessments = [self._judged_alone(sample) for sample in batch]
        # Only some detectors check a sample without frames.
        pictures = [assessment for sample, assessment in zip(batch, assessments, strict=True) if sample.refusal is None]
        if any(assessment.detectors == self.ruleset.detectors for assessment in pictures):
            self._broken = False
        elif pictures:
            self._broken = not self._works()
        return assessments

    def _works(self) -> bool:
        """Whether the media were the problem, and the detectors still work."""
        try:
            for detector in self._detectors:
                detector.detect([known_good_sample()])
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be judged; the cause was logged before
            log.error("%s fails on a picture that is known to be good: %s", detector.name, error)  # noqa: TRY400
            return False
        return True

    def _judged_alone(self, sample: Sample) -> Assessment:
        # A judge gives up after several failures in a row, and loses the findings of other detectors; a new one has had
        # none.
        self._judge = self._new_judge()
        try:
            return self._judge.judge([sample], names=_names([sample]))[0]
        except Exception as error:
            log.exception("fault while judging %s", name_of(sample.sha256))
            reason = f"fault while judging: {type(error).__name__}"
            return Assessment(status=ItemStatus.DETECTOR_FAILED, reason=reason, sha256=sample.sha256)

    def abort(self) -> None:
        """End every wait in ``examine``."""
        self._frames.abort()

    def close(self) -> None:
        """Close the detectors; not while ``judge`` runs."""
        for detector in self._detectors:
            detector.close()


def _names(batch: Sequence[Sample]) -> list[str]:
    return [name_of(sample.sha256) for sample in batch]


def _unjudged(sha256: str, reason: str) -> Sample:
    return Sample(sha256=sha256, refusal=Refusal(status=ItemStatus.DETECTOR_FAILED, reason=reason))
