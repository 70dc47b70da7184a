"""Fourth stage: batches of samples through every detector, findings through the policy."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.errors import DetectorError, LemmySafetyError
from lemmy_safety.records import Finding, ItemResult, ItemStatus, Outcome
from lemmy_safety.scan.items import Examined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import Verdict
    from lemmy_safety.scan.items import OpenAction
    from lemmy_safety.scan.pipeline import Channel

log = logging.getLogger(__name__)

#: Seconds to wait for a batch to fill up after its first sample: short against any model, long against a decode.
_BATCH_WAIT_S = 0.05

#: Samples in a row that a detector may fail on before it counts as broken and the run ends with its error.
_BROKEN_AFTER = 10


class Judge:
    """Runs the detectors in their order. One thread: models and devices are not shared."""

    def __init__(self, *, detectors: Sequence[Detector], policy: Policy) -> None:
        self._detectors = detectors
        self._policy = policy
        self._names = frozenset(detector.name for detector in detectors)
        self._failed_in_a_row = 0

    @property
    def batch_size(self) -> int:
        return max(detector.batch_size for detector in self._detectors)

    def run(self, inbox: Channel[Examined | ItemResult], to_record: Channel[ItemResult | OpenAction]) -> None:
        """The worker's loop; takes decoded objects, and the results of those that could not be decoded.

        :raises DetectorError: a detector fails on everything.
        """
        while batch := inbox.get_batch(self.batch_size, _BATCH_WAIT_S):
            for item in batch:
                if isinstance(item, ItemResult):
                    to_record.put(self.judge_undecoded(item))
            for result in self.judge([item for item in batch if isinstance(item, Examined)]):
                to_record.put(result)

    def judge_undecoded(self, result: ItemResult) -> ItemResult:
        """The same result, unless a detector knows the bytes themselves: then there is a verdict without a picture."""
        if result.sha256 is None:
            return result
        findings = [finding for detector in self._detectors for finding in detector.detect_bytes(result.sha256)]
        if not any(finding.hit for finding in findings):
            return result
        verdict = self._verdict(result.obj.key, findings)
        reason = f"known by its bytes; {result.reason}"
        return replace(result, status=ItemStatus.CHECKED, reason=reason, verdict=verdict, detectors=self._names)

    def judge(self, batch: Sequence[Examined]) -> list[ItemResult]:
        """Results in the order of the batch."""
        if not batch:
            return []
        found: list[list[Finding] | LemmySafetyError] = [[] for _ in batch]
        for detector in self._detectors:
            for position, findings in enumerate(self._detect(detector, batch)):
                so_far = found[position]
                if isinstance(findings, LemmySafetyError):
                    found[position] = findings
                elif isinstance(so_far, list):
                    so_far.extend(findings)
        return [self._result(item, findings) for item, findings in zip(batch, found, strict=True)]

    def _result(self, item: Examined, findings: list[Finding] | LemmySafetyError) -> ItemResult:
        sample = item.sample
        if isinstance(findings, LemmySafetyError):
            return ItemResult(
                obj=item.obj,
                status=ItemStatus.DETECTOR_FAILED,
                reason=findings.message,
                sha256=sample.sha256,
                pdq=sample.pdqs[0],
                info=sample.info,
            )
        return ItemResult(
            obj=item.obj,
            status=ItemStatus.CHECKED,
            verdict=self._verdict(item.obj.key, findings),
            detectors=self._names,
            sha256=sample.sha256,
            pdq=sample.pdqs[0],
            info=sample.info,
        )

    def _verdict(self, key: str, findings: Sequence[Finding]) -> Verdict:
        verdict = self._policy.judge(findings, ran=self._names)
        if verdict.outcome is Outcome.FLAGGED:
            labels = sorted({f"{finding.detector}:{finding.label}" for finding in findings if finding.hit})
            log.warning("flagged key=%r by=%s", key, ",".join(labels))
        return verdict

    def _detect(self, detector: Detector, batch: Sequence[Examined]) -> list[list[Finding] | LemmySafetyError]:
        """Findings per sample; when the batch as a whole fails, each sample by itself, so that one costs only one."""
        try:
            whole = detector.detect([item.sample for item in batch])
        except Exception:
            log.warning("detector %s failed on a batch of %d", detector.name, len(batch), exc_info=True)
            return [self._detect_one(detector, item) for item in batch]
        self._failed_in_a_row = 0
        return list(whole)

    def _detect_one(self, detector: Detector, item: Examined) -> list[Finding] | LemmySafetyError:
        try:
            findings = detector.detect([item.sample])[0]
        except Exception as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _BROKEN_AFTER:
                raise
            log.exception("detector %s failed key=%r", detector.name, item.obj.key)
            return DetectorError(f"{detector.name}: {type(error).__name__}: {error}")
        self._failed_in_a_row = 0
        return findings
