"""What is new in a storage, at the cost of what is new: the listing for a daemon's passes.

pict-rs names what it stores by time (UUIDv7, from 0.5.7 on), so the keys alone prove that most of a large store is old.
The listing finds out what it needs for that as it goes, and keeps it here for later passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.pictrs import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.base import Storage


class IncrementalListing:
    """Listings of one storage. Make one for the lifetime of the storage, and use it from one thread at a time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        #: The storage holds more objects than ``Storage.whole_listing_up_to``.
        self._is_large = False
        #: When the first of pict-rs's time-ordered keys was made; None until one is found.
        self._first_created_at: datetime | None = None

    def new_since(self, since: datetime, *, prefix: str = "") -> Iterator[StoredObject]:
        """Objects modified at or after ``since`` (aware), and those of unknown time, as ``Storage.list`` yields them.

        A small store is listed completely. In a large one, everything that its keys prove to be older is skipped; keys
        outside
        that scheme are then listed only while they can still be new.

        :raises StorageError: what ``Storage.list`` raises.
        """
        since = self._storage.rounded_down(since)
        given: set[str] = set()
        most = self._storage.whole_listing_up_to
        if not self._is_large and most:
            for number, obj in enumerate(self._storage.list(prefix=prefix)):
                if number >= most:
                    self._is_large = True
                    break
                if obj.modified_since(since):
                    given.add(obj.key)
                    yield obj
            else:
                return
        for obj in self._storage.list(since=since, prefix=prefix, created_from=self._created_from(since)):
            if obj.key not in given:
                yield obj

    def _created_from(self, since: datetime) -> datetime | None:
        """How old a time-ordered key may be; None if keys outside that scheme are needed, too.

        They are needed unless everything outside it is known to have existed before ``since``.
        """
        oldest = since - keys.LATE_ARRIVAL
        if not keys.is_ordered_since(oldest):
            return None
        if self._first_created_at is None:
            times = (keys.created_at(key) for key in self._storage.ordered_keys())
            self._first_created_at = next((time for time in times if time is not None), None)
        return None if keys.legacy_may_be_new(since, self._first_created_at) else oldest
