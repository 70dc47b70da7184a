"""Fetch stage: objects in, bytes out, except those whose bytes were already judged."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageUnreachable,
    is_about_one_object,
)
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.records import Assessment, ItemResult, ItemStatus
from lemmy_safety.scan.items import Fetched

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.records import StoredObject
    from lemmy_safety.scan.budget import ByteBudget
    from lemmy_safety.scan.items import RecordChannel
    from lemmy_safety.scan.pipeline import Channel
    from lemmy_safety.scan.progress import PassCounter
    from lemmy_safety.storage.base import Storage
    from lemmy_safety.storage.pace import Pace

log = logging.getLogger(__name__)

#: Reads in a row that may fail temporarily (each after the storage's own retries) before the storage itself is checked.
#: If it is down, the pass ends: recording 400,000 single failures is useless.
_SUSPECT_AFTER = 20

_MIB = 1024 * 1024

#: The status of an object that cannot be read. Other or more bytes than listed: it is read again later.
_STATUS_OF: dict[type[StorageError], ItemStatus] = {
    ObjectTooLarge: ItemStatus.FETCH_FAILED,
    ObjectChanged: ItemStatus.FETCH_FAILED,
    AccessDenied: ItemStatus.DENIED,
    BadKey: ItemStatus.UNREADABLE,
    StorageError: ItemStatus.FETCH_FAILED,  # an answer of no known class, such as 451 or a disk error
}


class Fetcher:
    """Reads objects within the byte budget; temporary failures are retried once at the end of the pass."""

    def __init__(
        self,
        *,
        storage: Storage,
        max_bytes: int,
        budget: ByteBudget,
        counter: PassCounter,
        reuse: Callable[[StoredObject, str], ItemResult | None],
        to_decode: Channel[Fetched],
        to_record: RecordChannel,
        pace: Pace | None = None,
    ) -> None:
        """``reuse`` takes an object and the SHA-256 of its bytes, and returns an earlier result valid for it."""
        self._storage = storage
        self._reuse = reuse
        self._max_bytes = max_bytes
        self._budget = budget
        self._counter = counter
        self._to_decode = to_decode
        self._to_record = to_record
        self._pace = pace
        self._lock = threading.Lock()
        self._failed_in_a_row = 0
        self._postponed: list[StoredObject] = []

    def run(self, inbox: Channel[StoredObject]) -> None:
        """One worker's loop."""
        while (obj := inbox.get()) is not None:
            try:
                self._take(obj)
            except StorageUnreachable as error:
                self._postpone(obj, error)

    def retry_postponed(self) -> None:
        """Retry once, after everything else is fetched, before a failure is recorded.

        :raises StorageUnreachable: the storage went down meanwhile.
        """
        for obj in self._postponed:
            try:
                self._take(obj)
            except StorageUnreachable as error:
                self._count_failure()
                reason = f"could not be read: {error.message}"
                self._to_record.put_result(_unread(obj, ItemStatus.FETCH_FAILED, reason))

    def _postpone(self, obj: StoredObject, error: StorageUnreachable) -> None:
        log.warning("read failed, tried again later key=%r reason=%s", obj.key, error.message)
        self._count_failure()
        with self._lock:
            self._postponed.append(obj)

    def _count_failure(self) -> None:
        """:raises StorageUnreachable: the storage is down, not just single objects unreadable."""
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row < _SUSPECT_AFTER:
                return
            self._failed_in_a_row = 0
        log.warning("%d reads in a row failed; asking the storage whether it is there", _SUSPECT_AFTER)
        next(iter(self._storage.list()), None)

    def _take(self, obj: StoredObject) -> None:
        if obj.size > self._max_bytes:
            obj = self._described_now(obj) or obj
        try:
            self._take_as(obj)
        except (ObjectChanged, ObjectTooLarge) as error:
            current = self._described_now(obj)
            if current is None:
                self._to_record.put_result(_refused(obj, error))
                return
            try:
                self._take_as(current)
            except (ObjectChanged, ObjectTooLarge) as still:
                self._to_record.put_result(_refused(obj, still))

    def _described_now(self, obj: StoredObject) -> StoredObject | None:
        """The current description of an object that differs from its listing; None if it is left to the next pass.

        A file that changes is still being written. In a bucket, the object was replaced meanwhile, or was listed
        wrongly, which the next listing would do again.
        """
        if self._storage.settle_s:
            return None
        try:
            current = self._storage.stat(obj.key)
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            return None
        return None if current.same_content_as(obj) else current

    def _take_as(self, obj: StoredObject) -> None:
        """:raises StorageError: ObjectChanged or ObjectTooLarge if it is not as described; StorageUnreachable."""
        if obj.size > self._max_bytes:
            self._to_record.put_result(_unread(obj, ItemStatus.TOO_LARGE, self._too_large(obj.size)))
            return
        self._budget.acquire(obj.size)
        passed_on = False
        try:
            result = self._read(obj)
            if isinstance(result, Fetched):
                self._to_decode.put(result)
                passed_on = True
            else:
                self._to_record.put_result(result)
        finally:
            if not passed_on:
                self._budget.release(obj.size)

    def _read(self, obj: StoredObject) -> Fetched | ItemResult:
        """:raises StorageUnreachable: the read may succeed later."""
        try:
            data = self._storage.read(obj.key, max_bytes=max(obj.size, 1), expected=obj, pace=self._pace)
        except ObjectGone:
            self._storage.ensure_mounted(obj.key)
            self._note_answer()
            return _unread(obj, ItemStatus.GONE, "vanished between listing and reading")
        except (ObjectChanged, ObjectTooLarge):
            self._note_answer()
            raise
        except StorageError as error:
            if type(error) not in _STATUS_OF:  # about the whole storage, or temporary
                raise
            self._note_answer()
            return _refused(obj, error)
        self._note_answer()
        self._counter.add("bytes_read", len(data))
        sha256 = sha256_of(data)
        return self._reuse(obj, sha256) or Fetched(obj=obj, data=data, sha256=sha256)

    def _note_answer(self) -> None:
        """The storage answered, even if only about this object: it is up."""
        with self._lock:
            self._failed_in_a_row = 0

    def _too_large(self, size: int) -> str:
        return f"{size / _MIB:.1f} MiB is over the limit of {self._max_bytes / _MIB:g} MiB"


def _unread(obj: StoredObject, status: ItemStatus, reason: str) -> ItemResult:
    return ItemResult(obj=obj, assessment=Assessment(status=status, reason=reason))


def _refused(obj: StoredObject, error: StorageError) -> ItemResult:
    return _unread(obj, _STATUS_OF[type(error)], error.message)
