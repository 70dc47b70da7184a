"""Bodies that break off, have no length or are too large; deleting and moving, which transfer nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.storage.s3 import WHEN, scripted, storage_on
from support.storage.scripted_s3 import EMPTY_LISTING, Request

from lemmy_safety.errors import (
    ObjectTooLarge,
    StorageError,
    StorageUnreachable,
)

if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.servers.swift import SwiftServer

pytestmark = pytest.mark.external_service


def test_a_broken_transfer_is_repeated() -> None:
    """A body that ends early is asked for again, and only the whole object is given."""

    def script(request: Request) -> None:
        if len(seen) < 3:
            request.send_part(b"half", promised=8)
        else:
            request.send(200, b"whole!!!")

    with scripted(script) as (storage, seen):
        assert storage.read("x.jpg", max_bytes=100) == b"whole!!!"
        assert len(seen) == 3


def test_a_transfer_that_stays_broken_is_passing() -> None:
    """After three bodies that ended early it is StorageUnreachable, never half an object."""
    with scripted(lambda request: request.send_part(b"half", promised=8)) as (storage, seen):
        with pytest.raises(StorageUnreachable, match=r"x\.jpg"):
            storage.read("x.jpg", max_bytes=100)
        assert len(seen) == 3


def test_a_body_without_a_length_is_limited_too() -> None:
    """A server that does not say how much comes cannot fill the memory."""

    def script(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for _ in range(5):
            request.wfile.write(b"a\r\n0123456789\r\n")
        request.wfile.write(b"0\r\n\r\n")

    with scripted(script) as (storage, _):
        assert storage.read("x.jpg", max_bytes=50) == b"0123456789" * 5
        with pytest.raises(ObjectTooLarge):
            storage.read("x.jpg", max_bytes=49)


def test_refused_bodies_do_not_use_up_the_connections(s3_server: S3Server, s3_bucket: str) -> None:
    """With one connection, objects that are too large can be refused again and again."""
    with storage_on(s3_server, s3_bucket, connections=1) as storage:
        storage.write_new("large", b"x" * 100_000)
        for _ in range(5):
            with pytest.raises(ObjectTooLarge):
                storage.read("large", max_bytes=10)
        assert len(storage.read("large", max_bytes=100_000)) == 100_000


def test_deleting_reads_no_object(swift: SwiftServer, bucket: str) -> None:
    """What is deleted as judged is described and removed; no byte of it travels."""
    with storage_on(swift, bucket) as storage:
        storage.write_new("a.jpg", b"x")
        judged = storage.stat("a.jpg")
        swift.clear_requests()
        assert storage.delete("a.jpg", expected=judged) is True
        assert {method for method, _ in swift.requests()} == {"HEAD", "DELETE"}


def test_a_move_that_was_cut_short_is_finished(s3_server: S3Server, s3_bucket: str) -> None:
    """Copied but not yet removed: both are the same content, so moving again removes the first."""
    with storage_on(s3_server, s3_bucket) as storage:
        storage.write_new("a.jpg", b"same")
        storage.write_new("q/a.jpg", b"same")
        storage.move("a.jpg", "q/a.jpg")
        assert [obj.key for obj in storage.list()] == ["q/a.jpg"]


def test_a_copy_that_is_not_whole_keeps_the_object() -> None:
    """The object is removed only when the copy has its size."""
    lengths = {"x.jpg": "5", "q/x.jpg": "4"}
    copied = []

    def script(request: Request) -> None:
        key = request.path.partition("/pictrs/")[2]
        if request.command == "PUT":
            copied.append(key)
            request.send(200, b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
        elif request.command == "HEAD" and (key == "x.jpg" or copied):
            request.send(200, headers={"Content-Length": lengths[key], "ETag": '"e"', **WHEN})
        elif request.command == "HEAD":
            request.send(404)
        else:
            request.send(200, EMPTY_LISTING)

    with scripted(script) as (storage, seen):
        with pytest.raises(StorageError, match="not a whole copy"):
            storage.move("x.jpg", "q/x.jpg")
        assert not [method for method, _ in seen if method == "DELETE"]
