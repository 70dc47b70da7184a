"""pict-rs's objects in a bucket of any S3-compatible server, through boto3.

Conditional requests are not sent: Swift honours If-Match on a delete, radosgw 16 drops it silently, others refuse the
request. What must hold before a deed is checked by a HEAD instead (``Storage.delete``).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from datetime import UTC
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from lemmy_safety.errors import (
    BadKey,
    LoginRefused,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs import keys
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import ProbeStep, Storage
from lemmy_safety.storage.probing import probe_steps
from lemmy_safety.storage.s3.client import connect, shown_endpoint
from lemmy_safety.storage.s3.errors import translated
from lemmy_safety.storage.s3.listing import KeyRange, cut, pages_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
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
        self._bucket = bucket
        self._page_size = page_size
        self._listers = max(1, min(_MOST_LISTERS, connections))
        self._connect = functools.partial(
            connect,
            endpoint,
            login=(access_key or None, secret_key or None, session_token or None),
            region=region,
            addressing=addressing,
            connections=connections,
            attempts=attempts,
        )
        shown = shown_endpoint(endpoint)
        self.name = f"s3:{shown}/{bucket}"
        self._place = f"bucket {bucket} at {shown}"
        self._connected: S3Client | None = None

    def open(self) -> None:
        if self._connected is None:
            self._connected = self._connect()
        try:
            # Rather than HEAD: an answer to HEAD has no body, so a wrong login and a missing permission look alike.
            self._page(MaxKeys=1)
        except StorageError:
            self.close()
            raise

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def probe(self) -> Iterator[ProbeStep]:
        return probe_steps(self, write=self._write_probe, details=self._versioning)

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, exhaustive: bool
    ) -> Iterator[StoredObject]:
        created_from = self._created_from(since, exhaustive=exhaustive)
        if created_from is not None:
            if prefix.startswith(keys.V7_ROOT):
                pass
            elif keys.V7_ROOT.startswith(prefix):
                prefix = keys.V7_ROOT
            else:
                return
            after = max(after or "", keys.start_after(created_from))
        # Some servers list whole seconds, so an object of this very second must not fall before it.
        oldest = since and since.replace(microsecond=0)
        for obj in self._objects(prefix, after):
            if oldest is None or obj.modified_at >= oldest:
                yield obj

    def _ordered_keys(self) -> Iterator[str]:
        return (obj.key for obj in self._objects(keys.V7_ROOT, None, _FIRST_KEY_PAGE))

    def _objects(self, prefix: str, after: str | None, page_size: int | None = None) -> Iterator[StoredObject]:
        """Objects in byte order; from the point on where a bucket proves to be large, in no order."""
        ask = functools.partial(self._next_page, prefix=prefix, page_size=page_size)
        whole = KeyRange(after, None)
        page = ask(whole, None)
        last = ""
        for number in itertools.count(1):
            if page is None:
                return
            yield from _objects_on(page, whole)
            last = page["Contents"][-1]["Key"] if page.get("Contents") else last
            if number >= self.pages_in_a_row and page["IsTruncated"]:
                break
            page = ask(whole, page)
        ranges = cut(self._page, prefix, last)
        _log.debug("%s is large; listing the rest in %d ranges", self.name, len(ranges))
        for key_range, later in pages_of(ranges, ask, connections=self._listers):
            yield from _objects_on(later, key_range)

    def _next_page(
        self,
        key_range: KeyRange,
        before: ListObjectsV2OutputTypeDef | None,
        *,
        prefix: str,
        page_size: int | None,
    ) -> ListObjectsV2OutputTypeDef | None:
        """The page of a range after ``before``; None at the range's end."""
        request: dict[str, Any] = {"MaxKeys": page_size or self._page_size}
        if prefix:
            request["Prefix"] = prefix
        if key_range.after:
            request["StartAfter"] = key_range.after
        if before is None:
            return self._page(**request)
        contents = before.get("Contents", [])
        passed = key_range.last is not None and contents and contents[-1]["Key"] > key_range.last
        if passed or not before["IsTruncated"]:
            return None
        token = before.get("NextContinuationToken")
        if token is None or token == before.get("ContinuationToken"):
            raise StorageError(
                f"{self._place}: the server says that there is more to list, but not how to go on.",
                hint="Its ListObjectsV2 is broken; nothing was skipped, the pass ended here.",
            )
        page = self._page(**request, ContinuationToken=token)
        page["ContinuationToken"] = token  # servers should repeat it, and some do not
        return page

    def _page(self, **request: Any) -> ListObjectsV2OutputTypeDef:
        with translated(self._place):
            page = self._client.list_objects_v2(Bucket=self._bucket, **request)
        # botocore takes any XML for an answer, and a web site's well-formed page for an empty bucket.
        if "IsTruncated" not in page:
            raise StorageError(
                f"{self._place}: the answer is not one of an S3 server.",
                hint="Check OBJECT_STORAGE_ENDPOINT; it is the S3 server's URL, not that of a web site.",
            )
        return page

    def _read(self, key: str, max_bytes: int) -> bytes:
        for transfer in range(1, _TRANSFERS + 1):
            try:
                return self._transfer(key, max_bytes)
            except StorageUnreachable as error:
                if transfer == _TRANSFERS:
                    raise
                _log.debug("reading %r again: %s", key, error.message)
        raise AssertionError  # the loop returns or raises

    def _transfer(self, key: str, max_bytes: int) -> bytes:
        with translated(self._place, key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                if answer.get("ContentLength", 0) > max_bytes:
                    raise _too_large(key, max_bytes)
                data = bytearray()
                # Up to the empty read, which is where botocore compares what came with what was promised.
                while chunk := body.read(min(_CHUNK_BYTES, max_bytes + 1 - len(data))):
                    data += chunk
                    if len(data) > max_bytes:
                        raise _too_large(key, max_bytes)
        return bytes(data)

    def _stat(self, key: str) -> StoredObject:
        try:
            with translated(self._place, key):
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except StorageError as error:
            if isinstance(error.__cause__, ClientError):
                self._explain_head(key)
            raise
        return _described(key, answer["ContentLength"], answer)

    def _explain_head(self, key: str) -> None:
        """Ask again in a way that is answered in words: HEAD says 403 and 404 for the login and the bucket, too."""
        try:
            self._page(Prefix=key, MaxKeys=1)
        except (LoginRefused, StorageMissing, StorageUnreachable):
            raise
        except StorageError as error:
            # An account that may not list: HEAD's own status stands.
            _log.debug("could not find out more about %r: %s", key, error.message)

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        # S3 answers the same whether or not the object was there.
        try:
            self._see_that_it_was_judged(self._stat(key), expected)
        except ObjectGone:
            return False
        with translated(self._place, key):
            self._client.delete_object(Bucket=self._bucket, Key=key)
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

    def _versioning(self) -> str:
        try:
            with translated(self._place):
                status = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
        except StorageError:
            return "whether it keeps old versions could not be asked"
        if status == "Enabled":
            return "versioning is on: what is deleted stays as an old version until a lifecycle rule removes it"
        return "it keeps no old versions"

    def _write_probe(self, key: str, data: bytes) -> None:
        with translated(self._place, key):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)


def _objects_on(page: ListObjectsV2OutputTypeDef, key_range: KeyRange) -> Iterator[StoredObject]:
    for entry in page.get("Contents", []):
        if key_range.last is not None and entry["Key"] > key_range.last:
            return
        # A name with a slash at its end and nothing in it is a web console's "folder", not an object.
        if not (entry["Key"].endswith("/") and entry["Size"] == 0):
            yield _described(entry["Key"], entry["Size"], entry)


def _described(key: str, size: int, facts: Any) -> StoredObject:
    etag = facts.get("ETag")
    return StoredObject(
        key=key,
        size=size,
        modified_at=facts["LastModified"].astimezone(UTC),
        etag=etag.removeprefix("W/").strip('"') if etag else None,
    )


def _too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")
