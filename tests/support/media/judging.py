"""The real way of one file through a pass, without a storage: decoder, fingerprints, hashes detector, policy."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.policy import build_policy
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.stages.decode import decode
from lemmy_safety.scan.stages.judge import Judge

if TYPE_CHECKING:
    from lemmy_safety.media import Decoder
    from lemmy_safety.records import Assessment, Sample


class MediaJudge:
    """Judges files as a pass does; knows the canary and nothing else."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._judge = Judge(
            detectors=[HashesDetector()],
            policy=build_policy(nudenet_flags=False),
            frames=ByteBudget(1),
            decoder=decoder.version,
        )

    def examine(self, name: str, data: bytes) -> Sample:
        """The first half: decoded and fingerprinted."""
        return decode(self._decoder, data, sha256=hashlib.sha256(data).hexdigest(), key=name)

    def judge(self, name: str, sample: Sample) -> Assessment:
        """The second half."""
        return self._judge.judge([sample], names=[name])[0]

    def __call__(self, name: str, data: bytes) -> Assessment:
        return self.judge(name, self.examine(name, data))


def is_flagged(assessment: Assessment) -> bool:
    return assessment.flagged
