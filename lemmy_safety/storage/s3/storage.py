"""pict-rs's objects in a bucket of any S3-compatible server, through boto3.

Deletions are sent without a condition: Swift honours If-Match there, radosgw 16 drops it silently, others refuse the
request. A HEAD checks the preconditions instead (``Storage.delete``).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    BadKey,
    ListingIncomplete,
    ObjectChanged,
    ObjectGone,
    StorageError,
    is_about_one_object,
)
from lemmy_safety.pictrs import keys
from lemmy_safety.storage.base import Storage
from lemmy_safety.storage.judged import raise_unless_judged
from lemmy_safety.storage.s3.bucket import BucketListing
from lemmy_safety.storage.s3.client import connect
from lemmy_safety.storage.s3.describing import describe
from lemmy_safety.storage.s3.endpoint import check_region, checked_endpoint
from lemmy_safety.storage.s3.errors import translated
from lemmy_safety.storage.s3.keeping import locks_kept, versions_kept
from lemmy_safety.storage.s3.order import OrderBroken
from lemmy_safety.storage.s3.removal import see_through
from lemmy_safety.storage.s3.requests import BucketRequests
from lemmy_safety.storage.s3.transfers import transferred
from lemmy_safety.storage.s3.writing import put_new

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.pace import Pace
    from lemmy_safety.storage.s3.answers import Entry, Page

# Enough for the first time-ordered key to be on the page even with a few odd objects before it.
_FIRST_KEY_PAGE = 10
# Connections that list a large bucket. One interpreter reads their answers; two connections keep it busy near the
# server
# and three far from it; each additional one needs another 3 MB.
_MOST_LISTERS = 3


class S3Storage(Storage):
    """One bucket.

    Without ``access_key`` and ``secret_key`` boto3 searches its own places (environment, profile, role).
    ``connections``
    should be the number of calling threads. ``page_size`` is how many keys are requested at once (S3's most is
    1,000; servers may give fewer). ``attempts`` is how often one request is tried, with backoff.
    """

    whole_seconds = True  # some servers list them so
    whole_listing_up_to = 10_000  # ten requests

    #: A longer listing continues over several connections.
    pages_in_a_row = 20

    def __init__(  # noqa: PLR0913 - what an admin may set of a bucket
        self,
        endpoint: str,
        bucket: str,
        access_key: str | None = None,
        secret_key: str | None = None,
        *,
        session_token: str | None = None,
        region: str = "auto",
        addressing: str = "path",
        connections: int = 10,
        page_size: int = 1000,
        attempts: int = 4,
    ) -> None:
        """Connects to nothing yet.

        :raises SettingsError: the endpoint is not a usable server URL, or the region is not a valid name.
        """
        super().__init__()
        url = checked_endpoint(endpoint)
        check_region(region, url)
        self._page_size = page_size
        to_connect = functools.partial(
            connect,
            url,
            login=(access_key or None, secret_key or None, session_token or None),
            region=region,
            addressing=addressing,
            connections=connections,
            attempts=attempts,
        )
        self.name = f"s3:{url}/{bucket}"
        self._place = f"bucket {bucket} at {url}"
        self._requests = BucketRequests(to_connect, bucket, self._place, self.learned)
        self._listing = BucketListing(
            self._requests.page,
            self._place,
            page_size=page_size,
            connections=max(1, min(_MOST_LISTERS, connections)),
            learned=self.learned,
        )

    def open(self) -> None:
        self._requests.open()
        try:
            # Not HEAD: an answer to HEAD has no body, so a wrong login and a missing permission look alike.
            self._compare_clocks()
        except StorageError:
            self.close()
            raise

    def _compare_clocks(self) -> None:
        asked_at = datetime.now(UTC)
        told_at = self._requests.page(MaxKeys=1).told_at
        if told_at is not None:
            self.clock.compare(self.name, told_at, asked_at, datetime.now(UTC))

    def close(self) -> None:
        self._requests.close()

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, created_from: datetime | None
    ) -> Iterator[StoredObject]:
        unread = ""
        for page in self._pages(prefix, after, created_from):
            if page.lost or page.folders:
                unread = unread or f"near {page.last_key!r}"
            for entry in page.entries:
                if not entry.key.startswith(prefix) or entry.key <= (after or ""):
                    continue
                try:
                    obj = self._described(entry)
                except ObjectGone:
                    continue
                except StorageError as error:
                    if not is_about_one_object(error):
                        raise
                    unread = unread or repr(entry.key)
                    continue
                # An empty object whose name ends in a slash is a web console's "folder", not an object.
                if not (obj.key.endswith("/") and obj.size == 0) and (since is None or obj.modified_since(since)):
                    yield obj
        if unread:
            raise ListingIncomplete(
                f"{self._place}: the server's listing names objects without saying what they are, the first {unread}."
            )

    def _pages(self, prefix: str, after: str | None, created_from: datetime | None) -> Iterator[Page]:
        """Pages that hold what is wanted, and more. If the order proves wrong on the way, the listing starts over.

        The first pages are then not repeated; in a long listing, later keys may come twice.
        """
        given: set[str] = set()
        if self._listing.keeps_order:
            try:
                for page in self._pages_in_order(prefix, after, created_from):
                    if len(given) < self.pages_in_a_row * self._page_size:
                        given.update(entry.key for entry in page.entries)
                    yield page
            except OrderBroken as error:
                self._listing.distrust(error)
            else:
                return
        for page in self._listing.plain(prefix):
            yield replace(page, entries=tuple(entry for entry in page.entries if entry.key not in given))

    def _pages_in_order(self, prefix: str, after: str | None, created_from: datetime | None) -> Iterator[Page]:
        if created_from is not None:
            if prefix.startswith(keys.V7_ROOT):
                pass
            elif keys.V7_ROOT.startswith(prefix):
                prefix = keys.V7_ROOT
            else:
                return
            after = max(after or "", keys.start_after(created_from))
        yield from self._listing.in_order(prefix, after, pages_in_a_row=self.pages_in_a_row)

    def ordered_keys(self) -> Iterator[str]:
        if not self._listing.keeps_order:
            return
        pages = self._listing.in_order(
            keys.V7_ROOT, None, pages_in_a_row=self.pages_in_a_row, page_size=_FIRST_KEY_PAGE
        )
        try:
            for page in pages:
                yield from (entry.key for entry in page.entries if entry.key.startswith(keys.V7_ROOT))
        except OrderBroken as error:
            self._listing.distrust(error)

    def _described(self, entry: Entry) -> StoredObject:
        return entry.described(self._stat(entry.key).size if entry.size is None else entry.size)

    def _read(self, key: str, max_bytes: int, pace: Pace | None) -> bytes:
        return transferred(self._requests, key, max_bytes, None, pace)

    def _read_described(self, key: str, max_bytes: int, expected: StoredObject, pace: Pace | None = None) -> bytes:
        return transferred(self._requests, key, max_bytes, expected.size, pace)

    def _stat(self, key: str) -> StoredObject:
        return describe(self._requests, key)

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        # S3 answers the same whether or not the object was there.
        try:
            present = self._stat(key)
        except ObjectGone:
            return False
        raise_unless_judged(present, expected)

        def ask() -> None:
            with translated(self._place, key):
                self._requests.client.delete_object(Bucket=self._requests.bucket, Key=key)

        see_through(ask, lambda: describe(self._requests, key, seen_lately=True), present, place=self._place)
        return True

    def _move(self, key: str, new_key: str) -> None:
        target = self._found(new_key)
        source = self._found(key)
        if source is None:
            if target is None:
                raise ObjectGone(f"{key!r} does not exist in {self._place}.")
            return
        if target is None:
            with translated(self._place, key):
                self._requests.client.copy_object(
                    Bucket=self._requests.bucket, Key=new_key, CopySource={"Bucket": self._requests.bucket, "Key": key}
                )
            if self._stat(new_key).size != source.size:
                raise StorageError(f"{new_key!r} in {self._place} is not a whole copy of {key!r}; both were kept.")
        elif (target.size, target.etag) != (source.size, source.etag):
            raise ObjectChanged(f"{new_key!r} already exists in {self._place}; {key!r} was left alone.")
        self.delete(key, expected=source)

    def _found(self, key: str) -> StoredObject | None:
        try:
            return self._stat(key)
        except ObjectGone:
            return None

    def check_key(self, key: str) -> None:
        super().check_key(key)
        try:
            key.encode("utf-8")
        except UnicodeEncodeError:
            raise BadKey(f"{key!r} is not a key that an S3 server can hold.", hint="Keys are UTF-8.") from None

    def details(self) -> str:
        with_versions = versions_kept(self._requests.client, self._requests.bucket, self._place)
        return "; ".join(
            said
            for said in (with_versions, locks_kept(self._requests.client, self._requests.bucket, self._place))
            if said
        )

    def _write_new(self, key: str, data: bytes) -> bool:
        if self._found(key) is not None:
            return False
        try:
            put_new(self._requests, key, data, self.learned)
        except ObjectChanged:
            # Deleted since; or by us, and the answer was lost on the way. A server may answer the same for other
            # reasons.
            if self._found(key) is None:
                raise
            return False
        return True
