"""The ``hashes`` detector: known files by SHA-256, known pictures by PDQ, and the canary.

It needs no model and no device. It compares the fingerprints in a sample and computes none itself.

A listed PDQ matches only in its listed orientation: a listed picture that was turned or mirrored is not recognised. The
canary is, because all eight of its hashes are known. Frames with a PDQ quality under 50 have no PDQ worth comparing;
such pictures are found only by their SHA-256.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.hashes.canary import CANARY_PDQS
from lemmy_safety.detectors.hashes.lists import HashList, PdqIndex
from lemmy_safety.fingerprints import MAX_DISTANCE, MIN_QUALITY
from lemmy_safety.records import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lemmy_safety.detectors.hashes.lists import HashEntry
    from lemmy_safety.records import Frame, Sample

log = logging.getLogger(__name__)

CANARY = "canary"
SHA256_LIST = "sha256-list"
PDQ_LIST = "pdq-list"

_PDQ_BITS = 256


def similarity(distance: int) -> float:
    """The score of a PDQ match: 1 for equal hashes, 0 for opposite ones. Exact in binary, so that ties stay ties."""
    return 1 - distance / _PDQ_BITS


#: The lowest score of a match (225/256): ``MAX_DISTANCE`` bits apart.
PDQ_THRESHOLD = similarity(MAX_DISTANCE)

# A pass waits for and judges at once the largest batch of all detectors, so this one must not be the largest:
# it gains nothing from more, and a model on a CPU would then work for minutes before anything is recorded.
_BATCH = 8


class HashesDetector(Detector):
    """Labels: ``canary``, ``sha256-list``, ``pdq-list``; each at most once a sample, and only when it is a hit.

    PDQ findings have the score ``similarity(distance)`` of the nearest frame and the details ``distance`` (bits) and
    ``quality``; findings from the list have the details ``line`` and, if the entry has one, ``note``.
    """

    name: ClassVar[str] = "hashes"
    reads_plain: ClassVar[bool] = True

    def __init__(self, hash_list: Path | None = None, *, batch_size: int = _BATCH) -> None:
        """``hash_list`` is a file as described in ``lists.py``; without one only the canary is known."""
        self.batch_size = batch_size
        self._path = hash_list
        self._list: HashList | None = None
        self._canary = PdqIndex.of(CANARY_PDQS)

    @property
    def version(self) -> str:
        """``hashes-1``; with a list, followed by its number of entries and a digest of them.

        :raises DetectorError: the list cannot be read (this reads it if necessary).
        """
        known = self._known()
        return "hashes-1" if known is None else f"hashes-1 list:{len(known)}:{known.digest}"

    def open(self) -> None:
        """Read the list.

        :raises DetectorError: the file cannot be read, or a line of it is not an entry.
        """
        self._known()

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        return [self._findings(sample) for sample in batch]

    def close(self) -> None:
        self._list = None

    def _known(self) -> HashList | None:
        if self._path is not None and self._list is None:
            self._list = HashList.load(self._path)
            log.info("The hash list %s has %d entries.", self._path, len(self._list))
        return self._list

    def _findings(self, sample: Sample) -> list[Finding]:
        # Frames of an animation often have the same hash; each hash is searched once, for its first frame.
        first_frame: dict[str, tuple[Frame, int]] = {}
        for frame, pdq in zip(sample.frames, sample.pdqs, strict=True):
            if pdq.quality >= MIN_QUALITY:
                first_frame.setdefault(pdq.hex, (frame, pdq.quality))
        hexes = list(first_frame)

        found: list[Finding] = []
        canary = self._canary.nearest(hexes)
        if canary is not None:
            found.append(self._pdq_finding(CANARY, canary.distance, *first_frame[hexes[canary.query]]))
        known = self._known()
        if known is None:
            return found
        entry = known.match_sha256(sample.sha256)  # also for undecodable files
        if entry is not None:
            found.append(self._finding(SHA256_LIST, 1.0, 1.0, None, _described(entry)))
        match = known.match_pdq(hexes)
        if match is not None:
            place = first_frame[hexes[match.query]]
            found.append(self._pdq_finding(PDQ_LIST, match.distance, *place, **_described(match.entry)))
        return found

    def _pdq_finding(self, label: str, distance: int, frame: Frame, quality: int, **more: Any) -> Finding:
        details = {"distance": distance, "quality": quality, **more}
        return self._finding(label, similarity(distance), PDQ_THRESHOLD, frame, details)

    def _finding(
        self, label: str, score: float, threshold: float, frame: Frame | None, details: dict[str, Any]
    ) -> Finding:
        """``frame`` is the frame that the finding is about, None if it is about the file's bytes."""
        return Finding(
            detector=self.name,
            version=self.version,
            label=label,
            score=score,
            threshold=threshold,
            frame=frame.index if frame else 0,
            at_s=frame.at_s if frame else None,
            view=frame.view if frame else "",
            details=details,
        )


def _described(entry: HashEntry) -> dict[str, Any]:
    return {"line": entry.line, "note": entry.note} if entry.note else {"line": entry.line}
