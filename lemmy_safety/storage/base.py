"""The storage contract: what a sweep may ask of the place where pict-rs keeps its files.

Public methods validate and translate; each backend implements the underscored twins. Backends raise only the
``StorageError`` family of ``lemmy_safety.errors``: vendor exceptions are translated here. Temporary faults are
retried inside the backend (bounded, with backoff); what still fails is raised as ``StorageUnreachable``.

All methods may be called from several threads at once. A storage holds no image bytes after a call returns, and it
writes only the bytes given to ``write_new``, to the place given there.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from lemmy_safety.errors import (
    BadKey,
    ObjectChanged,
    ObjectTooLarge,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.records import UNKNOWN_TIME, StoredObject
from lemmy_safety.storage.clock import StorageClock
from lemmy_safety.storage.judged import note_descriptions, proved_by_its_bytes
from lemmy_safety.storage.learned import Learned
from lemmy_safety.storage.wholeness import Wholeness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from types import TracebackType

    from lemmy_safety.storage.pace import Pace


#: How often an object is read whose bytes do not match its description.
_READS = 3


def too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")


class Storage(ABC):
    """One place that holds objects under relative keys."""

    #: Stable identity for the ledger, without credentials: ``s3:https://host/bucket``, ``ssh:user@host:22/path``,
    #: ``local:/path``. Two settings for the same place give the same name.
    name: str

    #: Seconds an object must have been left unmodified before it is complete. pict-rs streams straight to the final
    #: path of a file store (0.3 to 0.5), so a file may be half-written; S3 objects appear whole (0).
    settle_s: float = 0.0

    #: A place with no more objects than this is listed completely even if the cheap listing would do. Then nothing
    #: depends on the key scheme, and files that an admin copied in by hand are found too.
    whole_listing_up_to: int = 0

    #: Whether modification times are in whole seconds.
    whole_seconds: bool = False

    def __init__(self) -> None:
        #: Findings about the server, for the summary of a pass and for ``doctor``.
        self.learned = Learned()
        self.clock = StorageClock(self.learned)
        self._wholeness = Wholeness(self.learned)

    @abstractmethod
    def open(self) -> None:
        """Connect and check that the root (bucket, folder) exists.

        :raises StorageError: LoginRefused, StorageMissing, HostUnknown, HostKeyUnknown, HostKeyChanged,
            PrivateKeyError, AccessDenied, WrongFolder or StorageUnreachable, each with its fix as hint.
        """

    @property
    def clock_ahead(self) -> timedelta:
        """How far the storage's clock is ahead of this machine's; zero if they cannot be compared."""
        return self.clock.ahead

    @abstractmethod
    def close(self) -> None:
        """Release connections. Closing twice is fine."""

    def list(
        self,
        *,
        since: datetime | None = None,
        prefix: str = "",
        after: str | None = None,
        created_from: datetime | None = None,
    ) -> Iterator[StoredObject]:
        """Yield objects lazily, in memory bounded by one page or one folder, not by the number of objects.

        The order is not defined. S3 yields keys in byte order until a bucket proves to be large (20,000 objects) or the
        server proves to list in another order; ssh and local yield folder by folder.

        ``since`` (aware) keeps objects modified at or after that time, and those of unknown time. ``prefix`` keeps keys
        that start with it, ``after`` those greater than it in byte order. ``created_from`` (aware) permits the storage
        to
        leave out what pict-rs's time-ordered keys prove to be older, and everything outside that scheme, so that the
        cost
        depends on the rest only; the storage may still yield it: see ``incremental``.

        Leaves out objects that vanish or cannot be described while listing. An unreadable folder does not hide the
        others:
        it is logged, everything else is listed, and AccessDenied is raised at the end, so that the pass
        is not complete. Keys are not changed, even those that ``check_key`` refuses (S3 can hold ``a//b``): they are
        seen, not judged.

        :raises StorageError: AccessDenied, StorageUnreachable, StorageMissing; ListingIncomplete at the end, after
            everything else, if the server names objects without describing them.
        """
        if since is not None:
            if since.tzinfo is None:
                raise ValueError("since must be timezone-aware")
            since = self.rounded_down(since)
        return self._list(since=since, prefix=prefix, after=after, created_from=created_from)

    def rounded_down(self, since: datetime) -> datetime:
        """``since`` rounded down to this storage's resolution, so that objects modified in that second count."""
        return since.replace(microsecond=0) if self.whole_seconds else since

    @abstractmethod
    def ordered_keys(self) -> Iterator[str]:
        """Keys below ``keys.V7_ROOT`` in order, which is order of time; callers take only a few of the first.

        None if the storage does not list in that order.
        """

    def read(
        self, key: str, *, max_bytes: int, expected: StoredObject | None = None, pace: Pace | None = None
    ) -> bytes:
        """The whole object, in memory.

        With ``expected``, the bytes are compared with that description, by size and, if its tag is an MD5, by tag. If
        they
        differ, the object is read again, so that bytes damaged on the way are not taken for the object. If the same
        bytes come twice and only the tag differs, the tag is not an MD5: returns the bytes, and notes it in
        ``learned``.

        ``pace`` is asked before bytes can arrive, each time that the object is read. While it waits, no answer of the
        server is awaited, so no time-out runs.

        :raises StorageError: ObjectGone, AccessDenied, StorageUnreachable (also if other bytes come each time), BadKey,
            ObjectChanged if it is not the expected object, or ObjectTooLarge if it holds more than
            ``max_bytes`` (at most ``max_bytes`` + 1 bytes are fetched to find out).
        """
        self.check_key(key)
        if expected is None:
            return self._read(key, max_bytes, pace)
        digests: set[bytes] = set()
        for _ in range(_READS):
            data = self._read_described(key, max_bytes, expected, pace)
            if self._wholeness.fits(data, expected):
                return data
            digest = hashlib.sha256(data).digest()
            if digest in digests:
                return self._settled(key, data, expected)
            digests.add(digest)
        raise StorageUnreachable(f"{key!r} in {self.name} arrives differently each time it is read.")

    def _settled(self, key: str, data: bytes, expected: StoredObject) -> bytes:
        """Decide about bytes that came twice the same and are not the expected ones.

        :raises ObjectChanged: it is now another object, or was described wrongly.
        """
        # Size and time decide: some servers give another tag each time.
        if len(data) != expected.size or not replace(self._stat(key), etag=None).same_content_as(expected):
            raise ObjectChanged(
                f"{key!r} is not as it was listed ({len(data)} bytes came, {expected.size} were listed).", hint=""
            )
        self._wholeness.note_misfit(self.name, key)
        return data

    def _read_described(
        self,
        key: str,
        max_bytes: int,
        expected: StoredObject,  # noqa: ARG002 - for those that differ
        pace: Pace | None = None,
    ) -> bytes:
        return self._read(key, max_bytes, pace)

    def stat(self, key: str) -> StoredObject:
        """Describe one object.

        :raises StorageError: ObjectGone, AccessDenied, StorageUnreachable, BadKey.
        """
        self.check_key(key)
        return self._stat(key)

    def delete(self, key: str, *, expected: StoredObject | None = None, sha256: str | None = None) -> bool:
        """Remove one object; True if it existed, False if it was already gone (which is success).

        With ``expected``, the object is first described again and left alone if the content differs:
        conditional deletes are not portable over S3 servers (radosgw 16 ignores the header).

        With ``sha256`` as well (64 lower-case hex digits of the judged bytes), an object whose description differs from
        the
        expected one is read again, and deleted if it has those bytes. Some servers list an object with another entity
        tag
        or time than they describe it with.

        :raises StorageError: ObjectChanged, BadKey, AccessDenied (also if the object still exists although the
            server reports its deletion), or StorageUnreachable, also if the object and everything else
            are missing.
        """
        self.check_key(key)
        try:
            was_there = self._delete(key, expected)
        except ObjectChanged:
            if expected is None or sha256 is None:
                raise
            proved = self._proved(expected, sha256)
            was_there = proved is not None and self._delete(key, proved)
        if not was_there:
            self.ensure_mounted(key)
        return was_there

    def is_unchanged(self, expected: StoredObject, sha256: str | None) -> bool:
        """Whether an object is still the one that was judged; decided as in ``delete``.

        :raises StorageError: ObjectGone, BadKey, AccessDenied or StorageUnreachable.
        """
        if self.stat(expected.key).same_content_as(expected):
            return True
        try:
            return sha256 is not None and self._proved(expected, sha256) is not None
        except ObjectChanged:
            return False

    def _proved(self, expected: StoredObject, sha256: str) -> StoredObject | None:
        return proved_by_its_bytes(
            expected,
            sha256,
            stat=self._stat,
            read=lambda key: self._read_described(key, expected.size, expected),
            note=lambda described: note_descriptions(self.learned, self.name, expected, described),
        )

    def ensure_mounted(self, key: str) -> None:
        """If *everything* is missing, the storage is probably not mounted: do not count a missing object as deleted.

        A store that was emptied on purpose looks the same; the intent then stays open, which does no harm.

        :raises StorageUnreachable: the root is empty, which can mean that it is not mounted.
        """
        if self._is_empty():
            raise StorageUnreachable(
                f"{self.name} is empty, so it is not certain that {key!r} is gone.",
                hint="Check that its file system is mounted.",
            )

    def _is_empty(self) -> bool:
        """Whether the root is completely empty, if that can mean that it is not mounted."""
        return False

    def move(self, key: str, new_key: str) -> None:
        """Rename an object within the storage, on the server, without its bytes passing through this machine.

        Never overwrites: an existing ``new_key`` is refused, unless ``key`` is gone (then the move was already done) or
        both are known to have the same content (then a move was interrupted, and is finished).

        :raises StorageError: ObjectGone, ObjectChanged (``new_key`` exists), AccessDenied, StorageUnreachable, BadKey.
        """
        self.check_key(key)
        self.check_key(new_key)
        if key == new_key:
            raise BadKey(f"{key!r} cannot be moved onto itself.", hint="")
        self._move(key, new_key)

    def write_new(self, key: str, data: bytes) -> bool:
        """Create an object with exactly these bytes. False if it already existed with the same bytes.

        Nothing is ever overwritten. The object appears whole or not at all, even if this process, the connection or the
        server fails halfway, so the call can be repeated until it succeeds; it is read back before it counts.
        On disks it is first written under a name that no listing yields (``parts``), readable by this account only.

        Gaps: on an S3 server without ``If-None-Match``, a request just before checks whether the key is free (noted in
        ``learned``). Swift supports the header, but checks when a request begins, so of two simultaneous writers the
        later
        one wins. On a file system without hard links an empty file holds the name for a moment. So choose random keys.

        :raises StorageError: ObjectChanged if the key holds other bytes, StorageFull, AccessDenied (no permission, or
            read-only), StorageUnreachable, BadKey; StorageError itself if other bytes are read back.
        """
        self.check_key(key)
        made = self._write_new(key, data)
        if self._holds(key, data):
            return made
        if made:
            raise StorageError(f"{key!r} came back changed.", hint="Check the storage itself.")
        raise ObjectChanged(f"{key!r} already exists in {self.name} and was left alone.", hint="Nothing was written.")

    def _holds(self, key: str, data: bytes) -> bool:
        # As a pass reads: content compressed on the way is unpacked if the size is known.
        described = StoredObject(key=key, size=len(data), modified_at=UNKNOWN_TIME)
        try:
            return any(self._read_described(key, len(data), described) == data for _ in range(_READS))
        except ObjectTooLarge:
            return False

    def details(self) -> str:
        """Facts about an open storage that an admin may want from ``doctor``; empty if there are none."""
        return ""

    def check_key(self, key: str) -> None:
        """Refuse keys that could leave the root on any backend.

        :raises BadKey: empty, absolute, with a NUL, or with an empty, ``.`` or ``..`` part.
        """
        if not key or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
            raise BadKey(f"{key!r} is not a key this storage may touch.", hint="Keys are relative, without '..'.")

    @abstractmethod
    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, created_from: datetime | None
    ) -> Iterator[StoredObject]: ...

    @abstractmethod
    def _read(self, key: str, max_bytes: int, pace: Pace | None) -> bytes: ...

    @abstractmethod
    def _stat(self, key: str) -> StoredObject: ...

    @abstractmethod
    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        """As ``delete``. Compares the object with ``expected`` just before, at the very place where it is removed."""

    @abstractmethod
    def _move(self, key: str, new_key: str) -> None: ...

    @abstractmethod
    def _write_new(self, key: str, data: bytes) -> bool:
        """Create the object; False if something exists. An interrupted write leaves nothing but a ``part``."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
