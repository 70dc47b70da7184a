"""The real way of one file through a pass, without a storage: decoder, fingerprints, hashes detector, policy."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.detectors.hashes import HashesDetector
from lemmy_safety.policy import build_policy
from lemmy_safety.records import Assessment, ItemResult, StoredObject
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.examine import examine
from lemmy_safety.scan.items import Fetched
from lemmy_safety.scan.judge import Judge

if TYPE_CHECKING:
    from lemmy_safety.media import Decoder
    from lemmy_safety.scan.items import Examined

_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


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

    def examine(self, name: str, data: bytes) -> Examined | ItemResult:
        """The first half: decoded and fingerprinted."""
        obj = StoredObject(key=name, size=len(data), modified_at=_SOME_DAY)
        return examine(self._decoder, Fetched(obj=obj, data=data, sha256=hashlib.sha256(data).hexdigest()))

    def judge(self, item: Examined | ItemResult) -> Assessment:
        """The second half."""
        undecoded = isinstance(item, ItemResult)
        return (self._judge.judge_undecoded(item) if undecoded else self._judge.judge([item])[0]).assessment

    def __call__(self, name: str, data: bytes) -> Assessment:
        return self.judge(self.examine(name, data))


def is_flagged(assessment: Assessment) -> bool:
    return assessment.flagged
