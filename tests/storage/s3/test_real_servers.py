"""What our S3 code rests on, asked of two real servers, and where they differ. docs/storage.md has the differences."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from support.storage.backends import WITH_CONTROL_SIGNS
from support.storage.s3 import storage_on

from lemmy_safety.errors import BadKey, ListingIncomplete, ObjectChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers.s3 import S3Server
    from support.servers.swift import SwiftServer
    from support.servers.versitygw import Versitygw

pytestmark = pytest.mark.external_service

#: In S3's order. A walk through folders would give another one: "k/b" comes before "k/b-", and what is in it after that.
KEYS = sorted(
    f"k/{name}" for name in ("a.jpg", "b-", "b.jpg", "b/c/1", "b/c/2", "b/c-0", "b0", "é", "\uffee", "\U0001f600")
)
STARTS = ["", *KEYS, "k/ay", "k/b.", "k/b/", "k/b/c", "k/b/c/", "k/b/c/1x", "k/b/d", "k/bz/z", "l"]


def answered(ask: Callable[[], Any]) -> int:
    """The status of an answer, a refusal's too."""
    try:
        return ask()["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


class Asked:
    """One bucket, asked without our code."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        self.client = server.client()
        self.bucket = bucket

    def put(self, key: str, data: bytes = b"x", **conditions: str) -> int:
        return answered(lambda: self.client.put_object(Bucket=self.bucket, Key=key, Body=data, **conditions))

    def delete(self, key: str, **conditions: str) -> int:
        return answered(lambda: self.client.delete_object(Bucket=self.bucket, Key=key, **conditions))

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def status(self, key: str) -> int:
        return answered(lambda: self.client.head_object(Bucket=self.bucket, Key=key))

    def page(self, **request: str | int) -> dict[str, Any]:
        return self.client.list_objects_v2(Bucket=self.bucket, **request)

    def keys(self, **request: str | int) -> list[str]:
        """All keys, page after page."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, **request)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


@pytest.fixture
def asked(s3_server: S3Server, s3_bucket: str) -> Asked:
    return Asked(s3_server, s3_bucket)


def test_keys_are_listed_in_byte_order_from_any_key_on(asked: Asked) -> None:
    """Also behind a key that does not exist, or that is a folder's; and pages join up."""
    for key in KEYS:
        asked.put(key)
    for start in STARTS:
        expected = [key for key in KEYS if key > start]
        assert asked.keys(Prefix="k/", StartAfter=start, MaxKeys=3) == expected, start


def test_a_token_leads_on_when_its_key_is_deleted(asked: Asked) -> None:
    """pict-rs and our own actions delete while a listing runs."""
    for key in KEYS:
        asked.put(key)
    page = asked.page(MaxKeys=4)
    assert asked.delete(page["Contents"][-1]["Key"]) == 204
    rest = asked.page(ContinuationToken=page["NextContinuationToken"])
    assert [item["Key"] for item in rest["Contents"]] == KEYS[4:]


def test_folders_are_told_where_a_listing_is_to_be_cut(asked: Asked) -> None:
    """One level at a time, and no key of theirs."""
    for key in KEYS:
        asked.put(key)
    page = asked.page(Prefix="k/", Delimiter="/")
    assert [folder["Prefix"] for folder in page["CommonPrefixes"]] == ["k/b/"]
    assert [item["Key"] for item in page["Contents"]] == [key for key in KEYS if not key.startswith("k/b/")]


def test_a_large_bucket_is_listed_whole_in_ranges(versitygw: Versitygw) -> None:
    """Each key once, where folders are real ones; ``test_listing`` has the same of Swift."""
    asked = Asked(versitygw, versitygw.new_bucket())
    keys = [
        *KEYS,
        *(f"01/9{n % 10}/a{n % 7}/{n:04}.webp" for n in range(60)),
        *(f"{n % 5}/{n}/é {n}" for n in range(20)),
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(asked.put, keys))
    with storage_on(versitygw, asked.bucket, page_size=5) as storage:
        storage.pages_in_a_row = 2
        assert sorted(obj.key for obj in storage.list()) == sorted(keys)
        assert storage.learned.notes == ()


def test_a_conditional_deletion_leaves_other_content(asked: Asked) -> None:
    """Both keep the condition. Ceph's gateway does not, so our code compares by itself before it deletes."""
    asked.put("a")
    tag = asked.page()["Contents"][0]["ETag"]
    assert asked.delete("a", IfMatch='"0123"') == 412
    assert asked.status("a") == 200
    assert asked.delete("a", IfMatch=tag) == 204
    assert asked.status("a") == 404
    assert asked.delete("a", IfMatch=tag) == 204


def test_a_write_may_be_refused_where_something_is(asked: Asked) -> None:
    """``If-None-Match: *`` keeps what is there."""
    assert asked.put("a", b"first", IfNoneMatch="*") == 200
    assert asked.put("a", b"second", IfNoneMatch="*") == 412
    assert asked.read("a") == b"first"


def test_of_writes_at_the_same_time_one_is_done_on_versitygw(versitygw: Versitygw) -> None:
    """Swift looks before it writes and lets several through: there ``If-None-Match: *`` is no lock, and the last one stays."""
    asked = Asked(versitygw, versitygw.new_bucket())
    with ThreadPoolExecutor(8) as pool:
        for number in range(4):
            done = pool.map(lambda _, key=f"{number}": asked.put(key, IfNoneMatch="*"), range(8))
            assert sorted(done) == [200, *[412] * 7]


def test_a_copy_is_refused_where_something_is_on_swift_only(swift: SwiftServer, versitygw: Versitygw) -> None:
    """versitygw takes no notice of the condition and overwrites: a move must look by itself first."""
    left = {}
    for server in (swift, versitygw):
        asked = Asked(server, server.new_bucket())
        asked.put("from", b"from")
        asked.put("to", b"to")
        source = {"Bucket": asked.bucket, "Key": "from"}
        answered(
            lambda a=asked, s=source: a.client.copy_object(Bucket=a.bucket, Key="to", CopySource=s, IfNoneMatch="*")
        )
        left[server] = asked.read("to")
    assert left == {swift: b"to", versitygw: b"from"}


def test_keys_that_are_no_paths_are_seen_and_not_touched(swift: SwiftServer) -> None:
    """S3 can hold 'a//b'; it is listed, so that it is known, but not read. A console's 'folder' is no object."""
    asked = Asked(swift, swift.new_bucket())
    for key in ("a//b.jpg", "./c.jpg", "folder/"):
        assert asked.put(key, b"" if key == "folder/" else b"x") == 200
    with storage_on(swift, asked.bucket) as storage:
        assert [obj.key for obj in storage.list()] == ["./c.jpg", "a//b.jpg"]
        with pytest.raises(BadKey):
            storage.read("a//b.jpg", max_bytes=10)


def test_keys_are_paths_on_versitygw(versitygw: Versitygw) -> None:
    """It stores 'a//b' as 'a/b', where it is read as such, and has no object below an object."""
    asked = Asked(versitygw, versitygw.new_bucket())
    for key in ("a//b.jpg", "./c.jpg", "d/../e.jpg", "folder/"):
        assert asked.put(key, b"" if key == "folder/" else b"x") == 200
    with storage_on(versitygw, asked.bucket) as storage:
        assert [obj.key for obj in storage.list()] == ["a/b.jpg", "c.jpg", "e.jpg"]
        assert storage.read("a/b.jpg", max_bytes=10) == b"x"
        assert storage.delete("a/b.jpg") is True
        assert [obj.key for obj in storage.list()] == ["c.jpg", "e.jpg"]
    assert asked.put("c.jpg/below") == 409
    assert asked.put("folder") == 409


def test_a_file_put_into_the_folder_of_versitygw_is_an_object(versitygw: Versitygw) -> None:
    """It has no entity tag: size, time and SHA-256 decide whether it is what was judged."""
    bucket = versitygw.new_bucket()
    file = versitygw.files / bucket / "01" / "by hand.jpg"
    file.parent.mkdir()
    file.write_bytes(b"judged")
    with storage_on(versitygw, bucket) as storage:
        (listed,) = storage.list()
        assert (listed.key, listed.size, listed.etag) == ("01/by hand.jpg", 6, None)
        digest = hashlib.sha256(storage.read(listed.key, max_bytes=10, expected=listed)).hexdigest()
        later = listed.modified_at.timestamp() + 60
        file.write_bytes(b"later!")
        os.utime(file, (later, later))
        with pytest.raises(ObjectChanged):
            storage.delete(listed.key, expected=listed, sha256=digest)
        file.write_bytes(b"judged")
        os.utime(file, (later, later))
        assert storage.delete(listed.key, expected=listed, sha256=digest) is True
    assert not file.exists()


def test_a_file_name_that_is_not_utf8_is_not_passed_over_in_silence(versitygw: Versitygw) -> None:
    """S3 keys are UTF-8: the listing of versitygw can only hint at such a file."""
    bucket = versitygw.new_bucket()
    (versitygw.files / bucket / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    with storage_on(versitygw, bucket) as storage:
        with pytest.raises(ListingIncomplete):
            list(storage.list())
        assert ["not UTF-8" in note for note in storage.learned.notes] == [True]


def test_an_object_that_versitygw_cannot_list_is_not_passed_over_in_silence(versitygw: Versitygw) -> None:
    """It does not url-encode keys, and XML holds no control characters: the listing gives the rest, and says so."""
    asked = Asked(versitygw, versitygw.new_bucket())
    for key in ("a.jpg", WITH_CONTROL_SIGNS, "z.jpg"):
        asked.put(key)
    found = []
    with storage_on(versitygw, asked.bucket) as storage:
        with pytest.raises(ListingIncomplete):
            found.extend(obj.key for obj in storage.list())
        assert found == ["a.jpg", "z.jpg"]
        assert storage.read(WITH_CONTROL_SIGNS, max_bytes=10) == b"x"
        assert storage.delete(WITH_CONTROL_SIGNS) is True
        assert [obj.key for obj in storage.list()] == ["a.jpg", "z.jpg"]
