"""Servers that list in an order of their own, or otherwise break what a listing rests on: nothing is left out.

On a server in memory that has such habits, since no real one of them runs here (see ``support.storage.odd_s3``).
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.storage.odd_s3 import OddS3, by_folder, by_hash, in_bytes, newest_first, odd_storage
from support.storage.s3 import scripted

from lemmy_safety.errors import ListingIncomplete, StorageError
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.incremental import IncrementalListing
from lemmy_safety.storage.probing import probe
from lemmy_safety.storage.s3 import S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from support.storage.scripted_s3 import Request

pytestmark = pytest.mark.external_service

NOW = datetime.now(UTC).replace(microsecond=0)


def by_length(key: str) -> Any:
    return (len(key), key)


def by_utf16(key: str) -> Any:
    """The order of a server that is written in Java."""
    return key.encode("utf-16-be")


def without_case(key: str) -> Any:
    return key.casefold(), key


ORDERS = [by_hash, by_folder, newest_first, by_length, by_utf16, without_case]


def a_large_store(order: Callable[[str], Any]) -> OddS3:
    """Time-ordered and older keys, some at other depths, and names that sort differently in each order."""
    server = OddS3(order=order)
    rng = random.Random(6)
    for number in range(240):
        server.put(make_key(NOW - timedelta(hours=number), rng.getrandbits(74), ".webp"))
    for number in range(120):
        server.put(f"{number % 5}/{number}/x{number}.jpg")
        server.put(f"01-{number}.jpg")
    for key in ("01", "01.jpg", "a\U0001f600", "a\uffee", "A/b", "a/B", "a/b/c/d", "0/1"):
        server.put(key)
    return server


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pages_in_a_row", [2, 50])
def test_a_server_with_an_order_of_its_own_is_listed_whole(order: Callable[[str], Any], pages_in_a_row: int) -> None:
    """Whether the order breaks on the first page, later, or only where several ranges are listed side by side."""
    server = a_large_store(order)
    with odd_storage(server, page_size=7) as (storage, _):
        storage.pages_in_a_row = pages_in_a_row
        assert {obj.key for obj in storage.list()} == set(server.objects)
        assert {obj.key for obj in storage.list(prefix="01/")} == {key for key in server.objects if key[:3] == "01/"}
        assert {obj.key for obj in storage.list(after="01/")} == {key for key in server.objects if key > "01/"}


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_new_is_found_on_a_server_with_an_order_of_its_own(order: Callable[[str], Any]) -> None:
    """The short cut by key time would leave it out: there, all is listed and the times are compared."""
    server = a_large_store(order)
    new = make_key(NOW, 1, ".png")
    server.put(new, modified_at=NOW)
    with odd_storage(server, page_size=7) as (storage, _):
        storage.whole_listing_up_to = 20
        listing = IncrementalListing(storage)
        for _ in range(2):
            found = [obj.key for obj in listing.new_since(NOW - timedelta(minutes=1))]
            assert found == [new]


def test_it_is_listed_by_one_plain_chain_of_pages_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """No jumps and no ranges once it is known; the admin is told why it takes longer."""
    server = a_large_store(by_hash)
    with odd_storage(server, page_size=50) as (storage, scripted):
        keys = [obj.key for obj in storage.list()]
        assert len(keys) == len(set(keys))
        scripted.seen.clear()
        list(IncrementalListing(storage).new_since(NOW))
        assert len(scripted.seen) == -(-len(server.objects) // 50)
        assert not [path for _, path in scripted.seen if "start-after" in path]
        assert len(storage.learned.notes) == 1
    assert caplog.text.count("order of its own") == 1


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.text(alphabet="01/-.aZé\U0001f600", min_size=1, max_size=6), unique=True, max_size=50),
    order=st.one_of(
        st.sampled_from([in_bytes, *ORDERS]),
        # Any fixed order at all.
        st.integers().map(lambda seed: lambda key: random.Random(f"{seed}{key}").random()),
    ),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 4)),
    habits=st.fixed_dictionaries(
        {
            "ignores_start": st.booleans(),
            "ignores_prefix": st.booleans(),
            "ignores_version": st.booleans(),
            "encodes": st.sampled_from(["asked", "never", "silently"]),
        }
    ),
    prefix=st.sampled_from(["", "0", "01/", "a"]),
)
def test_no_key_is_left_out_whatever_the_order(
    keys: list[str],
    order: Callable[[str], Any],
    lengths: tuple[int, int],
    habits: dict[str, Any],
    prefix: str,
) -> None:
    """Each key is listed, with pages of any length, side by side or not."""
    most_keys, pages_in_a_row = lengths
    server = OddS3(order=order, most_keys=most_keys, **habits)
    for key in keys:
        server.put(key)
    expected = {key for key in keys if key.startswith(prefix)}
    with odd_storage(server, page_size=5) as (storage, _):
        storage.pages_in_a_row = pages_in_a_row
        assert {obj.key for obj in storage.list(prefix=prefix)} == expected


def test_a_server_in_order_costs_no_request_more() -> None:
    """What is checked comes with the pages; only a full last page is asked about."""
    server = OddS3()
    for number in range(33):
        server.put(f"{number:02}")
    with odd_storage(server, page_size=10) as (storage, scripted):
        scripted.seen.clear()
        assert len(list(storage.list())) == 33
        assert len(scripted.seen) == 4
        assert storage.learned.notes == ()


def test_uploads_and_deletions_during_a_listing_are_no_broken_order() -> None:
    """What comes and goes between two ranges must not make a good server look like a bad one."""
    server = OddS3()
    for number in range(300):
        server.put(f"{number // 10:02}/{number:03}")
    with odd_storage(server, page_size=5) as (storage, _):
        storage.pages_in_a_row = 2
        seen = set()
        for count, obj in enumerate(storage.list()):
            seen.add(obj.key)
            if count > 20:
                server.objects.pop(f"{count // 10:02}/{count:03}", None)
                server.put(f"{(count * 7) % 30:02}/new{count}")
        assert storage.learned.notes == ()
        assert {f"{number // 10:02}/{number:03}" for number in range(21)} <= seen


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda xml: xml.replace("<IsTruncated>true", "<IsTruncated>false"), id="says that nothing follows"
        ),
        pytest.param(
            lambda xml: re.sub("<NextContinuationToken>.*</NextContinuationToken>", "", xml).replace(
                "<IsTruncated>true", "<IsTruncated>false"
            ),
            id="ends at the first full page",
        ),
        pytest.param(lambda xml: re.sub("<NextContinuationToken>.*</NextContinuationToken>", "", xml), id="no token"),
    ],
)
def test_a_listing_that_ends_early_is_gone_on_with(change: Callable[[str], str]) -> None:
    """A full page is asked about, whatever it says of itself."""
    server = OddS3(listing=lambda _query, xml: change(xml))
    for number in range(60):
        server.put(f"{number:02}")
    with odd_storage(server, page_size=20) as (storage, _):
        assert len(list(storage.list())) == 60


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda _turn: "same", id="one token"),
        pytest.param(lambda turn: "ab"[turn % 2], id="two tokens in turn"),
        pytest.param(lambda turn: f"new{turn}", id="always a new token"),
    ],
)
@pytest.mark.parametrize("keys", [["b", "a"], ["a", "b"], []])
def test_a_listing_that_goes_round_in_circles_is_an_error(token: Callable[[int], str], keys: list[str]) -> None:
    """It ends, and not as if it were complete."""
    turns = iter(range(100_000))

    def script(request: Request) -> None:
        contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
        more = f"<NextContinuationToken>{token(next(turns))}</NextContinuationToken>"
        page = f"<ListBucketResult><IsTruncated>true</IsTruncated>{more}{contents}</ListBucketResult>"
        request.send(200, page.encode())

    with scripted(script) as (storage, _):
        storage._listing.most_empty_pages = 30
        with pytest.raises(StorageError, match="not how to go on"):
            list(storage.list())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda xml: re.sub("<KeyCount>.*</KeyCount>", "<KeyCount>4</KeyCount>", xml), id="counts more"),
        pytest.param(lambda xml: xml.replace("<Key>b</Key>", ""), id="an entry without a key"),
        pytest.param(lambda xml: xml.replace("<Key>b</Key>", "<Key></Key>"), id="an entry with an empty key"),
        pytest.param(
            lambda xml: (
                xml.replace("</ListBucketResult>", "<CommonPrefixes><Prefix>z/</Prefix></CommonPrefixes>")
                + "</ListBucketResult>"
            ),
            id="a folder instead of its objects",
        ),
    ],
)
def test_what_the_server_hides_makes_the_listing_incomplete(change: Callable[[str], str]) -> None:
    """All that can be listed is, and then it is said that this is not all."""
    server = OddS3(listing=lambda _query, xml: change(xml))
    for key in "abc":
        server.put(key)
    with odd_storage(server) as (storage, _):
        listing = storage.list()
        assert next(listing).key == "a"
        with pytest.raises(ListingIncomplete):
            list(listing)


def test_a_count_that_is_too_small_hides_nothing() -> None:
    """It is the entries that count."""
    server = OddS3(listing=lambda _query, xml: re.sub("<KeyCount>.*</KeyCount>", "<KeyCount>0</KeyCount>", xml))
    server.put("a")
    with odd_storage(server) as (storage, _):
        assert [obj.key for obj in storage.list()] == ["a"]


@pytest.mark.parametrize("key", ["100% sure.jpg", "a%20b.jpg", "é ü.jpg", "a+b%2Bc.jpg", "1/%41.jpg"])
@pytest.mark.parametrize("encodes", ["asked", "never", "silently"])
def test_a_key_is_the_same_however_the_server_writes_it(key: str, encodes: str) -> None:
    """A key that is read wrongly would look gone, and never be judged."""
    server = OddS3(encodes=encodes)
    server.put(key, b"data")
    server.put("plain.jpg")
    with odd_storage(server) as (storage, _):
        assert sorted(obj.key for obj in storage.list()) == sorted([key, "plain.jpg"])
        assert storage.read(key, max_bytes=10) == b"data"


def test_an_object_whose_key_cannot_be_written_makes_the_listing_incomplete() -> None:
    """XML holds no control characters: the key that is listed in its place belongs to no object, which must not pass for gone."""
    server = OddS3(encodes="never")
    for key in ("a/\x01.jpg", "a/\ufffd\ufffd.jpg", "z.jpg"):
        server.put(key)
    found = []
    with odd_storage(server) as (storage, _):
        with pytest.raises(ListingIncomplete):
            found.extend(obj.key for obj in storage.list())
        assert found == ["a/\ufffd\ufffd.jpg", "z.jpg"]
        assert ["control characters" in note for note in storage.learned.notes] == [True]
        del server.objects["a/\x01.jpg"]
        assert [obj.key for obj in storage.list()] == ["a/\ufffd\ufffd.jpg", "z.jpg"]


@pytest.mark.parametrize("key", ["a b.jpg", "é.jpg", "100% sure.jpg"])
def test_doctor_names_a_server_that_encodes_keys_without_saying_so(key: str) -> None:
    """The probe lists, and what it finds out is what doctor repeats."""
    server = OddS3(encodes="silently")
    server.put(key, b"data")
    server.put("plain.jpg")
    with odd_storage(server) as (storage, _):
        steps = {step.name: step.ok for step in probe(storage)}
        assert steps["list"]
        assert any("url-encodes keys in its listings" in note for note in storage.learned.notes)


def test_a_new_storage_knows_nothing_of_another_server() -> None:
    """What was learned is about one server."""
    with odd_storage(a_large_store(by_hash)) as (storage, _):
        list(storage.list())
        assert storage.learned.notes
    assert S3Storage("http://127.0.0.1:1", "b", "k", "s").learned.notes == ()
