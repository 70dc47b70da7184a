"""New objects: what servers say of a key that is taken, of a header that they do not know, and of a full disk."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support.storage.s3 import WHEN, scripted, storage_on
from support.storage.scripted_s3 import EMPTY_LISTING

from lemmy_safety.errors import ObjectChanged, StorageFull, StorageUnreachable
from lemmy_safety.storage.s3.writing import put_new

if TYPE_CHECKING:
    from support.servers.swift import SwiftServer
    from support.storage.scripted_s3 import Request

pytestmark = pytest.mark.external_service

DATA = bytes(range(256)) * 20


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>words</Message></Error>".encode()


class OneObject:
    """A server of one key, which answers a PUT as ``put`` has it; ``puts`` are the If-None-Match headers it was sent."""

    def __init__(self, put, content: bytes | None = None) -> None:
        self._put = put
        self.content = content
        self.puts: list[str | None] = []

    def __call__(self, request: Request) -> None:
        if request.command == "PUT":
            body = request.rfile.read(int(request.headers["Content-Length"]))
            self.puts.append(request.headers["If-None-Match"])
            self._put(self, request, body)
        elif "list-type" in request.path:
            request.send(200, EMPTY_LISTING)
        elif self.content is None:
            request.send(404)
        else:
            request.send(
                200, b"" if request.command == "HEAD" else self.content, {"ETag": '"e"', **WHEN, **self._length()}
            )

    def _length(self) -> dict[str, str]:
        return {"Content-Length": str(len(self.content))}

    def keep(self, request: Request, body: bytes) -> None:
        self.content = body
        request.send(200, b"", {"ETag": '"e"'})


def test_the_server_itself_refuses_a_key_that_is_taken(swift: SwiftServer, bucket: str) -> None:
    """Also when the question right before found it free."""
    with storage_on(swift, bucket) as storage:
        swift.client().put_object(Bucket=bucket, Key="a.enc", Body=b"first")
        with pytest.raises(ObjectChanged):
            put_new(storage._requests, "a.enc", b"second", storage.learned)
        assert storage.read("a.enc", max_bytes=10) == b"first"
        assert storage.learned.notes == ()


@pytest.mark.parametrize("answer", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_does_not_know_the_condition_is_asked_without_it(answer: tuple[int, str]) -> None:
    """The admin is told what that costs."""

    def put(server: OneObject, request: Request, body: bytes) -> None:
        if request.headers["If-None-Match"]:
            request.send(answer[0], error(answer[1]))
        else:
            server.keep(request, body)

    server = OneObject(put)
    with scripted(server) as (storage, _):
        assert storage.write_new("a.enc", DATA) is True
        assert server.puts == ["*", None]
        assert server.content == DATA
        (note,) = storage.learned.notes
        assert "knows no If-None-Match" in note


def test_a_server_that_ignores_the_condition_overwrites_nothing() -> None:
    """It is asked before whether the key is free, and then sent nothing."""
    server = OneObject(OneObject.keep, content=b"first")
    with scripted(server) as (storage, _), pytest.raises(ObjectChanged, match="already exists"):
        storage.write_new("a.enc", DATA)
    assert server.puts == []
    assert server.content == b"first"


def test_a_write_whose_answer_was_lost_is_done() -> None:
    """Sent again it is refused, because the key is taken: by the same bytes."""

    def put(server: OneObject, request: Request, body: bytes) -> None:
        if server.content is None:
            server.content = body
            request.send(500, error("InternalError"))
        else:
            request.send(412, error("PreconditionFailed"))

    server = OneObject(put)
    with scripted(server, attempts=2) as (storage, _):
        assert storage.write_new("a.enc", DATA) is False
    assert server.puts == ["*", "*"]


def test_another_writer_in_the_same_moment_wins_and_is_not_overwritten() -> None:
    """The key was free when it was asked for."""

    def put(server: OneObject, request: Request, _: bytes) -> None:
        server.content = b"the other one's"
        request.send(412, error("PreconditionFailed"))

    server = OneObject(put)
    with scripted(server) as (storage, _), pytest.raises(ObjectChanged, match="already exists"):
        storage.write_new("a.enc", DATA)
    assert server.content == b"the other one's"


def test_a_conflict_over_a_key_that_is_free_is_the_servers_refusal() -> None:
    """Its own words are said, not that there is an object."""
    server = OneObject(lambda _server, request, _body: request.send(409, error("ConditionalRequestConflict")))
    with scripted(server) as (storage, _), pytest.raises(ObjectChanged, match="ConditionalRequestConflict"):
        storage.write_new("a.enc", DATA)


@pytest.mark.parametrize(
    ("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (507, "InsufficientStorage")]
)
def test_a_full_store_is_named(status: int, code: str) -> None:
    """By its code or its status; it is not a right that is missing, nor does waiting help."""
    server = OneObject(lambda _server, request, _body: request.send(status, error(code)))
    with scripted(server) as (storage, _), pytest.raises(StorageFull, match=code):
        storage.write_new("a.enc", DATA)


def test_a_server_that_dies_in_the_middle_keeps_no_half_object(
    swift: SwiftServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is still free when it is back, and the same call succeeds."""
    data = DATA * 400
    sendall = socket.socket.sendall
    left = len(data) // 2

    def die_half_way(line: socket.socket, piece: bytes, *how: int) -> None:
        nonlocal left
        if 0 < left <= len(piece):
            swift.kill()
        left -= len(piece)
        sendall(line, piece, *how)

    with storage_on(swift, bucket, attempts=1) as storage:
        monkeypatch.setattr(socket.socket, "sendall", die_half_way)
        try:
            with pytest.raises(StorageUnreachable):
                storage.write_new("a.enc", data)
        finally:
            swift.start()
        assert left < 0
        assert list(storage.list()) == []
        assert storage.write_new("a.enc", data) is True
        assert storage.read("a.enc", max_bytes=len(data)) == data
