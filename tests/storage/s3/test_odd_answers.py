"""Fields that a server leaves out or fills with nonsense cost one object at most, and never end the program.

On a server in memory that sends them, since no real one of them runs here (see ``support.storage.odd_s3``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.storage.odd_s3 import LONG_AGO, OddS3, odd_storage
from support.storage.s3 import scripted

from lemmy_safety.errors import ListingIncomplete, ObjectGone, StorageError
from lemmy_safety.records import UNKNOWN_TIME, StoredObject
from lemmy_safety.storage.incremental import IncrementalListing

if TYPE_CHECKING:
    from support.storage.scripted_s3 import Request

pytestmark = pytest.mark.external_service

NOW = datetime.now(UTC).replace(microsecond=0)

ABSURD_SIZES = ["", "-1", "abc", "1e9", "9" * 40, "0x10", str(2**63), "1.5"]
ABSURD_TIMES = ["", "yesterday", "99999-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "-1", "9" * 30, "2026-13-45"]


def a_store(**habits) -> OddS3:
    server = OddS3(**habits)
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        server.put(key, b"data of " + key.encode())
    return server


def changed(name: str, text: str | None):
    """Listings in which one field of b.jpg has this text, or is missing."""

    def entry(key: str, fields: dict[str, str]) -> dict[str, str]:
        if key != "b.jpg":
            return fields
        return {other: was for other, was in (fields | {name: text}).items() if was is not None}

    return entry


@pytest.mark.parametrize("size", [None, *ABSURD_SIZES])
def test_a_size_that_is_none_is_asked_for(size: str | None) -> None:
    """The listing does not say how large it is, HEAD does: it is read like any other."""
    server = a_store(entry=changed("Size", size))
    with odd_storage(server) as (storage, _):
        assert {obj.key: obj.size for obj in storage.list()} == {key: len(data) for key, data in server.objects.items()}


@pytest.mark.parametrize("time", [None, *ABSURD_TIMES])
def test_a_time_that_is_none_is_unknown_and_passes_for_new(time: str | None) -> None:
    """An object of unknown time is looked at whatever time is asked for: it may be new."""
    with odd_storage(a_store(entry=changed("LastModified", time))) as (storage, _):
        assert {obj.key: obj.modified_at for obj in storage.list()} == {
            "a.jpg": LONG_AGO,
            "b.jpg": UNKNOWN_TIME,
            "c.jpg": LONG_AGO,
        }
        assert [obj.key for obj in storage.list(since=NOW)] == ["b.jpg"]
        assert [obj.key for obj in IncrementalListing(storage).new_since(NOW)] == ["b.jpg"]


@pytest.mark.parametrize("time", ["1970-01-01T00:00:00.000Z", "0001-01-01T00:00:00Z", "1601-01-01T00:00:00Z"])
def test_a_time_before_there_were_stores_is_unknown(time: str) -> None:
    """Servers without times send the beginning of their calendar."""
    with odd_storage(a_store(entry=changed("LastModified", time))) as (storage, _):
        assert [obj.key for obj in storage.list(since=NOW)] == ["b.jpg"]


@pytest.mark.parametrize("tag", [None, "", "&quot;&quot;", "W/&quot;&quot;"])
def test_a_tag_that_is_empty_is_none(tag: str | None) -> None:
    """Two objects without a tag have not the same one."""
    with odd_storage(a_store(entry=changed("ETag", tag))) as (storage, _):
        assert [obj.etag is None for obj in storage.list()] == [False, True, False]


def test_a_listing_whose_objects_cannot_be_described_is_incomplete() -> None:
    """All others are listed first."""

    def headers(method: str, key: str, headers: dict[str, str]) -> dict[str, str]:
        return headers | ({"Content-Length": "much"} if (method, key) == ("HEAD", "b.jpg") else {})

    with odd_storage(a_store(entry=changed("Size", None), headers=headers)) as (storage, _):
        listed = []
        with pytest.raises(ListingIncomplete, match=r"b\.jpg"):
            listed.extend(obj.key for obj in storage.list())
        listed.extend(obj.key for obj in storage.list(after="b.jpg"))
        assert listed[-1] == "c.jpg"


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(
        st.sampled_from(["Key", "Size", "LastModified", "ETag", "StorageClass", "Owner", "Odd"]),
        st.one_of(
            st.none(),
            st.sampled_from([*ABSURD_SIZES, *ABSURD_TIMES]),
            st.text(
                st.characters(codec="ascii", categories=("L", "N", "P")).filter(lambda c: c not in "<&"), max_size=9
            ),
        ),
    )
)
def test_whatever_an_entry_holds_the_others_are_listed(fields: dict[str, str | None]) -> None:
    """Only errors of our own come out, and the other two objects."""

    def entry(key: str, given_fields: dict[str, str]) -> dict[str, str]:
        if key != "b.jpg":
            return given_fields
        return {name: text for name, text in (given_fields | fields).items() if text is not None}

    listed: list[StoredObject] = []
    with odd_storage(a_store(entry=entry)) as (storage, _):
        try:
            for obj in storage.list(after="0"):
                listed.append(obj)  # noqa: PERF402 - what came before an error counts
        except ListingIncomplete:
            pass
    assert {"a.jpg", "c.jpg"} <= {obj.key for obj in listed}
    assert all(obj.size >= 0 and obj.modified_at.tzinfo is UTC for obj in listed)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Last-Modified": None}, id="no time"),
        pytest.param({"Last-Modified": "yesterday"}, id="a time that is none"),
        pytest.param({"Last-Modified": "Mon, 01 Jan 99999 00:00:00 GMT"}, id="a time beyond all"),
        pytest.param({"Last-Modified": None, "ETag": None}, id="neither time nor tag"),
        pytest.param({"x-amz-missing-meta": "many"}, id="another field that is no number"),
        pytest.param({"Expires": "0", "x-amz-tagging-count": ""}, id="fields nobody asked for"),
    ],
)
def test_what_head_leaves_out_the_listing_says(headers: dict[str, str | None]) -> None:
    """A server without Last-Modified on HEAD describes an object like any other; it can be read, and deleted as judged."""

    def answered(_method: str, _key: str, sent: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in (sent | headers).items() if text is not None}

    with odd_storage(a_store(headers=answered)) as (storage, _):
        listed = {obj.key: obj for obj in storage.list()}["b.jpg"]
        assert storage.stat("b.jpg") == listed
        assert storage.read("b.jpg", max_bytes=100) == b"data of b.jpg"
        assert storage.delete("b.jpg", expected=listed) is True
        with pytest.raises(ObjectGone):
            storage.stat("b.jpg")


@pytest.mark.parametrize(
    "page",
    [b"<html><body>Please sign in</body></html>", b"", b"\xff\xfe\x00", b"{}", b"<a>" * 3000, b"<?xml version='1.0'?>"],
    ids=["a web page", "nothing", "bytes", "JSON", "deep XML", "half an XML"],
)
def test_a_page_in_the_place_of_an_answer_is_a_storage_error(page: bytes) -> None:
    """Whatever is asked: never an exception of another kind, never an object that is not one."""

    def script(request: Request) -> None:
        request.send(200, page, {"Content-Type": "text/html"})

    with scripted(script) as (storage, _):
        for ask in (
            lambda: list(storage.list()),
            lambda: list(IncrementalListing(storage).new_since(NOW - timedelta(days=1))),
            lambda: storage.stat("x.jpg"),
            lambda: storage.delete(
                "x.jpg", expected=StoredObject(key="x.jpg", size=len(page), modified_at=NOW, etag="e")
            ),
            lambda: storage.move("x.jpg", "y.jpg"),
        ):
            with pytest.raises(StorageError):
                ask()
