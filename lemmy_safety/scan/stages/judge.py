"""Judge stage: batches of samples through every detector, findings through the policy."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.errors import DetectorError, LemmySafetyError
from lemmy_safety.fingerprints import pdq_of
from lemmy_safety.foreign import foreign
from lemmy_safety.policy import MEDIA
from lemmy_safety.records import Assessment, Finding, Frame, ItemResult, ItemStatus, MediaInfo, Outcome, Ruleset, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import Verdict
    from lemmy_safety.scan.budget import ByteBudget
    from lemmy_safety.scan.items import Decoded, RecordChannel
    from lemmy_safety.scan.pipeline import Channel

log = logging.getLogger(__name__)

#: Seconds to wait for a batch to fill up after its first sample: short against any model, long against a decode.
_BATCH_WAIT_S = 0.05

#: Samples in a row that a detector may fail on before it is tried on a picture of ours; if it fails on that too, the
#: detector is broken, and the run ends with its error.
_BROKEN_AFTER = 10

#: The detector name of findings for anomalies.
_ANOMALY_VERSION = "1"


def known_good_sample() -> Sample:
    """A picture that no working detector can fail on: the canary, small."""
    pixels = np.asarray(canary_image().resize((256, 192)))
    return Sample(
        sha256="0" * 64,
        info=MediaInfo(media_type="image/png", width=256, height=192),
        frames=(Frame(pixels=pixels),),
        pdqs=(pdq_of(pixels),),
    )


class Judge:
    """Runs the detectors in their order. One thread: models and devices are not shared."""

    def __init__(
        self,
        *,
        detectors: Sequence[Detector],
        policy: Policy,
        frames: ByteBudget,
        decoder: str,
        skip_plain: bool = True,
    ) -> None:
        """``decoder`` is the version of the decoder that the samples come from."""
        self._frames = frames
        self._skip_plain = skip_plain
        self._detectors = detectors
        self._policy = policy
        self._names = frozenset(detector.name for detector in detectors)
        self._failed_in_a_row: Counter[str] = Counter()
        looked_with = [*(f"{detector.name} {detector.version}" for detector in detectors), decoder, str(skip_plain)]
        versions = "\n".join(sorted(looked_with))
        #: The rules of its verdicts. Another policy, decoder, or detector version gives another ``rules_version``.
        self.ruleset = Ruleset(
            detectors=self._names,
            decoder=decoder,
            rules_version=f"{policy.rules_version}+{hashlib.sha256(versions.encode()).hexdigest()[:12]}",
            names_matter=policy.judges_names,
        )

    @property
    def batch_size(self) -> int:
        return max(detector.batch_size for detector in self._detectors)

    def run(self, inbox: Channel[Decoded], to_record: RecordChannel) -> None:
        """The worker's loop.

        :raises DetectorError: a detector fails on everything.
        """
        while batch := inbox.get_batch(self.batch_size, _BATCH_WAIT_S):
            samples = [item.sample for item in batch]
            assessments = self.judge(samples, names=[item.obj.key for item in batch])
            for item, assessment in zip(batch, assessments, strict=True):
                to_record.put_result(ItemResult(obj=item.obj, assessment=assessment))
            self._frames.release(sum(sample.nbytes for sample in samples))

    def judge(self, batch: Sequence[Sample], *, names: Sequence[str]) -> list[Assessment]:
        """Assessments in the order of the batch; ``names`` are the samples' names in logs."""
        found: list[list[Finding]] = [[] for _ in batch]
        failed: list[dict[str, LemmySafetyError]] = [{} for _ in batch]
        for detector in self._detectors:
            for position, findings in enumerate(self._detect(detector, batch, names)):
                if isinstance(findings, LemmySafetyError):
                    failed[position][detector.name] = findings
                else:
                    found[position] += findings
        return [self._assessment(*one) for one in zip(names, batch, found, failed, strict=True)]

    def _assessment(
        self, name: str, sample: Sample, findings: list[Finding], failed: dict[str, LemmySafetyError]
    ) -> Assessment:
        facts = Assessment(
            status=ItemStatus.CHECKED,
            sha256=sample.sha256,
            pdq=sample.pdqs[0] if sample.pdqs else None,
            info=sample.info,
        )
        refusal = sample.refusal
        if refusal is not None and not failed and not any(finding.hit for finding in findings):
            return replace(facts, status=refusal.status, reason=refusal.reason, decoder_broke=refusal.decoder_broke)
        ran = self._names - failed.keys()
        verdict = self._verdict(name, [*findings, *self._anomalies(sample)], ran)
        # A detector that fails on a picture must not hide what another one found in it.
        if failed and verdict.outcome is not Outcome.FLAGGED:
            reason = "; ".join(error.message for error in failed.values())
            return replace(facts, status=ItemStatus.DETECTOR_FAILED, reason=reason)
        reason = "" if refusal is None else f"known by its bytes; {refusal.reason}"
        return replace(facts, reason=reason, verdict=verdict, detectors=ran)

    def _anomalies(self, sample: Sample) -> list[Finding]:
        """The anomalies that the policy has a rule for; the others are only in the sample's ``info``."""
        return [
            Finding(
                detector=MEDIA,
                version=_ANOMALY_VERSION,
                label=anomaly.kind,
                score=1.0,
                threshold=1.0,
                details={"what": anomaly.detail, "offset": anomaly.offset, "size": anomaly.size},
            )
            for anomaly in (sample.info.anomalies if sample.info else ())
            if (MEDIA, anomaly.kind) in self._policy.rules
        ]

    def _verdict(self, name: str, findings: Sequence[Finding], ran: frozenset[str]) -> Verdict:
        verdict = replace(self._policy.judge(findings, ran=ran), rules_version=self.ruleset.rules_version)
        if verdict.outcome is Outcome.FLAGGED:
            labels = sorted({f"{finding.detector}:{finding.label}" for finding in findings if finding.hit})
            log.warning("flagged key=%r by=%s", name, ",".join(labels))
        return verdict

    def _detect(
        self, detector: Detector, batch: Sequence[Sample], names: Sequence[str]
    ) -> list[list[Finding] | LemmySafetyError]:
        """Findings per sample. If the whole batch fails, each sample is tried alone, so that a bad one costs only
        itself.
        """
        samples = [self._shown_to(detector, sample) for sample in batch]
        visible = [place for place, sample in enumerate(samples) if sample.frames or detector.reads_plain]
        answers: list[list[Finding] | LemmySafetyError] = [[] for _ in batch]
        if not visible:
            return answers
        detector.load()  # a model that cannot be loaded ends the pass: no picture is at fault
        try:
            found: Sequence[list[Finding] | LemmySafetyError] = detector.detect([samples[place] for place in visible])
        except Exception:
            log.warning("detector %s failed on a batch of %d", detector.name, len(visible), exc_info=True)
            found = [self._detect_one(detector, names[place], samples[place]) for place in visible]
        else:
            self._failed_in_a_row[detector.name] = 0
        detector.used_at = time.monotonic()
        for place, findings in zip(visible, found, strict=True):
            answers[place] = findings
        return answers

    def _shown_to(self, detector: Detector, sample: Sample) -> Sample:
        """The sample without blank frames, on which a classifier sees nothing."""
        if detector.reads_plain or not self._skip_plain or not any(frame.plain for frame in sample.frames):
            return sample
        kept = [pair for pair in zip(sample.frames, sample.pdqs, strict=True) if not pair[0].plain]
        return replace(sample, frames=tuple(frame for frame, _ in kept), pdqs=tuple(pdq for _, pdq in kept))

    def _detect_one(self, detector: Detector, name: str, sample: Sample) -> list[Finding] | LemmySafetyError:
        try:
            findings = detector.detect([sample])[0]
        except Exception as error:
            self._failed_in_a_row[detector.name] += 1
            if self._failed_in_a_row[detector.name] >= _BROKEN_AFTER:
                detector.detect([known_good_sample()])  # raises if the detector is broken, not the pictures
                self._failed_in_a_row[detector.name] = 0
            log.exception("detector %s failed key=%r", detector.name, name)
            return DetectorError(f"{detector.name}: {type(error).__name__}: {foreign(error)}")
        self._failed_in_a_row[detector.name] = 0
        return findings
