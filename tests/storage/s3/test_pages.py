"""A listing is a chain of pages, of any length, that must not end early."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.storage.s3 import scripted, storage_on

from lemmy_safety.errors import (
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.incremental import IncrementalListing

if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.servers.swift import SwiftServer
    from support.storage.scripted_s3 import Request

pytestmark = pytest.mark.external_service


def test_pages_of_any_length_are_one_listing(swift: SwiftServer, bucket: str) -> None:
    """Thirteen keys in pages of five, in byte order, by three requests."""
    expected = sorted(f"{number}/é {number}.jpg" for number in range(13))
    client = swift.client()
    for key in expected:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    with storage_on(swift, bucket, page_size=5) as storage:
        swift.clear_requests()
        assert [obj.key for obj in storage.list()] == expected
        assert len(swift.requests()) == 3


def _page(keys: list[str], more: str) -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-11-20T10:00:00.123Z</LastModified></Contents>"
        for key in keys
    )
    return (
        f'<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType>{contents}{more}</ListBucketResult>'
    ).encode()


def test_pages_may_be_shorter_than_asked_and_even_empty() -> None:
    """The server says whether there is more, not the length of a page."""
    pages = {
        "": (["a%2F1"], "two"),
        "two": ([], "three"),
        "three": (["b+c%C3%A9", "d"], ""),
    }

    def script(request: Request) -> None:
        token = request.path.partition("continuation-token=")[2].partition("&")[0]
        keys, following = pages[token]
        more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
        request.send(200, _page(keys, f"<IsTruncated>{str(bool(following)).lower()}</IsTruncated>{more}"))

    with scripted(script) as (storage, seen):
        listed = list(storage.list())
    assert [obj.key for obj in listed] == ["a/1", "b cé", "d"]
    assert listed[0].etag == "e"
    assert listed[0].modified_at == datetime(2026, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC)
    assert len(seen) == 3


@pytest.mark.parametrize("more", ["", "<NextContinuationToken>same</NextContinuationToken>"])
def test_a_listing_that_cannot_go_on_is_an_error(more: str) -> None:
    """A server that says 'more' without a way to it must not end a sweep as if it were complete, nor loop."""
    page = _page(["a"], f"<IsTruncated>true</IsTruncated>{more}")
    with scripted(lambda request: request.send(200, page)) as (storage, seen):
        with pytest.raises(StorageError, match="not how to go on"):
            list(storage.list())
        assert len(seen) <= 2


def test_an_outage_in_the_middle_of_a_listing_is_passing(s3_server: S3Server, s3_bucket: str) -> None:
    """The pages before it have been given, then StorageUnreachable is raised."""
    client = s3_server.client()
    for number in range(6):
        client.put_object(Bucket=s3_bucket, Key=f"{number}.jpg", Body=b"x")
    with storage_on(s3_server, s3_bucket, page_size=2) as storage:
        listing = storage.list()
        got = [next(listing).key, next(listing).key]
        s3_server.kill()
        try:
            with pytest.raises(StorageUnreachable):
                list(listing)
        finally:
            s3_server.start()
        assert got == ["0.jpg", "1.jpg"]
        assert [obj.key for obj in storage.list(after=got[-1])] == ["2.jpg", "3.jpg", "4.jpg", "5.jpg"]


def test_an_incremental_listing_costs_what_is_new(swift: SwiftServer, bucket: str) -> None:
    """One request for the first key ever and one for the new ones, however many old ones there are."""
    now = datetime.now(UTC)
    rng = random.Random(4)
    old = [make_key(now - timedelta(days=3, minutes=number), rng.getrandbits(74)) for number in range(30)]
    new = [make_key(now - timedelta(minutes=number), rng.getrandbits(74)) for number in range(3)]
    client = swift.client()
    for key in [*old, *new, "1/legacy"]:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    since = now - timedelta(minutes=20)
    with storage_on(swift, bucket, page_size=5) as storage:
        storage.whole_listing_up_to = 0  # as in a large store
        listing = IncrementalListing(storage)
        swift.clear_requests()
        assert [obj.key for obj in listing.new_since(since)] == sorted(new)
        assert len(swift.requests()) == 2
        assert [obj.key for obj in listing.new_since(since)] == sorted(new)
        assert len(swift.requests()) == 3
        assert list(listing.new_since(since, prefix="1/")) == []
        assert len(swift.requests()) == 3
