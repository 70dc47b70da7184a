"""Describes one object of a bucket: by HEAD, and by a listing of the same key if HEAD says too little."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lemmy_safety.errors import (
    AccessDenied,
    LoginRefused,
    ObjectGone,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.storage.s3.answers import entry_of
from lemmy_safety.storage.s3.errors import translated

if TYPE_CHECKING:
    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.s3.answers import Entry
    from lemmy_safety.storage.s3.requests import BucketRequests

_log = logging.getLogger(__name__)

#: Enough for the key itself to be among the keys that begin with it.
_PAGE = 10


def describe(requests: BucketRequests, key: str, *, seen_lately: bool = False) -> StoredObject:
    """``seen_lately``: the bucket has just answered, so "not there" is about the object and needs no second request."""
    try:
        with translated(requests.place, key):
            entry = entry_of(key, requests.client.head_object(Bucket=requests.bucket, Key=key))
    except StorageError as error:
        if isinstance(error.__cause__, ClientError) and not (seen_lately and isinstance(error, ObjectGone)):
            _explain_head(requests, key, error)
        raise
    if entry.modified_at is None:
        entry = _completed(requests, entry)
    if entry.size is None:
        raise StorageError(f"{key!r} in {requests.place}: the server does not say how large it is.", hint="")
    return entry.described(entry.size)


def _completed(requests: BucketRequests, entry: Entry) -> Entry:
    """Fill in from the listing what HEAD left out. Without a time, even a web page would pass for an object.

    :raises StorageError: HEAD and the listing describe different things.
    """
    try:
        page = requests.page(Prefix=entry.key, MaxKeys=_PAGE)
    except AccessDenied:
        return entry
    listed = next((other for other in page.entries if other.key == entry.key), None)
    if listed is None or listed.size is None:
        return entry
    if entry.size is not None and entry.size != listed.size:
        raise StorageError(
            f"{entry.key!r} in {requests.place}: it is listed with {listed.size} bytes and described with {entry.size}.",
            hint="Something between here and the server may answer in its place, such as a proxy.",
        )
    return replace(listed, etag=entry.etag or listed.etag)


def _explain_head(requests: BucketRequests, key: str, refusal: StorageError) -> None:
    """Ask again with a request whose refusal has a text: HEAD answers 403 and 404 for the login and the bucket, too.

    :raises ObjectGone: HEAD answered 403, and a complete listing of the keys that begin with this one lacks it. Some
        servers
        answer 403 for everything that does not exist.
    """
    try:
        page = requests.page(Prefix=key, MaxKeys=_PAGE)
    except (LoginRefused, StorageMissing, StorageUnreachable):
        raise
    except StorageError as error:
        # The account may not list: HEAD's own status counts.
        _log.debug("could not find out more about %r: %s", key, error.message)
        return
    whole = not (page.more or page.lost or page.folders)
    others_only = all(entry.key.startswith(key) and entry.key != key for entry in page.entries)
    if isinstance(refusal, AccessDenied) and whole and others_only:
        raise ObjectGone(f"{key!r} does not exist (any more) in {requests.place}.")
