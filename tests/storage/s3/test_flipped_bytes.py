"""Bytes that are damaged on the way are not taken for the object, and tags that are no MD5 keep no object unjudged.

On a server in memory that damages what it sends, which no real one can be made to do (see ``support.storage.odd_s3``).
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.storage.odd_s3 import LONG_AGO, OddS3, odd_storage

from lemmy_safety.errors import ObjectChanged, StorageUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.external_service

DATA = bytes(range(256)) * 40


class Damaging:
    """Sends what a test says in the first transfers of each object, then the object."""

    def __init__(self, *first: Callable[[bytes], bytes]) -> None:
        self._first = first
        self.sent: dict[str, int] = {}

    def __call__(self, key: str, data: bytes) -> bytes:
        number = self.sent[key] = self.sent.get(key, 0) + 1
        return self._first[number - 1](data) if number <= len(self._first) else data


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def cut_short(data: bytes) -> bytes:
    return data[:-1]


def a_web_page(_data: bytes) -> bytes:
    return b"<html>Please sign in</html>"


def tagged(make: Callable[[str], str]) -> Callable[[str, dict[str, str]], dict[str, str]]:
    """Listings with other tags than the MD5 of the bytes."""
    return lambda _key, fields: fields | {"ETag": make(fields["ETag"].replace("&quot;", ""))}


def same_on_head(make: Callable[[str], str]) -> Callable[[str, str, dict[str, str]], dict[str, str]]:
    return lambda _method, _key, headers: headers | {"ETag": '"' + make(headers["ETag"].strip('"')) + '"'}


def of_something_else(tag: str) -> str:
    return hashlib.md5(tag.encode(), usedforsecurity=False).hexdigest()


def in_parts(tag: str) -> str:
    return f"{of_something_else(tag)}-2"


def store(body: Callable[[str, bytes], bytes], **habits) -> OddS3:
    server = OddS3(body=body, **habits)
    for number in range(6):
        server.put(f"{number}.jpg", DATA + bytes([number]))
    return server


@pytest.mark.parametrize("damage", [flipped, cut_short, a_web_page, lambda _: b"", lambda data: data[::-1]])
def test_what_is_damaged_on_the_way_is_read_again(damage: Callable[[bytes], bytes]) -> None:
    """By its tag or its size it is not the object; the second transfer is."""
    body = Damaging(damage)
    server = store(body)
    with odd_storage(server) as (storage, _):
        for obj in list(storage.list()):
            assert storage.read(obj.key, max_bytes=obj.size, expected=obj) == server.objects[obj.key]
        assert set(body.sent.values()) == {2}
        assert storage.learned.notes == ()


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(DATA)), bit=st.integers(0, 7))
def test_no_single_flipped_bit_is_believed(position: int, bit: int) -> None:
    """Wherever it is."""

    def damage(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]

    server = store(Damaging(damage))
    with odd_storage(server) as (storage, _):
        obj = next(storage.list())
        assert storage.read(obj.key, max_bytes=obj.size, expected=obj) == server.objects[obj.key]


def test_bytes_that_differ_each_time_are_an_outage() -> None:
    """A bad line is passing: the object is tried again, and is not judged by any of them."""
    body = Damaging(*(lambda data, at=at: data[:at] + b"\xff\xfe" + data[at + 2 :] for at in (1, 2, 3)))
    with odd_storage(store(body)) as (storage, _):
        obj = next(storage.list())
        with pytest.raises(StorageUnreachable, match="differently each time"):
            storage.read(obj.key, max_bytes=obj.size, expected=obj)


def test_tags_that_are_no_md5_are_learned_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """An encrypted bucket: the same bytes come twice and are given; after a few objects each is read once again."""
    body = Damaging()
    habits = {"entry": tagged(of_something_else), "headers": same_on_head(of_something_else)}
    server = store(body, **habits)
    with odd_storage(server) as (storage, _):
        for obj in list(storage.list()):
            assert storage.read(obj.key, max_bytes=obj.size, expected=obj) == server.objects[obj.key]
        assert sorted(body.sent.values()) == [1, 1, 1, 2, 2, 2]
        assert len(storage.learned.notes) == 1
    assert caplog.text.count("not the MD5 of the bytes") == 1


def test_a_tag_that_is_another_one_each_time_keeps_no_object_unread() -> None:
    """Size, time and bytes agree."""
    tags = itertools.count()
    server = store(Damaging(), entry=lambda _key, fields: fields | {"ETag": f"{next(tags):032x}"})
    server.headers = lambda _method, _key, headers: headers | {"ETag": f'"{next(tags):032x}"'}
    with odd_storage(server) as (storage, _):
        for obj in list(storage.list()):
            assert storage.read(obj.key, max_bytes=obj.size, expected=obj) == server.objects[obj.key]


def test_one_odd_object_does_not_end_the_comparison() -> None:
    """Damaged in the store itself: it is judged as it is, and the others are still compared."""

    def body(key: str, data: bytes) -> bytes:
        if key == "1.jpg":
            return flipped(data)
        return others(key, data)

    others = Damaging(flipped)
    server = store(body)
    with odd_storage(server) as (storage, _):
        read = {obj.key: storage.read(obj.key, max_bytes=obj.size, expected=obj) for obj in list(storage.list())}
        assert read == server.objects | {"1.jpg": flipped(server.objects["1.jpg"])}
        assert [note for note in storage.learned.notes if "'1.jpg'" in note] == list(storage.learned.notes)
        assert len(storage.learned.notes) == 1


@pytest.mark.parametrize("make", [in_parts, lambda _: "", lambda _: "opaque", lambda tag: tag.upper()])
def test_a_tag_of_another_form_is_not_compared(make: Callable[[str], str]) -> None:
    """Objects that were stored in parts, and servers with tags of their own; digits in capitals are an MD5 as well."""
    body = Damaging()
    with odd_storage(store(body, entry=tagged(make), headers=same_on_head(make))) as (storage, _):
        for obj in list(storage.list()):
            storage.read(obj.key, max_bytes=obj.size, expected=obj)
        assert set(body.sent.values()) == {1}


def test_an_object_that_was_replaced_meanwhile_is_said_to_have_changed() -> None:
    """It is not a tag that says nothing: the server describes it otherwise by now."""
    server = store(Damaging())
    with odd_storage(server) as (storage, _):
        listed = list(storage.list())
        server.put("0.jpg", bytes(len(server.objects["0.jpg"])), modified_at=LONG_AGO + timedelta(seconds=1))
        server.put("1.jpg", b"shorter")
        for obj in listed[:2]:
            with pytest.raises(ObjectChanged):
                storage.read(obj.key, max_bytes=obj.size, expected=obj)
        assert storage.learned.notes == ()


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_what_is_packed_on_the_way_is_unpacked(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Also where that makes it larger; what is stored packed stays so, and nothing unpacks to more than is allowed."""
    server = store(lambda _key, data: pack(data))
    noise = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200))
    server.put("noise.jpg", noise)
    server.headers = lambda _method, _key, headers: headers | {"Content-Encoding": encoding}
    with odd_storage(server) as (storage, _):
        for obj in list(storage.list()):
            assert storage.read(obj.key, max_bytes=obj.size, expected=obj) == server.objects[obj.key]
        stored = pack(DATA)
        server.body = lambda _key, data: data
        server.put("packed.svgz", stored)
        packed = storage.stat("packed.svgz")
        assert storage.read("packed.svgz", max_bytes=packed.size, expected=packed) == stored
        server.body = lambda _key, _data: pack(bytes(10_000_000))
        obj = storage.stat("0.jpg")
        with pytest.raises(ObjectChanged):
            storage.read("0.jpg", max_bytes=20_000_000, expected=obj)
