"""The storage contract: what a sweep may ask of the place where pict-rs keeps its files.

Public methods validate and translate; each backend implements the underscored twins. Backends raise nothing but the
``StorageError`` family of ``lemmy_safety.errors``: vendor exceptions are translated at this edge. Passing faults are
retried inside the backend (bounded, with backoff); what still fails is raised as ``StorageUnreachable``.

All methods may be called from several threads at once. A storage holds no image bytes after a call returns, and writes
none anywhere but what ``write_new`` is given, to the place that it is.
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


#: How often an object is read that does not arrive as it is described.
_READS = 3


def too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")


class Storage(ABC):
    """One place that holds objects under relative keys."""

    #: Stable identity for the ledger, without credentials: ``s3:https://host/bucket``, ``ssh:user@host:22/path``,
    #: ``local:/path``. Two settings that mean the same place give the same name.
    name: str

    #: Seconds an object must have been left unmodified before it is complete. pict-rs streams straight to the final
    #: path of a file store (0.3 to 0.5), so a file may be half-written; S3 objects appear whole (0).
    settle_s: float = 0.0

    #: A place that holds no more objects than this is listed whole even where the cheap listing would do: then nobody
    #: has to trust the key scheme, and a file that an admin copied in by hand is found like any other.
    whole_listing_up_to: int = 0

    #: Whether times of modification are told in whole seconds.
    whole_seconds: bool = False

    def __init__(self) -> None:
        #: What was found out about the server, for the summary of a pass and for ``doctor``.
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
        """By how much the storage's clock is ahead of this machine's; zero where it cannot be compared."""
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

        Order: none is promised. S3 yields keys in byte order until a bucket proves to be large (20,000 objects) or the
        server to list in another order; ssh and local yield folder by folder.

        ``since`` (aware) keeps objects modified at or after that time, and those of unknown time. ``prefix`` keeps keys
        that start with it, ``after`` those greater than it in byte order. ``created_from`` (aware) allows, but does not
        promise, to leave out what pict-rs's time-ordered keys prove to have been made before it, and everything outside
        that scheme, so that the cost is that of the rest: see ``incremental``.

        Objects that vanish or cannot be described while listing are left out. A folder that may not be read does not
        hide the others: it is logged, everything else is listed, and AccessDenied is raised at the end, so that the pass
        is not complete. Keys come as they are, also those that ``check_key`` refuses (S3 can hold ``a//b``): they are
        seen, not judged.

        :raises StorageError: AccessDenied, StorageUnreachable, StorageMissing; ListingIncomplete at the end, after
            everything else, where the server names objects and does not say what they are.
        """
        if since is not None:
            if since.tzinfo is None:
                raise ValueError("since must be timezone-aware")
            since = self.rounded_down(since)
        return self._list(since=since, prefix=prefix, after=after, created_from=created_from)

    def rounded_down(self, since: datetime) -> datetime:
        """``since`` as this storage tells times: what was modified in that very second must not fall before it."""
        return since.replace(microsecond=0) if self.whole_seconds else since

    @abstractmethod
    def ordered_keys(self) -> Iterator[str]:
        """Keys below ``keys.V7_ROOT`` in their order, which is that of time; few of the first are ever taken.

        None where the storage does not list in that order.
        """

    def read(self, key: str, *, max_bytes: int, expected: StoredObject | None = None) -> bytes:
        """The whole object, in memory.

        With ``expected``, what arrives is compared with that description, by size and where its tag is an MD5 by that. On
        a difference it is read again, so that what was damaged on the way is not taken for the object. Where the same
        bytes come twice and only the tag differs, the tag is no MD5: the bytes are given, and ``learned`` says so.

        :raises StorageError: ObjectGone, AccessDenied, StorageUnreachable (also when other bytes come each time), BadKey,
            ObjectChanged when it is not the object that is expected, or ObjectTooLarge when it holds more than
            ``max_bytes`` (at most ``max_bytes`` + 1 bytes are fetched to find out).
        """
        self.check_key(key)
        if expected is None:
            return self._read(key, max_bytes)
        digests: set[bytes] = set()
        for _ in range(_READS):
            data = self._read_described(key, max_bytes, expected)
            if self._wholeness.fits(data, expected):
                return data
            digest = hashlib.sha256(data).digest()
            if digest in digests:
                return self._settled(key, data, expected)
            digests.add(digest)
        raise StorageUnreachable(f"{key!r} in {self.name} arrives differently each time it is read.")

    def _settled(self, key: str, data: bytes, expected: StoredObject) -> bytes:
        """The same bytes came twice, and they are not what is expected.

        :raises ObjectChanged: it is another object by now, or was described wrongly.
        """
        # Size and time decide: some servers give another tag each time.
        if len(data) != expected.size or not replace(self._stat(key), etag=None).same_content_as(expected):
            raise ObjectChanged(
                f"{key!r} is not as it was listed ({len(data)} bytes came, {expected.size} were listed).", hint=""
            )
        self._wholeness.note_misfit(self.name, key)
        return data

    def _read_described(self, key: str, max_bytes: int, expected: StoredObject) -> bytes:  # noqa: ARG002 - for those that differ
        return self._read(key, max_bytes)

    def stat(self, key: str) -> StoredObject:
        """Describe one object.

        :raises StorageError: ObjectGone, AccessDenied, StorageUnreachable, BadKey.
        """
        self.check_key(key)
        return self._stat(key)

    def delete(self, key: str, *, expected: StoredObject | None = None, sha256: str | None = None) -> bool:
        """Remove one object; True when it was there, False when it was already gone (which is success).

        With ``expected``, the object is described again first and left alone when it is not the same content:
        conditional deletes are not portable over S3 servers (radosgw 16 ignores the header).

        With ``sha256`` as well (64 lower-case hex digits of the bytes that were judged), an object that is described in
        another way than expected is read again, and deleted if its bytes are those. Some servers give another entity tag
        or another time when they list an object than when they describe it.

        :raises StorageError: ObjectChanged, BadKey, AccessDenied (also when the object is still there although the
            server says that it deleted it), or StorageUnreachable, also when the object is missing and so is everything
            else.
        """
        self.check_key(key)
        try:
            was_there = self._delete(key, expected)
        except ObjectChanged:
            if expected is None or sha256 is None:
                raise
            proved = proved_by_its_bytes(
                expected,
                sha256,
                stat=self._stat,
                read=lambda key: self._read_described(key, expected.size, expected),
                note=lambda described: note_descriptions(self.learned, self.name, expected, described),
            )
            was_there = proved is not None and self._delete(key, proved)
        if not was_there:
            self.see_that_it_is_mounted(key)
        return was_there

    def see_that_it_is_mounted(self, key: str) -> None:
        """A missing object is no finished deletion where everything is missing: that is what an empty mount point shows.

        A store that was emptied on purpose looks the same; an intent that then stays open does no harm.

        :raises StorageUnreachable: nothing lies in the root, and that can mean that it is not mounted.
        """
        if self._is_empty():
            raise StorageUnreachable(
                f"{self.name} is empty, so {key!r} cannot be told to be gone.",
                hint="Check that its file system is mounted.",
            )

    def _is_empty(self) -> bool:
        """Whether nothing at all lies in the root, where that can mean that it is not mounted."""
        return False

    def move(self, key: str, new_key: str) -> None:
        """Rename an object within the storage, on the server, without its bytes passing through this machine.

        Never overwrites: an existing ``new_key`` is refused, unless ``key`` is gone (then the move had been done) or
        both are known to be the same content (then a move was cut short, and is finished).

        :raises StorageError: ObjectGone, ObjectChanged (``new_key`` exists), AccessDenied, StorageUnreachable, BadKey.
        """
        self.check_key(key)
        self.check_key(new_key)
        if key == new_key:
            raise BadKey(f"{key!r} cannot be moved onto itself.", hint="")
        self._move(key, new_key)

    def write_new(self, key: str, data: bytes) -> bool:
        """Make an object of exactly these bytes. False when it was there already, with the same bytes.

        Nothing is ever overwritten. The object appears whole or not at all, also when this process, the line or the
        server ends in the middle, so that the call can be repeated until it succeeds; it is read back before it counts.
        On disks it is written out under a name that no listing gives (``parts``), and readable by the account alone.

        Gaps: an S3 server that knows no ``If-None-Match`` is asked right before whether the key is free (``learned`` says
        so). Swift knows it, and looks when a request begins, so that of two writers in the same moment the later one
        wins. On a file system without hard links an empty file holds the name for a moment. So choose keys at random.

        :raises StorageError: ObjectChanged when the key holds other bytes, StorageFull, AccessDenied (no right, or
            read-only), StorageUnreachable, BadKey; StorageError itself when other bytes are read back.
        """
        self.check_key(key)
        made = self._write_new(key, data)
        if self._holds(key, data):
            return made
        if made:
            raise StorageError(f"{key!r} came back changed.", hint="Check the storage itself.")
        raise ObjectChanged(f"{key!r} already exists in {self.name} and was left alone.", hint="Nothing was written.")

    def _holds(self, key: str, data: bytes) -> bool:
        # As a pass reads: what is packed on the way is unpacked where the size is known.
        described = StoredObject(key=key, size=len(data), modified_at=UNKNOWN_TIME)
        try:
            return any(self._read_described(key, len(data), described) == data for _ in range(_READS))
        except ObjectTooLarge:
            return False

    def details(self) -> str:
        """What an admin may want to know of an open storage, for ``doctor``; empty where there is nothing to say."""
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
    def _read(self, key: str, max_bytes: int) -> bytes: ...

    @abstractmethod
    def _stat(self, key: str) -> StoredObject: ...

    @abstractmethod
    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        """As ``delete``. The object is compared with ``expected`` right before, in the very place where it is removed."""

    @abstractmethod
    def _move(self, key: str, new_key: str) -> None: ...

    @abstractmethod
    def _write_new(self, key: str, data: bytes) -> bool:
        """Make the object; False when something is there. What was cut off is only ever left as a ``part``."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
