"""Objects in a storage, and their status after a pass."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Means that the modification time is unknown. Servers without times send this one themselves."""


class ItemStatus(StrEnum):
    """The status of one object after a pass. Only ``CHECKED`` objects have a verdict; no other status is a verdict."""

    CHECKED = "checked"
    """Read, decoded and judged by every selected detector."""
    UNREADABLE = "unreadable"
    """The bytes exist, but no decoder can decode them (0 bytes, damaged, a text file)."""
    UNSUPPORTED = "unsupported"
    """A medium that this installation does not decode (yet, or without an extra)."""
    TOO_LARGE = "too_large"
    """Over a limit (bytes or pixels) before anything was decoded."""
    GONE = "gone"
    """Vanished between listing and reading; pict-rs itself removes variants."""
    DENIED = "denied"
    """The storage refused this one object; retried in the next pass."""
    FETCH_FAILED = "fetch_failed"
    """The storage could not be read temporarily; retried in the next pass."""
    DETECTOR_FAILED = "detector_failed"
    """A detector could not judge it; retried in the next pass."""
    VARIANT = "variant"
    """Another size that pict-rs made of an original, which is judged clear; not read. Each pass that lists it checks
    that the original still is."""

    @property
    def settled(self) -> bool:
        """Whether a later pass may skip an unchanged object with this status; of a variant, as long as its original
        is clear.
        """
        return self in _SETTLED


_SETTLED = frozenset(
    {
        ItemStatus.CHECKED,
        ItemStatus.UNREADABLE,
        ItemStatus.UNSUPPORTED,
        ItemStatus.TOO_LARGE,
        ItemStatus.GONE,
        ItemStatus.VARIANT,
    }
)


#: Final without a verdict, for the version of the decoder that tried.
UNDECODED = frozenset({ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as a storage lists it.

    ``key`` is relative to the storage's root with ``/`` between its parts, on every system. ``size`` is in bytes,
    ``modified_at`` is aware UTC, or ``UNKNOWN_TIME``; ``etag`` is the server's entity tag without quotes (S3 only).
    """

    key: str
    size: int
    modified_at: datetime
    etag: str | None = None

    def modified_since(self, since: datetime) -> bool:
        """Whether it may have been modified at or after ``since``; True for an unknown time."""
        return self.modified_at >= since or self.modified_at <= UNKNOWN_TIME

    def same_content_as(self, other: StoredObject) -> bool:
        """Whether both descriptions can be of the same bytes.

        Times are compared in whole seconds if one side has nothing finer: S3 servers give milliseconds when listing and
        seconds on HEAD; SFTP has only seconds. Tags are compared only if both sides have one.
        """
        if self.size != other.size:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        mine, theirs = self.modified_at, other.modified_at
        if mine.microsecond and theirs.microsecond:
            return mine == theirs
        return mine.replace(microsecond=0) == theirs.replace(microsecond=0)
