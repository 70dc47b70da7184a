"""The detector contract: samples in, findings out; no verdicts, no storage, no ledger.

A detector opens its model once, is called with batches by one thread at a time, and closes it. In between, the model
may
be released while there is nothing to judge; the next batch loads it again. Only ``policy.py`` decides what the findings
mean for an object.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from lemmy_safety.errors import LemmySafetyError
    from lemmy_safety.records import Finding, Sample, ScreenStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorReport:
    """How a detector works, for people: the ``device`` of its model, if it can be chosen, and what its ``screen`` has
    done, if a faster model screens.
    """

    device: str | None = None
    screen: ScreenStatistics | None = None


class Detector(ABC):
    """One way to examine pictures."""

    #: The name used in ``--detectors``, in findings and in the ledger.
    name: ClassVar[str]

    #: Whether it recognises pictures and files by their digests. If so, it also receives what a classifier has no use
    #: for: frames with ``plain`` set, and samples without any frame. Other detectors receive neither.
    reads_plain: ClassVar[bool] = False

    #: What ``open`` imports of the extra with the detector's name.
    packages: ClassVar[tuple[str, ...]] = ()

    #: How many samples make a full batch; the pipeline waits briefly for that many, never longer.
    batch_size: int = 1

    #: When it was last opened or used, by ``time.monotonic()``. The caller of ``detect`` sets it.
    used_at: float = 0.0

    @property
    @abstractmethod
    def version(self) -> str:
        """Model, weights and rules that produce the findings, such as ``ViT-L-14/openai horde_safety-0.3.1``.

        Known before ``open()``; contains no path of the machine.
        """

    def report(self) -> DetectorReport:
        """How it works since ``open()``; empty if there is nothing useful to report."""
        return DetectorReport()

    @abstractmethod
    def open(self) -> None:
        """Load models and lists. Calling it again does nothing.

        :raises MissingExtra: a package is not installed.
        :raises DetectorError: WeightsMissing, WeightsInvalid or DeviceError, naming file, model and device.
        """

    def faults(self) -> Iterator[LemmySafetyError]:
        """For ``doctor``: every reason why ``open`` would fail before it loads anything; it raises only the first."""
        yield from ()

    def load(self) -> None:  # noqa: B027 - most have no model that could be absent
        """Load the model into memory now, if ``open`` postponed that, or after ``release``.

        :raises DetectorError: as ``open``, and if the weights are no longer those used before.
        """

    def release(self) -> bool:
        """Free a model and device memory until ``load``, between two batches. Returns whether there was one.

        ``version`` does not change.
        """
        return False

    @abstractmethod
    def detect(self, batch: Sequence[Sample]) -> list[list[Finding]]:
        """Findings for each sample, in the order of ``batch``; an empty list means that there is nothing to record.

        Every frame of every sample is examined. A batch may be larger or smaller than ``batch_size``.

        :raises DetectorError: the batch could not be judged; the caller tries the samples one by one.
        """

    def try_speed(self) -> Mapping[str, float]:
        """Frames a second of each model in use, by name, starting with the one that sees most frames; empty if none is
        worth timing. Takes seconds on generated pictures, after ``open()``; judges nothing and stores nothing.

        :raises DetectorError: a model failed.
        """
        return {}

    @abstractmethod
    def close(self) -> None:
        """Free models and device memory. Closing twice is fine."""

    def __enter__(self) -> Self:
        self.open()
        self.used_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
