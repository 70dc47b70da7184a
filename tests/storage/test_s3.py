"""What only S3 does: logins, regions, pages, broken transfers, and a vendor library with a hundred exceptions."""

from __future__ import annotations

import inspect
import logging
import random
import socket
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import botocore.exceptions
import pytest
from support.scripted_s3 import EMPTY_LISTING, Request, scripted_s3

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    HostUnknown,
    LoginRefused,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.storage.s3 import S3Storage
from lemmy_safety.storage.s3_errors import CLASSES, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.swift import SwiftServer

pytestmark = pytest.mark.external_service

KEY, SECRET = "AKIAEXAMPLE", "vErYsEcReT"
WHEN = {"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}


def storage_on(server: SwiftServer, bucket: str, **how) -> S3Storage:
    user, secret = server.OWNER
    return S3Storage(server.endpoint, bucket, **{"access_key": user, "secret_key": secret, "attempts": 2, **how})


@contextmanager
def scripted(script: Callable[[Request], None], **how) -> Iterator[tuple[S3Storage, list[tuple[str, str]]]]:
    """An open storage on a server that answers object requests by ``script``, and what was asked since it was open."""

    def answer(request: Request) -> None:
        if opening:
            request.send(200, EMPTY_LISTING)
        else:
            script(request)

    opening = True
    with scripted_s3(answer) as server:
        how = {"access_key": KEY, "secret_key": SECRET, "attempts": 1, **how}
        with S3Storage(server.endpoint, "pictrs", **how) as storage:
            opening = False
            server.seen.clear()
            yield storage, server.seen


# Opening


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"secret_key": "wrong-secret"}, LoginRefused, "AWS_SECRET_ACCESS_KEY"),
        ({"access_key": "test:nobody"}, LoginRefused, "AWS_ACCESS_KEY_ID"),
        ({"bucket": "no-such-bucket"}, StorageMissing, "PICTRS_BUCKET"),
        ({"bucket": "x"}, StorageMissing, "PICTRS_BUCKET"),
        ({"bucket": "with space"}, StorageMissing, "PICTRS_BUCKET"),
        ({"access_key": None, "secret_key": None}, LoginRefused, "AWS_ACCESS_KEY_ID"),
        ({"access_key": "test:reader", "secret_key": "reading"}, AccessDenied, "permission"),
    ],
)
def test_what_is_wrong_at_the_door_has_its_own_class(
    swift: SwiftServer, bucket: str, change: dict, error: type[StorageError], words: str
) -> None:
    """Wrong login, no bucket and no permission are told apart, name the setting, and hide the login."""
    change = dict(change)
    storage = storage_on(swift, change.pop("bucket", bucket), **change)
    with pytest.raises(error) as caught:
        storage.open()
    assert words in caught.value.hint
    for secret in (swift.OWNER[1], "wrong-secret", "test:nobody", "test:tester"):
        assert secret not in str(caught.value)
    (step,) = storage.probe()
    assert (step.name, step.ok) == ("connect", False)
    assert words in step.fix


def test_a_server_that_is_not_there_is_unreachable() -> None:
    """Nobody listens: a passing fault, which names the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StorageUnreachable, match=r"127\.0\.0\.1"):
        S3Storage(endpoint, "pictrs", KEY, SECRET, attempts=1).open()


@pytest.mark.parametrize(
    ("number", "error"), [(socket.EAI_NONAME, HostUnknown), (socket.EAI_AGAIN, StorageUnreachable)]
)
def test_a_name_that_does_not_resolve_is_not_an_outage(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[StorageError]
) -> None:
    """A misspelt host is said to be one; a resolver that is away is a passing fault."""

    def refuse(*args, **kwargs):
        raise socket.gaierror(number, "no")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(error, match=r"s3\.example\.com"):
        S3Storage("https://s3.example.com", "pictrs", KEY, SECRET, attempts=1).open()


@pytest.mark.parametrize(
    "endpoint",
    ["s3.example.com", "ftp://s3.example.com", "https://", "", "localhost:9000", "http://[::1", "http://a:b"],
)
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    """The message shows how one looks."""
    with pytest.raises(StorageError, match=r"https://eu2\.example\.com"):
        S3Storage(endpoint, "pictrs", KEY, SECRET).open()


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("https://S3.Example.com", "s3:https://s3.example.com/pictrs"),
        ("HTTPS://s3.example.com:443/", "s3:https://s3.example.com/pictrs"),
        ("http://s3.example.com:80", "s3:http://s3.example.com/pictrs"),
        ("http://localhost:9000/base/", "s3:http://localhost:9000/base/pictrs"),
        ("https://me:password@s3.example.com", "s3:https://s3.example.com/pictrs"),
        ("http://[::1]:9000", "s3:http://[::1]:9000/pictrs"),
    ],
)
def test_two_spellings_of_an_endpoint_are_one_storage(endpoint: str, name: str) -> None:
    """Case, default port, slash at the end and a login in the URL make no difference to the ledger."""
    assert S3Storage(endpoint, "pictrs").name == name


def test_the_region_is_the_one_the_server_names() -> None:
    """With region auto a refusal that names a region is answered by signing for that, from then on at once."""
    scopes = []

    def script(request: Request) -> None:
        scopes.append(request.headers["Authorization"].split("/")[2])
        if scopes[-1] == "garage":
            request.send(200, EMPTY_LISTING, WHEN)
        else:
            request.refuse(400, "AuthorizationHeaderMalformed", "<Region>garage</Region>")

    with scripted_s3(script) as server, S3Storage(server.endpoint, "pictrs", KEY, SECRET, attempts=1) as storage:
        storage.stat("x.jpg")
        storage.read("x.jpg", max_bytes=1000)
    assert scopes == ["us-east-1", "garage", "garage", "garage"]


def test_a_set_region_is_used() -> None:
    """No guess where the admin said it."""
    with scripted(lambda request: request.send(200, b"x", WHEN), region="eu-central-2") as (storage, _):
        assert storage._client.meta.region_name == "eu-central-2"


# Listing


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


def test_an_outage_in_the_middle_of_a_listing_is_passing(swift: SwiftServer, bucket: str) -> None:
    """The pages before it have been given, then StorageUnreachable is raised."""
    client = swift.client()
    for number in range(6):
        client.put_object(Bucket=bucket, Key=f"{number}.jpg", Body=b"x")
    with storage_on(swift, bucket, page_size=2) as storage:
        listing = storage.list()
        got = [next(listing).key, next(listing).key]
        swift.kill()
        try:
            with pytest.raises(StorageUnreachable):
                list(listing)
        finally:
            swift.start()
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
        swift.clear_requests()
        assert [obj.key for obj in storage.list(since=since, exhaustive=False)] == sorted(new)
        assert len(swift.requests()) == 2
        assert [obj.key for obj in storage.list(since=since, exhaustive=False)] == sorted(new)
        assert len(swift.requests()) == 3
        assert list(storage.list(since=since, exhaustive=False, prefix="1/")) == []
        assert len(swift.requests()) == 3


def test_keys_that_are_no_paths_are_seen_and_not_touched(swift: SwiftServer, bucket: str) -> None:
    """S3 can hold 'a//b'; it is listed, so that it is known, but not read. A console's 'folder' is no object."""
    client = swift.client()
    for key in ("a//b.jpg", "./c.jpg", "folder/"):
        client.put_object(Bucket=bucket, Key=key, Body=b"" if key == "folder/" else b"x")
    with storage_on(swift, bucket) as storage:
        assert [obj.key for obj in storage.list()] == ["./c.jpg", "a//b.jpg"]
        with pytest.raises(BadKey):
            storage.read("a//b.jpg", max_bytes=10)


# Reading


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


def test_refused_bodies_do_not_use_up_the_connections(swift: SwiftServer, bucket: str) -> None:
    """With one connection, objects that are too large can be refused again and again."""
    with storage_on(swift, bucket, connections=1) as storage:
        storage._write_probe("large", b"x" * 100_000)
        for _ in range(5):
            with pytest.raises(ObjectTooLarge):
                storage.read("large", max_bytes=10)
        assert len(storage.read("large", max_bytes=100_000)) == 100_000


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", AccessDenied),
        (403, "SignatureDoesNotMatch", LoginRefused),
        (403, "RequestTimeTooSkewed", LoginRefused),
        (403, "SomethingNew", AccessDenied),
        (404, "NoSuchKey", ObjectGone),
        (404, "NoSuchBucket", StorageMissing),
        (400, "KeyTooLongError", BadKey),
        (400, "ExpiredToken", LoginRefused),
        (400, "SomethingNew", StorageError),
        (429, "SlowDown", StorageUnreachable),
        (500, "InternalError", StorageUnreachable),
        (503, "SlowDown", StorageUnreachable),
        (502, "SomethingNew", StorageUnreachable),
        (301, "PermanentRedirect", StorageError),
        (403, "InvalidObjectState", AccessDenied),
    ],
)
def test_answers_become_our_errors(status: int, code: str, error: type[StorageError]) -> None:
    """The server's code decides, and its status where the code is unknown."""
    with scripted(lambda request: request.refuse(status, code)) as (storage, _):
        with pytest.raises(StorageError) as caught:
            storage.read("x.jpg", max_bytes=10)
        assert type(caught.value) is error
        assert code in caught.value.message
        assert KEY not in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (b"<html><body>Welcome<br></body></html>", StorageUnreachable),  # as S3's own page, cut off
        (b"<html><body>Welcome</body></html>", StorageError),
        (b"", StorageError),
        (b"{}", StorageUnreachable),
    ],
)
def test_a_page_of_another_server_is_no_empty_bucket(page: bytes, error: type[StorageError]) -> None:
    """A web site answers 200 with a page: the endpoint is wrong, and that is said."""
    with scripted_s3(lambda request: request.send(200, page)) as server:
        with pytest.raises(StorageError, match=r"(?i)endpoint") as caught:
            S3Storage(server.endpoint, "pictrs", KEY, SECRET, attempts=1).open()
        assert type(caught.value) is error


def test_a_server_that_redirects_everything_is_said_to_do_so() -> None:
    """http where https is wanted: one clear error after one request, not a library going round in circles."""
    elsewhere = {"Location": "https://s3.example.com/"}
    with scripted_s3(lambda request: request.send(301, b"", elsewhere)) as server:
        with pytest.raises(StorageError, match="OBJECT_STORAGE_ENDPOINT"):
            S3Storage(server.endpoint, "pictrs", KEY, SECRET).open()
        assert len(server.seen) == 1


def test_a_request_is_repeated_where_that_can_help() -> None:
    """Two 503s and a success are a success; a 403 is not asked twice."""

    def script(request: Request) -> None:
        if len(seen) < 3:
            request.refuse(503, "ServiceUnavailable")
        else:
            request.send(200, b"data")

    with scripted(script, attempts=4) as (storage, seen):
        assert storage.read("x.jpg", max_bytes=10) == b"data"
        assert len(seen) == 3
    with scripted(lambda request: request.refuse(403, "AccessDenied"), attempts=4) as (storage, seen):
        with pytest.raises(AccessDenied):
            storage.read("x.jpg", max_bytes=10)
        assert len(seen) == 1


# Describing, deleting, moving


@pytest.mark.parametrize(
    ("head", "listing", "error"),
    [
        (403, (403, "SignatureDoesNotMatch"), LoginRefused),
        (403, (403, "AccessDenied"), AccessDenied),
        (403, None, AccessDenied),
        (404, (404, "NoSuchBucket"), StorageMissing),
        (404, (403, "AccessDenied"), ObjectGone),
        (404, None, ObjectGone),
        (400, (400, "ExpiredToken"), LoginRefused),
        (503, (503, "SlowDown"), StorageUnreachable),
    ],
)
def test_a_head_without_words_is_explained(head: int, listing: tuple | None, error: type[StorageError]) -> None:
    """HEAD tells neither login from permission nor bucket from object; a second request does, without any bytes."""

    def script(request: Request) -> None:
        if request.command == "HEAD":
            request.send(head)
        elif listing is None:
            request.send(200, EMPTY_LISTING)
        else:
            request.refuse(*listing)

    with scripted(script) as (storage, seen):
        with pytest.raises(StorageError) as caught:
            storage.stat("x.jpg")
        assert type(caught.value) is error
        assert not [path for method, path in seen if method == "GET" and "x.jpg?" in path]


def test_deleting_reads_no_object(swift: SwiftServer, bucket: str) -> None:
    """What is deleted as judged is described and removed; no byte of it travels."""
    with storage_on(swift, bucket) as storage:
        storage._write_probe("a.jpg", b"x")
        judged = storage.stat("a.jpg")
        swift.clear_requests()
        assert storage.delete("a.jpg", expected=judged) is True
        assert {method for method, _ in swift.requests()} == {"HEAD", "DELETE"}


def test_a_move_that_was_cut_short_is_finished(swift: SwiftServer, bucket: str) -> None:
    """Copied but not yet removed: both are the same content, so moving again removes the first."""
    with storage_on(swift, bucket) as storage:
        storage._write_probe("a.jpg", b"same")
        storage._write_probe("q/a.jpg", b"same")
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


def test_the_probe_tells_of_old_versions(swift: SwiftServer, bucket: str) -> None:
    """Where a bucket keeps old versions a delete does not remove the bytes, and the admin must know."""
    client = swift.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with storage_on(swift, bucket) as storage:
        connect = next(iter(storage.probe()))
    assert connect.ok
    assert "versioning is on" in connect.detail


def test_a_probe_that_cannot_clean_up_names_what_is_left() -> None:
    """May write and not delete: the step fails and says which object is still there."""

    def script(request: Request) -> None:
        if request.command == "DELETE":
            request.refuse(403, "AccessDenied")
        elif request.command == "PUT":
            written.append(request.rfile.read(int(request.headers["Content-Length"])))
            request.send(200)
        elif "probe" in request.path:
            request.send(200, written[-1], WHEN)
        else:
            request.send(200, EMPTY_LISTING)

    written: list[bytes] = []
    with scripted(script) as (storage, _):
        steps = list(storage.probe())
    assert [step.ok for step in steps] == [True, True, False]
    assert "lemmy-safety-probe-" in steps[-1].detail
    assert "may still be there" in steps[-1].detail
    assert b"lemmy-safety" in written[0]


# The library


def test_every_exception_of_botocore_has_a_meaning() -> None:
    """A new class in botocore fails here until somebody decides what it means to an admin."""
    every = [
        kind
        for kind in vars(botocore.exceptions).values()
        if inspect.isclass(kind) and issubclass(kind, botocore.exceptions.BotoCoreError)
    ]
    unmapped = [
        kind.__name__
        for kind in every
        if kind is not botocore.exceptions.BotoCoreError and not CLASSES.keys() & set(kind.__mro__)
    ]
    assert len(every) > 80
    assert unmapped == []


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError("timed out")])
def test_bare_network_errors_are_passing(error: Exception) -> None:
    """What botocore lets through of the operating system is an outage."""
    assert isinstance(storage_error(error, "bucket pictrs"), StorageUnreachable)


def test_no_log_line_holds_the_login(swift: SwiftServer, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    """Our own loggers, at their most talkative, tell no secret."""
    caplog.set_level(logging.DEBUG, logger="lemmy_safety")
    with pytest.raises(LoginRefused):
        storage_on(swift, bucket, secret_key=SECRET).open()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lemmy_safety")]
    assert not [line for line in ours if SECRET in line]
