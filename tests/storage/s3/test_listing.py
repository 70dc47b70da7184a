"""Listing a large bucket in ranges, side by side: everything once, whatever the keys are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.storage.scripted_s3 import scripted_s3

from lemmy_safety.errors import StorageUnreachable
from lemmy_safety.storage.s3 import S3Storage
from lemmy_safety.storage.s3.answers import Entry, Page
from lemmy_safety.storage.s3.listing import KeyRange, cut, pages_of

if TYPE_CHECKING:
    from support.servers.swift import SwiftServer
    from support.storage.scripted_s3 import Request

KEYS = st.lists(st.text(alphabet="0/aé\U0001f600", min_size=1, max_size=8), unique=True, max_size=60)


def bucket_of(keys: list[str]) -> Any:
    """S3's answers about a bucket with these keys, in pages of three; what it was asked is counted."""
    ordered = sorted(keys)
    asked: list[dict[str, Any]] = []

    def ask(*, Prefix: str = "", Delimiter: str = "", after: str = "") -> Any:  # noqa: N803 - S3's own names
        asked.append({"Prefix": Prefix, "Delimiter": Delimiter, "after": after})
        under = [key for key in ordered if key.startswith(Prefix) and key > after]
        if Delimiter:
            rests = [key[len(Prefix) :] for key in under]
            folders = {Prefix + rest.partition("/")[0] + "/" for rest in rests if "/" in rest}
            return Page(folders=tuple(sorted(folders)))
        return Page(entries=tuple(Entry(key, 1, None, None) for key in under[:3]), more=len(under) > 3)

    return ask, asked


@given(keys=KEYS, after=st.text(alphabet="0/aé", max_size=3), prefix=st.sampled_from(["", "0", "0/", "a/0/"]))
def test_ranges_hold_every_key_once(keys: list[str], after: str, prefix: str) -> None:
    """However folders lie, each key behind the starting point is in exactly one range, and the ranges join up."""
    ask, asked = bucket_of(keys)
    ranges = cut(ask, prefix, after)
    assert (ranges[0].after, ranges[-1].last) == (after, None)
    assert all(left.last == right.after for left, right in pairwise(ranges))
    for key in keys:
        if key > after:
            assert sum((r.after or "") < key and (r.last is None or key <= r.last) for r in ranges) == 1
    assert len(asked) <= 40
    assert len(ranges) <= 33


@given(keys=KEYS, connections=st.integers(1, 9))
def test_pages_of_all_ranges_are_all_keys(keys: list[str], connections: int) -> None:
    """Followed side by side, the ranges give what one listing from end to end gives."""
    ask, _ = bucket_of(keys)

    def next_page(key_range: KeyRange, before: Any) -> Any:
        if before is None:
            return ask(after=key_range.after or "")
        if not before.more or before.last_key > (key_range.last or "\U0010ffff"):
            return None
        return ask(after=before.last_key)

    found = []
    for key_range, page in pages_of(cut(ask, "", ""), next_page, connections=connections):
        found += [e.key for e in page.entries if key_range.last is None or e.key <= key_range.last]
    assert sorted(found) == sorted(keys)


def test_the_first_error_ends_the_listing() -> None:
    """A range that cannot be listed is not left out: anyone who lists is told."""

    def next_page(key_range: KeyRange, _before: Any) -> Any:
        if key_range.after == "b":
            raise StorageUnreachable("gone")
        return Page(more=True)

    endless = pages_of([KeyRange("a", "b"), KeyRange("b", None)], next_page, connections=2)
    with pytest.raises(StorageUnreachable, match="gone"):
        list(endless)


@pytest.mark.external_service
def test_a_large_bucket_is_listed_whole_by_several_connections(swift: SwiftServer, bucket: str) -> None:
    """Time-ordered and older keys, each once, with what is listed in a row being only the beginning."""
    keys = [f"01/9{n % 10}/a{n % 7}/{n:04}.webp" for n in range(90)] + [f"{n % 5}/{n}/é {n}.jpg" for n in range(40)]
    client = swift.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b"x"), keys))
    with large_bucket(endpoint=swift.endpoint, bucket=bucket) as storage:
        storage.pages_in_a_row = 2
        swift.clear_requests()
        assert sorted(obj.key for obj in storage.list()) == sorted(keys)
        requests = len(swift.requests())
        assert sorted(obj.key for obj in storage.list(prefix="01/")) == sorted(keys[:90])
        half = storage.list()
        assert next(half).key in keys
        half.close()
    assert 130 / 5 < requests <= 130 / 5 + 2 * 33 + 40


def large_bucket(*, endpoint: str, bucket: str) -> S3Storage:
    return S3Storage(
        endpoint=endpoint,
        bucket=bucket,
        access_key="test:tester",
        secret_key="testing",
        region="us-east-1",
        page_size=5,
    )


def test_a_bucket_that_goes_down_in_the_middle_is_said_to_be_down() -> None:
    """One range answers, another is refused: the pass must not take what it has for all there is."""

    def script(request: Request) -> None:
        if "delimiter" in request.path:
            request.send(200, _listing([], folders=["a/", "b/", "c/"]))
        elif "start-after=b" in request.path:
            request.refuse(503, "SlowDown")
        elif "start-after=a" in request.path:
            request.send(200, _listing([] if "start-after=a%2F3" in request.path else ["a/3"]))
        else:
            request.send(200, _listing(["a/1", "a/2"], token="t"))

    with scripted_s3(script) as server, large_bucket(endpoint=server.endpoint, bucket="pictrs") as storage:
        storage.pages_in_a_row = 1
        with pytest.raises(StorageUnreachable):
            list(storage.list())


def _listing(keys: list[str], *, folders: list[str] | None = None, token: str = "") -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-20T10:00:00Z</LastModified></Contents>"
        for key in keys
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders or [])
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        f'<?xml version="1.0"?><ListBucketResult><IsTruncated>{str(bool(token)).lower()}</IsTruncated>'
        f"{following}{contents}{prefixes}</ListBucketResult>"
    ).encode()
