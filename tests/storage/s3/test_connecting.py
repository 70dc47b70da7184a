"""Endpoints, logins and regions: what is wrong at the door is said in words."""

from __future__ import annotations

import logging
import re
import socket
from typing import TYPE_CHECKING

import pytest
from botocore.utils import is_valid_endpoint_url, is_valid_ipv6_endpoint_url
from hypothesis import given
from hypothesis import strategies as st
from support.storage.s3 import KEY, SECRET, WHEN, scripted, storage_on
from support.storage.scripted_s3 import EMPTY_LISTING, Request, scripted_s3

from lemmy_safety.errors import (
    AccessDenied,
    HostUnknown,
    LoginRefused,
    SettingsError,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.storage.probing import probe
from lemmy_safety.storage.s3 import S3Storage
from lemmy_safety.storage.s3.endpoint import checked_endpoint

if TYPE_CHECKING:
    from support.servers.s3 import S3Server
    from support.servers.swift import SwiftServer

pytestmark = pytest.mark.external_service


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"secret_key": "wrong-secret"}, LoginRefused, "AWS_SECRET_ACCESS_KEY"),
        ({"access_key": "nobody-known"}, LoginRefused, "AWS_ACCESS_KEY_ID"),
        ({"bucket": "no-such-bucket"}, StorageMissing, "PICTRS_BUCKET"),
        ({"bucket": "x"}, StorageMissing, "PICTRS_BUCKET"),
        ({"bucket": "with space"}, StorageMissing, "PICTRS_BUCKET"),
        ({"access_key": None, "secret_key": None}, LoginRefused, "AWS_ACCESS_KEY_ID"),
        ({"login": "READER"}, AccessDenied, "permission"),
    ],
)
def test_what_is_wrong_at_the_door_has_its_own_class(
    s3_server: S3Server, s3_bucket: str, change: dict, error: type[StorageError], words: str
) -> None:
    """Wrong login, no bucket and no permission are told apart, name the setting, and hide the login."""
    change = dict(change)
    user, secret = getattr(s3_server, change.pop("login", "OWNER"))
    login = {"access_key": user, "secret_key": secret}
    storage = storage_on(s3_server, change.pop("bucket", s3_bucket), **{**login, **change})
    with pytest.raises(error) as caught:
        storage.open()
    assert words in caught.value.hint
    for word in (secret, "wrong-secret", "nobody-known", user):
        assert word not in str(caught.value)
    (step,) = probe(storage)
    assert (step.name, step.ok) == ("connect", False)
    assert words in step.fix


def test_a_server_that_is_not_there_is_unreachable() -> None:
    """No one listens: a passing fault, which names the server."""
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
    with pytest.raises(SettingsError, match=r"https://eu2\.example\.com"):
        S3Storage(endpoint, "pictrs", KEY, SECRET)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("pictrs_minio:9000", "underscore. Give the server a name without one"),
        ("ümlaut.invalid", "xn--mlaut-jva.invalid"),
        ("b..a.example", "two dots in a row"),
        (".example", "one at its start"),
        ("a" * 80, "63 characters"),
        ("a." * 128 + "example", "longer than DNS allows"),
        ("%41:9000", "other characters"),
        ("a b", "other characters"),
        ("-a", "hyphen"),
        ("a-.example", "hyphen"),
    ],
)
def test_a_host_name_that_botocore_refuses_is_a_fault_of_the_settings(host: str, said: str) -> None:
    """In one line, where botocore's own error looks like an answer of the server, which was never asked."""
    with pytest.raises(SettingsError) as caught:
        S3Storage(f"http://{host}", "pictrs", KEY, SECRET)
    assert caught.value.message.startswith("OBJECT_STORAGE_ENDPOINT: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.text("aZ0_-.%:ü ", max_size=20)
    | st.lists(st.text("a-0", max_size=64), max_size=5).map(".".join)
    | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
)
def test_what_is_accepted_is_what_botocore_can_use(host: str) -> None:
    """No host name gets as far as botocore that it refuses; plain names and IPv6 addresses do."""
    try:
        url = checked_endpoint(f"http://{host}")
    except SettingsError:
        assert not re.fullmatch(r"[a0]{1,63}(\.[a0]{1,63}){0,2}|\[[0-9a-f:]+\]", host)
        return
    assert is_valid_endpoint_url(url) or is_valid_ipv6_endpoint_url(url)


@pytest.mark.parametrize("region", ["with space", "under_score", "a..b"])
def test_a_region_that_can_be_none_is_a_fault_of_the_settings(region: str) -> None:
    """Found before anything is asked."""
    with pytest.raises(SettingsError, match="AWS_DEFAULT_REGION"):
        S3Storage("http://127.0.0.1:9", "pictrs", KEY, SECRET, region=region)


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
        assert storage._requests.client.meta.region_name == "eu-central-2"


def test_no_log_line_holds_the_login(swift: SwiftServer, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    """Our own loggers, at their most talkative, tell no secret."""
    caplog.set_level(logging.DEBUG, logger="lemmy_safety")
    with pytest.raises(LoginRefused):
        storage_on(swift, bucket, secret_key=SECRET).open()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("lemmy_safety")]
    assert not [line for line in ours if SECRET in line]


def test_a_probe_that_cannot_clean_up_names_what_is_left() -> None:
    """May write and not delete: the step fails and says which object is still there."""

    def script(request: Request) -> None:
        if request.command == "DELETE":
            request.refuse(403, "AccessDenied")
        elif request.command == "PUT":
            written.append(request.rfile.read(int(request.headers["Content-Length"])))
            request.send(200)
        elif "list-type" in request.path or "probe" not in request.path:
            request.send(200, EMPTY_LISTING)
        elif not written:
            request.refuse(404, "NoSuchKey")
        else:
            request.send(200, written[-1], WHEN)

    written: list[bytes] = []
    with scripted(script) as (storage, _):
        steps = list(probe(storage))
    assert [step.ok for step in steps] == [True, True, False]
    assert "lemmy-safety-probe-" in steps[-1].detail
    assert "may still be there" in steps[-1].detail
    assert b"lemmy-safety" in written[0]


def test_a_probe_object_that_cannot_be_read_back_is_deleted_all_the_same() -> None:
    """Every run of the check would leave another one."""

    def script(request: Request) -> None:
        if request.command == "DELETE":
            present.clear()
            request.send(204)
        elif request.command == "PUT":
            present.append(request.rfile.read(int(request.headers["Content-Length"])))
            request.send(200)
        elif "list-type" in request.path or "probe" not in request.path:
            request.send(200, EMPTY_LISTING)
        elif not present:
            request.refuse(404, "NoSuchKey")
        elif request.command == "GET":
            request.refuse(403, "AccessDenied")
        else:
            request.send(200, present[-1], WHEN)

    present: list[bytes] = []
    with scripted(script) as (storage, _):
        steps = list(probe(storage))
    assert [step.ok for step in steps] == [True, True, False]
    assert present == []
    assert "may still be there" not in steps[-1].detail
