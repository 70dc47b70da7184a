"""The real decoder, counting; and detectors that wait or fail, which no real one does when it is told to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from lemmy_safety.detectors.base import Detector
from lemmy_safety.media import InlineDecoder, MediaLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.records import Finding, Sample


class CountingDecoder(InlineDecoder):
    """The real decoder, counting how often it is asked."""

    def __init__(self) -> None:
        # As ``passes.scanner_over`` has it, so that verdicts of sweeps and of the hook come from the same version.
        super().__init__(MediaLimits(max_bytes=20_000_000, max_pixels=40_000_000))
        self.calls = 0
        self._lock = threading.Lock()

    def decode(self, data: bytes):
        with self._lock:
            self.calls += 1
        return super().decode(data)


class GatedDetector(Detector):
    """Finds nothing, and that only while its gate is open; keeps the sizes of its batches."""

    name: ClassVar[str] = "gated"
    version = "1"
    reads_plain = True

    def __init__(self, *, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.gate = threading.Event()
        self.ready_to_open = threading.Event()
        self.ready_to_open.set()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self._opened = False

    def open(self) -> None:
        self.ready_to_open.wait()

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        if self._opened:
            self.entered.set()
            self.gate.wait()
            self.batches.append(len(batch))
        self._opened = True  # the first picture is the one that warms it up
        return [[] for _ in batch]

    def close(self) -> None:
        pass


class FailingDetector(Detector):
    """Works on its first picture and fails on all others, as a graphics card that fell off does."""

    name: ClassVar[str] = "failing"
    version = "1"
    reads_plain = True
    batch_size = 8

    def __init__(self) -> None:
        self.asked = 0
        self.mended = False

    def open(self) -> None:
        pass

    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        self.asked += 1
        if self.asked > 1 and not self.mended:
            raise RuntimeError("device lost")
        return [[] for _ in batch]

    def close(self) -> None:
        pass
