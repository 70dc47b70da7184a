"""The hook's data types: an upload to decide on, and the decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable


ModelState: TypeAlias = Literal["loading", "ready", "broken"]
"""Whether uploads can be judged. ``broken``: a detector fails on everything; it is retried with each upload."""


class Cause(StrEnum):
    """Why there is no verdict on an upload."""

    QUEUE_FULL = "queue_full"
    MODEL_LOADING = "model_loading"
    NO_WORKER = "no_worker"
    """At a relay: no worker that could judge has asked for jobs for a while."""
    TIMED_OUT = "timed_out"
    STOPPING = "stopping"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    """Too many pixels; too many bytes are refused before any other check."""
    DETECTOR_FAILED = "detector_failed"
    FAULT = "fault"


class Garbled(StrEnum):
    """Why a request cannot be what pict-rs sent: the connection, or the version of pict-rs, is not what we assume."""

    FORM = "form"
    """A form that does not hold exactly one file."""
    EMPTY = "empty"
    ENCODED = "encoded"
    """Compressed on the way."""
    NOT_MEDIA = "not_media"
    """Bytes whose beginning fits no format that pict-rs stores."""


class AnswerKind(StrEnum):
    """What was answered and why: the outcomes that are counted."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    ACCEPTED_DRY_RUN = "accepted_dry_run"
    """Flagged, but accepted because a dry run refuses nothing."""
    UNCHECKED_ACCEPTED = "unchecked_accepted"
    UNCHECKED_REFUSED = "unchecked_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``cause`` is set exactly when there was no verdict."""

    kind: AnswerKind
    cause: Cause | None = None

    @property
    def accepted(self) -> bool:
        """Whether pict-rs may keep the upload."""
        return self.kind not in (AnswerKind.REFUSED, AnswerKind.UNCHECKED_REFUSED)


@dataclass(slots=True, kw_only=True)
class Upload:
    """One medium in memory. ``sha256`` is in lower-case hex digits; ``media_type`` is what the sender claims, and
    ``storage_key`` where pict-rs says it stored the medium (from 0.6 on).

    ``data`` is None once it is no longer needed; ``free`` then releases its memory.
    """

    data: bytes | None
    size: int
    sha256: str
    media_type: str
    free: Callable[[], None]
    storage_key: str | None = None

    def drop(self) -> None:
        """Forget the bytes. Dropping twice is fine."""
        if self.data is not None:
            self.data = None
            self.free()


class UploadEngine(Protocol):
    """Decides on uploads: our own detectors (``decider.py``), or a worker over the network.

    Created and used in one event loop.
    """

    @property
    def model(self) -> ModelState: ...

    async def load(self) -> None:
        """Get ready; uploads may arrive meanwhile.

        :raises LemmySafetyError: it cannot ever be ready; the service ends with this error.
        """
        ...

    async def validate(self, upload: Upload, *, deadline: float) -> Decision:
        """Decide before ``deadline`` (the loop's time), and record the decision. Owns the upload and frees it."""
        ...

    def forget_late(self) -> int:
        """Give up an upload that was answered without a verdict and is still held. Returns the bytes freed, or 0."""
        ...

    def end_waits(self) -> None:
        """Answer waiting and later uploads without a verdict."""
        ...

    async def close(self, *, within_s: float) -> None:
        """Write pending records and free everything; what takes longer than ``within_s`` is left behind."""
        ...
