"""What a bucket says of one object: HEAD, and where that says too little a listing of the same key."""

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

#: Enough for the key itself to be among those that begin with it.
_PAGE = 10


def describe(requests: BucketRequests, key: str, *, seen_lately: bool = False) -> StoredObject:
    """``seen_lately``: the bucket answered a moment ago, so "not there" is about the object and needs no second question."""
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
    """What HEAD left out, from the listing. Without a time a web page passes for an object, too.

    :raises StorageError: HEAD and the listing speak of different things.
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
    """Ask again in a way that is answered in words: HEAD says 403 and 404 for the login and the bucket, too.

    :raises ObjectGone: HEAD said 403, and a whole listing of what begins with the key lacks it. Some servers say 403 for whatever
        is not there.
    """
    try:
        page = requests.page(Prefix=key, MaxKeys=_PAGE)
    except (LoginRefused, StorageMissing, StorageUnreachable):
        raise
    except StorageError as error:
        # An account that may not list: HEAD's own status stands.
        _log.debug("could not find out more about %r: %s", key, error.message)
        return
    whole = not (page.more or page.lost or page.folders)
    others_only = all(entry.key.startswith(key) and entry.key != key for entry in page.entries)
    if isinstance(refusal, AccessDenied) and whole and others_only:
        raise ObjectGone(f"{key!r} does not exist (any more) in {requests.place}.")
