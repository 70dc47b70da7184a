"""List stage: which objects of the storage this pass has to read."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    ListingIncomplete,
    ObjectGone,
    StorageError,
    StorageUnreachable,
    is_about_one_object,
)
from lemmy_safety.ledger import Known
from lemmy_safety.pictrs.keys import is_health_check
from lemmy_safety.records import UNKNOWN_TIME, Assessment, ItemResult, ItemStatus
from lemmy_safety.scan.pausing import PauseBegan
from lemmy_safety.scan.pipeline import PipelineStopped

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Ruleset, StoredObject
    from lemmy_safety.scan.items import RecordChannel
    from lemmy_safety.scan.pausing import PauseGate
    from lemmy_safety.scan.pipeline import Channel
    from lemmy_safety.scan.progress import PassCounter
    from lemmy_safety.scan.requests import PassRequest
    from lemmy_safety.scan.variants import VariantSorter
    from lemmy_safety.storage.base import Storage
    from lemmy_safety.storage.incremental import IncrementalListing

log = logging.getLogger(__name__)

#: Objects per look-up in the ledger: one query, one page of an S3 listing or less.
_LOOKUP_BATCH = 500

#: pict-rs stores an upload seconds before it asks about it; the rest allows for differing clocks.
_STORED_BEFORE = timedelta(minutes=10)

#: The year of its first release.
_PICTRS_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)

#: Storages give times in whole seconds, and their clock is compared to ours just as coarsely.
_CLOCK_GRAIN = timedelta(seconds=1)

#: Keys passed on last that are remembered: at least as many objects as the later stages hold.
_REMEMBERED = 2000

#: Failures of earlier passes that a daemon pass retries; more wait for the next pass.
_RETRY_LIMIT = 1000


class Lister:
    """Lists, skips what is known, holds back what is still being written, and puts uploads accepted unchecked first."""

    def __init__(  # noqa: PLR0913 - what a listing compares objects with
        self,
        *,
        storage: Storage,
        incremental: IncrementalListing,
        ledger: Ledger,
        ruleset: Ruleset,
        counter: PassCounter,
        stop: threading.Event,
        gate: PauseGate,
        variants: VariantSorter | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._storage = storage
        self._incremental = incremental
        self._ledger = ledger
        self._ruleset = ruleset
        self._counter = counter
        self._stop = stop
        self._gate = gate
        self._variants = variants
        self._clock = clock
        self._gone_first: set[str] = set()
        self._recent: list[StoredObject] = []
        self._listed = 0
        self._listed_again = 0
        self._counted_before: set[str] = set()
        self._last_fed: deque[str] = deque(maxlen=_REMEMBERED)
        self._fed_before: frozenset[str] = frozenset()
        #: Set if some of the storage could not be listed; raised once the rest of the pass is done.
        self.refused: AccessDenied | ListingIncomplete | None = None
        #: Whether a listed object was left to the next pass.
        self.left_out = False
        #: The latest modification time listed, by the store's own clock and not in its future; None without any.
        self.newest: datetime | None = None
        #: Whether everything was listed.
        self.is_done = False
        #: Whether the pass has to end before its listing does, because of a pause.
        self.ended_by_pause = False

    def run(
        self, request: PassRequest, prefix: str, *, to_fetch: Channel[StoredObject], to_record: RecordChannel
    ) -> None:
        """List all objects under the request's prefix, or only its ``keys``."""
        if request.keys is not None:
            self._list_again(request.keys, to_fetch=to_fetch, to_record=to_record)
        else:
            try:
                self._list_all(
                    since=request.since,
                    prefix=prefix,
                    exhaustive=request.exhaustive,
                    to_fetch=to_fetch,
                    to_record=to_record,
                )
            except PauseBegan:
                self.ended_by_pause = True
                return
        self.is_done = True

    @property
    def has_waiting(self) -> bool:
        """Whether variants wait until everything that was listed is recorded."""
        return self._variants is not None and self._variants.has_waiting

    def run_waiting(self, *, to_fetch: Channel[StoredObject], to_record: RecordChannel) -> None:
        """Pass on the variants that waited and cannot follow their original; record the others."""
        if self._variants is None:
            return
        try:
            for obj in self._variants.settled(to_record):
                self._go_on(to_fetch)
                to_fetch.put(obj)
        except PauseBegan:
            self.ended_by_pause = True

    def _list_all(
        self,
        *,
        since: datetime | None,
        prefix: str,
        exhaustive: bool,
        to_fetch: Channel[StoredObject],
        to_record: RecordChannel,
    ) -> None:
        """List everything of this pass; add what failed in earlier passes and was not listed, perhaps because it is
        gone.
        """
        failed_before = set(self._ledger.objects.retryable(self._storage.name, _RETRY_LIMIT))
        self._go_on(to_fetch)
        self._let_unchecked_go_first(since, prefix, to_fetch, to_record)
        if since is None or exhaustive:
            listing = partial(self._storage.list, since=since, prefix=prefix)
        else:
            listing = partial(self._incremental.new_since, since, prefix=prefix)
        for listed in self._listed_through_pauses(listing):
            self._go_on(to_fetch)
            failed_before.difference_update(obj.key for obj in listed)
            batch = [obj for obj in listed if obj.key not in self._gone_first]
            self._count_batch(batch)
            stable: list[StoredObject] = []
            for obj in batch:
                self._note_time(obj)
                (self._recent if self._is_recent(obj) else stable).append(obj)
            self._pass_on(stable, to_fetch, to_record)
        self._pass_on(self._settle(self._recent), to_fetch, to_record)
        self._pass_on(self._found_again(failed_before, prefix, to_record), to_fetch, to_record)

    def _list_again(self, keys: Iterable[str], *, to_fetch: Channel[StoredObject], to_record: RecordChannel) -> None:
        """Only these objects, whether known or not. What is still being written is left to a later pass."""
        for obj in self._found_again(set(keys), "", to_record):
            if self._is_recent(obj):
                self.left_out = True
                self._counter.add("waiting")
            else:
                to_fetch.put(obj)

    def _all_that_may_be_listed(self, listing: Iterator[StoredObject]) -> Iterator[StoredObject]:
        try:
            yield from (obj for obj in listing if not is_health_check(obj.key, obj.size))
        except (AccessDenied, ListingIncomplete) as error:  # raised by storages after everything else
            self.refused = error

    def _let_unchecked_go_first(
        self,
        since: datetime | None,
        prefix: str,
        to_fetch: Channel[StoredObject],
        to_record: RecordChannel,
    ) -> None:
        """Uploads accepted without a verdict are public: look for them before all else.

        They are found by size, so other objects may match. If pict-rs's keys are ordered by time, this costs a listing
        of everything stored since the first of them.
        """
        accepted = self._ledger.uploads.unchecked_since()
        if accepted is None:
            return
        # Not before pict-rs existed and not in the future, whatever a clock said.
        # The time of acceptance is by our clock, the times in the storage are by its own.
        behind = min(self._storage.clock_ahead, timedelta(0))
        earliest = min(max(accepted, _PICTRS_BEGAN), self._clock()) - _STORED_BEFORE + behind
        earliest = earliest if since is None else max(since, earliest)
        for batch in _batches(self._all_that_may_be_listed(self._incremental.new_since(earliest, prefix=prefix))):
            self._go_on(to_fetch)
            wanted = self._ledger.uploads.unchecked_among(batch)
            urgent = [obj for obj in batch if obj.key in wanted and not self._is_recent(obj)]
            self._gone_first.update(obj.key for obj in urgent)
            self._count_seen(urgent)
            for obj in urgent:
                self._note_time(obj)
            self._pass_on(urgent, to_fetch, to_record)

    def _raise_if_stopped(self) -> None:
        """Known objects are not read, so a listing may run for long without touching the next stage, which would notice
        a stop.
        """
        if self._stop.is_set():
            raise PipelineStopped

    def _go_on(self, to_fetch: Channel[StoredObject]) -> None:
        """Wait for the end of a pause, if this pass waits.

        :raises PauseBegan: the pass has to end.
        """
        self._raise_if_stopped()
        self._gate.go_through(to_fetch)

    def _pass_on(
        self,
        objects: Iterable[StoredObject],
        to_fetch: Channel[StoredObject],
        to_record: RecordChannel,
    ) -> None:
        for batch in _batches(objects):
            self._raise_if_stopped()
            known = self._ledger.objects.known(self._storage.name, batch, self._ruleset)
            variants = {key for key, state in known.items() if state is Known.VARIANT}
            new = [
                obj
                for obj in batch
                if (obj.key not in known or obj.key in variants) and obj.key not in self._fed_before
            ]
            if self._variants is not None:
                # Those listed and counted before a pause are decided, or wait.
                new = [obj for obj in new if obj.key not in variants or obj.key not in self._counted_before]
                new = self._variants.to_be_read(new, variants, to_record)
            for key, state in known.items():
                if key not in self._counted_before and state is not Known.VARIANT:
                    self._counter.add("skipped")
                if state is Known.PENDING:
                    to_record.put_open_action(key)
            unchecked = self._ledger.uploads.unchecked_among(new)
            for obj in sorted(new, key=lambda obj: obj.key not in unchecked):
                self._go_on(to_fetch)
                to_fetch.put(obj)
                self._last_fed.append(obj.key)

    def _listed_through_pauses(self, begin: Callable[[], Iterator[StoredObject]]) -> Iterator[list[StoredObject]]:
        """The listing in batches. A connection that was lost in a pause, such as a home line has every night, is no
        outage: then everything is listed again, and what was judged is known by now.
        """
        while True:
            waited = self._gate.waited
            try:
                yield from _batches(self._all_that_may_be_listed(begin()))
            except StorageUnreachable as error:
                if self._gate.waited == waited:
                    raise
                log.info("listing again, the connection was lost in the pause: %s", error.message)
                self._listed_again, self._listed = self._listed, 0
                self._fed_before = frozenset(self._last_fed)
                self._recent.clear()
            else:
                return

    def _count_batch(self, batch: Sequence[StoredObject]) -> None:
        """As ``_count_seen``, except what was counted before the listing began again. Listings mostly keep their order."""
        again = max(0, min(self._listed_again - self._listed, len(batch)))
        self._listed += len(batch)
        self._counted_before = {obj.key for obj in batch[:again]}
        self._count_seen(batch[again:])

    def _count_seen(self, objects: Sequence[StoredObject]) -> None:
        self._counter.add("seen", len(objects))
        self._counter.add("bytes_seen", sum(obj.size for obj in objects))

    def _note_time(self, obj: StoredObject) -> None:
        # A date in the future is wrong, and does not show what was uploaded until then.
        known = UNKNOWN_TIME < obj.modified_at <= self._storage_time() + _CLOCK_GRAIN
        if known and (self.newest is None or obj.modified_at > self.newest):
            self.newest = obj.modified_at

    def _is_recent(self, obj: StoredObject) -> bool:
        return obj.modified_at > self._storage_time() - timedelta(seconds=self._storage.settle_s)

    def _storage_time(self) -> datetime:
        """Now, by the clock that dates the objects."""
        return self._clock() + self._storage.clock_ahead

    def _settle(self, recent: list[StoredObject]) -> Iterator[StoredObject]:
        """Objects that did not change while we waited; the others are left to the next pass.

        Two checks, ``settle_s`` apart by our own clock, do not depend on the server's clock.
        """
        if not recent or self._stop.wait(self._storage.settle_s):
            return
        for obj in recent:
            self._raise_if_stopped()
            try:
                current = self._storage.stat(obj.key)
            except StorageError as error:
                if not is_about_one_object(error):
                    raise
                self.left_out = True
                continue
            if current.same_content_as(obj):
                yield obj
            else:
                self.left_out = True
                log.info("still being written, left to the next pass key=%r", obj.key)
                self._counter.add("waiting")

    def _found_again(self, keys: set[str], prefix: str, to_record: RecordChannel) -> Iterator[StoredObject]:
        """Objects that failed in an earlier pass and are outside the time window of this one."""
        for key in sorted(keys):
            if not key.startswith(prefix):
                continue
            self._raise_if_stopped()
            try:
                obj = self._storage.stat(key)
            except ObjectGone:
                try:
                    self._storage.ensure_mounted(key)
                except StorageUnreachable as error:
                    log.warning("left to a later pass key=%r reason=%s", key, error.message)
                    continue
                gone = self._ledger.objects.describe(self._storage.name, key)
                if gone is not None:
                    to_record.put_result(_without_verdict(gone, ItemStatus.GONE, "vanished after a failed read"))
                continue
            except StorageError as error:
                if not is_about_one_object(error):
                    raise
                log.warning("still not readable key=%r reason=%s", key, error.message)
                last = self._ledger.objects.describe(self._storage.name, key)
                if last is not None:  # recorded again, so that it goes to the end of the queue
                    to_record.put_result(_without_verdict(last, ItemStatus.DENIED, error.message))
                continue
            if is_health_check(key, obj.size):  # recorded by a version that did not know its name
                to_record.put_result(_without_verdict(obj, ItemStatus.GONE, "no upload: pict-rs's own health check"))
                continue
            self._count_seen([obj])
            yield obj


def _without_verdict(obj: StoredObject, status: ItemStatus, reason: str) -> ItemResult:
    return ItemResult(obj=obj, assessment=Assessment(status=status, reason=reason))


def _batches(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    iterator = iter(objects)
    while batch := list(islice(iterator, _LOOKUP_BATCH)):
        yield batch
