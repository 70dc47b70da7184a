"""What servers answer, and the vendor library's hundred exceptions, become errors of ours."""

from __future__ import annotations

import inspect

import botocore.exceptions
import pytest
from support.storage.s3 import KEY, SECRET, scripted
from support.storage.scripted_s3 import EMPTY_LISTING, Request, scripted_s3

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    LoginRefused,
    ObjectGone,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.storage.s3 import S3Storage
from lemmy_safety.storage.s3.errors import CLASSES, storage_error

pytestmark = pytest.mark.external_service


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
        (405, "MethodNotAllowed", AccessDenied),
        (405, "SomethingNew", AccessDenied),
        (409, "FileImmutable", AccessDenied),
        (501, "NotImplemented", StorageError),
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


@pytest.mark.parametrize(
    ("head", "listing", "error"),
    [
        (403, (403, "SignatureDoesNotMatch"), LoginRefused),
        (403, (403, "AccessDenied"), AccessDenied),
        (403, None, ObjectGone),
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


def test_every_exception_of_botocore_has_a_meaning() -> None:
    """A new class in botocore fails here until someone decides what it means to an admin."""
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
