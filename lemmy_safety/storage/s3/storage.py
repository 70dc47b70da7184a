"""pict-rs's objects in a bucket of any S3-compatible server, through boto3.

Conditional requests are not sent: Swift honours If-Match on a delete, radosgw 16 drops it silently, others refuse the
request. What must hold before a deed is checked by a HEAD instead (``Storage.delete``).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ListingIncomplete,
    LoginRefused,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageMissing,
    StorageUnreachable,
    is_about_one_object,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.pictrs import keys
from lemmy_safety.storage.base import ProbeStep, Storage
from lemmy_safety.storage.probing import probe_steps
from lemmy_safety.storage.s3.answers import entry_of, page_of
from lemmy_safety.storage.s3.bucket import BucketListing
from lemmy_safety.storage.s3.client import connect, ignore_absurd_entries
from lemmy_safety.storage.s3.endpoint import check_region, checked_endpoint
from lemmy_safety.storage.s3.errors import ANSWER_ERRORS, translated
from lemmy_safety.storage.s3.keeping import locks_kept, versions_kept
from lemmy_safety.storage.s3.key_coding import KeyCoding
from lemmy_safety.storage.s3.order import OrderBroken
from lemmy_safety.storage.s3.removal import see_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.s3.answers import Entry, Page

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
# Proxies that pack answers on the way, and servers that are told to, say so in Content-Encoding.
_PACKED = ("gzip", "x-gzip", "deflate")
# What gzip and deflate add to bytes that cannot be packed, beside five bytes for each 16 KiB; zlib's flag for either header.
_PACKING_BYTES = 64
_ANY_HEADER = 32
# How often a body that breaks off is asked for again; botocore retries only what fails before the body.
_TRANSFERS = 3
# Enough for the first time-ordered key to be on the page even when someone put a few odd objects before it.
_FIRST_KEY_PAGE = 10
# Connections that list a large bucket. What reads their answers is one interpreter, which two keep busy near the server
# and three far from it; each more holds another 3 MB.
_MOST_LISTERS = 3


class S3Storage(Storage):
    """One bucket.

    Without ``access_key`` and ``secret_key`` boto3's own places are asked (environment, profile, role). ``connections``
    should be the number of threads that call. ``page_size`` is how many keys are asked for at once (S3's most is
    1,000; servers may give fewer). ``attempts`` is how often one request is tried, with backoff.
    """

    whole_seconds = True  # as some servers list them
    whole_listing_up_to = 10_000  # ten requests

    #: A listing that is longer than this goes on over several connections.
    pages_in_a_row = 20

    def __init__(
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

        :raises SettingsError: the endpoint is not the URL of a server that can be asked, or the region is none.
        """
        super().__init__()
        url = checked_endpoint(endpoint)
        check_region(region, url)
        self._bucket = bucket
        self._page_size = page_size
        self._connect = functools.partial(
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
        self._connected: S3Client | None = None
        self._keys = KeyCoding(self._exists, self._place, self.learned)
        self._listing = BucketListing(
            self._page,
            self._place,
            page_size=page_size,
            connections=max(1, min(_MOST_LISTERS, connections)),
            learned=self.learned,
        )

    def open(self) -> None:
        if self._connected is None:
            self._connected = self._connect()
        try:
            # Rather than HEAD: an answer to HEAD has no body, so a wrong login and a missing permission look alike.
            self._compare_clocks()
        except StorageError:
            self.close()
            raise

    def _compare_clocks(self) -> None:
        asked_at = datetime.now(UTC)
        told_at = self._page(MaxKeys=1).told_at
        if told_at is not None:
            self.clock.compare(self.name, told_at, asked_at, datetime.now(UTC))

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def probe(self) -> Iterator[ProbeStep]:
        return probe_steps(self, write=self._write_probe, details=self._keeping)

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
                # A name with a slash at its end and nothing in it is a web console's "folder", not an object.
                if not (obj.key.endswith("/") and obj.size == 0) and (since is None or obj.modified_since(since)):
                    yield obj
        if unread:
            raise ListingIncomplete(
                f"{self._place}: the server's listing names objects without saying what they are, the first {unread}."
            )

    def _pages(self, prefix: str, after: str | None, created_from: datetime | None) -> Iterator[Page]:
        """Pages that hold what is wanted, and more. Where the order proves wrong on the way, it is begun again.

        Then what came in the first pages does not come again; of a long listing, later keys may come twice.
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

    def _page(self, **request: Any) -> Page:
        page = self._asked(request)
        if page.lost:
            again = self._asked(request)
            page = min(page, again, key=lambda answer: answer.lost)
        return self._keys.decoded(page)

    def _asked(self, request: dict[str, Any]) -> Page:
        with translated(self._place):
            try:
                answer = self._listed(request)
            except ANSWER_ERRORS:
                # One field of one entry that is not of its form costs the whole page, unless it is left out.
                ignore_absurd_entries(self._client)
                answer = self._listed(request)
            page = page_of(answer)
        if page is None:
            raise StorageError(
                f"{self._place}: the answer is not one of an S3 server.",
                hint="Check OBJECT_STORAGE_ENDPOINT; it is the S3 server's URL, not that of a web site.",
            )
        return page

    def _listed(self, request: dict[str, Any]) -> Any:
        """``Marker`` is how ListObjects' first version is asked to go on."""
        if "Marker" in request:
            return self._client.list_objects(Bucket=self._bucket, **request)
        return self._client.list_objects_v2(Bucket=self._bucket, **request)

    def _exists(self, key: str) -> bool:
        try:
            with translated(self._place, key):
                self._client.head_object(Bucket=self._bucket, Key=key)
        except ObjectGone:
            return False
        return True

    def _read(self, key: str, max_bytes: int) -> bytes:
        return self._transferred(key, max_bytes, None)

    def _read_described(self, key: str, max_bytes: int, expected: StoredObject) -> bytes:
        return self._transferred(key, max_bytes, expected.size)

    def _transferred(self, key: str, max_bytes: int, size: int | None) -> bytes:
        for transfer in range(1, _TRANSFERS + 1):
            try:
                return self._transfer(key, max_bytes, size)
            except StorageUnreachable as error:
                if transfer == _TRANSFERS:
                    raise
                _log.debug("reading %r again: %s", key, error.message)
        raise AssertionError  # the loop returns or raises

    def _transfer(self, key: str, max_bytes: int, size: int | None) -> bytes:
        """``size`` is how large it is listed, where that is known."""
        with translated(self._place, key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                packed = size is not None and answer.get("ContentEncoding") in _PACKED
                # What is packed only on the way can be larger than it is unpacked.
                limit = max_bytes + _PACKING_BYTES + max_bytes // 1000 if packed else max_bytes
                if answer.get("ContentLength", 0) > limit:
                    raise _too_large(key, max_bytes)
                data = bytearray()
                # Up to the empty read, which is where botocore compares what came with what was promised.
                while chunk := body.read(min(_CHUNK_BYTES, limit + 1 - len(data))):
                    data += chunk
                    if len(data) > limit:
                        raise _too_large(key, max_bytes)
            # An object that is stored packed has the size that is listed as it comes.
            if packed and len(data) != size:
                return _unpacked(key, bytes(data), max_bytes)
        return bytes(data)

    def _stat(self, key: str) -> StoredObject:
        return self._describe(key)

    def _describe(self, key: str, *, seen_lately: bool = False) -> StoredObject:
        """``seen_lately``: the bucket answered a moment ago, so "not there" is about the object and needs no second question."""
        try:
            with translated(self._place, key):
                entry = entry_of(key, self._client.head_object(Bucket=self._bucket, Key=key))
        except StorageError as error:
            if isinstance(error.__cause__, ClientError) and not (seen_lately and isinstance(error, ObjectGone)):
                self._explain_head(key, error)
            raise
        if entry.modified_at is None:
            entry = self._completed(entry)
        if entry.size is None:
            raise StorageError(f"{key!r} in {self._place}: the server does not say how large it is.", hint="")
        return entry.described(entry.size)

    def _completed(self, entry: Entry) -> Entry:
        """What HEAD left out, from the listing. Without a time a web page passes for an object, too.

        :raises StorageError: HEAD and the listing speak of different things.
        """
        try:
            page = self._page(Prefix=entry.key, MaxKeys=_FIRST_KEY_PAGE)
        except AccessDenied:
            return entry
        listed = next((other for other in page.entries if other.key == entry.key), None)
        if listed is None or listed.size is None:
            return entry
        if entry.size is not None and entry.size != listed.size:
            raise StorageError(
                f"{entry.key!r} in {self._place}: it is listed with {listed.size} bytes and described with {entry.size}.",
                hint="Something between here and the server may answer in its place, such as a proxy.",
            )
        return replace(listed, etag=entry.etag or listed.etag)

    def _explain_head(self, key: str, refusal: StorageError) -> None:
        """Ask again in a way that is answered in words: HEAD says 403 and 404 for the login and the bucket, too.

        :raises ObjectGone: HEAD said 403, and a whole listing of what begins with the key lacks it. Some servers say 403 for whatever
            is not there.
        """
        try:
            page = self._page(Prefix=key, MaxKeys=_FIRST_KEY_PAGE)
        except (LoginRefused, StorageMissing, StorageUnreachable):
            raise
        except StorageError as error:
            # An account that may not list: HEAD's own status stands.
            _log.debug("could not find out more about %r: %s", key, error.message)
            return
        whole = not (page.more or page.lost or page.folders)
        others_only = all(entry.key.startswith(key) and entry.key != key for entry in page.entries)
        if isinstance(refusal, AccessDenied) and whole and others_only:
            raise ObjectGone(f"{key!r} does not exist (any more) in {self._place}.")

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        # S3 answers the same whether or not the object was there.
        try:
            present = self._stat(key)
        except ObjectGone:
            return False
        self._see_that_it_was_judged(present, expected)

        def ask() -> None:
            with translated(self._place, key):
                self._client.delete_object(Bucket=self._bucket, Key=key)

        see_through(ask, lambda: self._describe(key, seen_lately=True), present, place=self._place)
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
                self._client.copy_object(
                    Bucket=self._bucket, Key=new_key, CopySource={"Bucket": self._bucket, "Key": key}
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
            raise BadKey(f"{key!r} is no key an S3 server can hold.", hint="Keys are UTF-8.") from None

    @property
    def _client(self) -> S3Client:
        if self._connected is None:
            raise StorageError(f"{self._place} was not opened.", hint="")
        return self._connected

    def _keeping(self) -> str:
        with_versions = versions_kept(self._client, self._bucket, self._place)
        return "; ".join(said for said in (with_versions, locks_kept(self._client, self._bucket, self._place)) if said)

    def _write_probe(self, key: str, data: bytes) -> None:
        with translated(self._place, key):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)


def _unpacked(key: str, data: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | _ANY_HEADER)
    try:
        unpacked = unpacker.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise StorageUnreachable(f"{key!r} came packed and cannot be unpacked: {foreign(error)}.") from error
    if len(unpacked) > max_bytes:
        raise _too_large(key, max_bytes)
    return unpacked


def _too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")
