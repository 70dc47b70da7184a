"""What the client makes of a server that is not well, not pict-rs, or pict-rs 0.4.

The server is an imitation: real ones (``tests/e2e/test_pictrs_api.py``) do not fail on request, and 0.4 cannot be built
here.
"""

from __future__ import annotations

import contextlib
import logging
import time
from contextlib import ExitStack

import pytest
from support.servers.base import free_port
from support.servers.imitated_pictrs import KEY, imitated_pictrs, version_04

from lemmy_safety.errors import (
    NotPictrs,
    PictrsError,
    PictrsLoginRefused,
    PictrsReadOnly,
    PictrsTooOld,
    PictrsUnreachable,
    SettingsError,
)
from lemmy_safety.pictrs.api import client as client_module
from lemmy_safety.pictrs.api.client import PictrsApi
from lemmy_safety.pictrs.api.pace import Pace

OK = {"msg": "ok", "aliases": ["a.png"]}

#: Every method that asks with the key, by name, with arguments.
INTERNAL = {
    "aliases": ("a.png",),
    "identifier": ("a.png",),
    "purge": ("a.png",),
    "delete": ("a.png",),
    "check": (),
    "check_writable": (),
    "limits": (),
    "import_file": ("a.png", b"data", "image/png"),
}


class Clock:
    """Time that passes only while someone pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def server():
    with imitated_pictrs() as imitation:
        yield imitation


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_api(clock):
    with ExitStack() as stack:

        def make(url: str, key: str = KEY, per_second: float = 1000.0) -> PictrsApi:
            pace = Pace(per_second, pause=clock.pause, clock=lambda: clock.now)
            return stack.enter_context(PictrsApi(url=url, key=key, pace=pace))

        yield make


@pytest.fixture
def api(make_api, server) -> PictrsApi:
    return make_api(server.url)


def call(api: PictrsApi, name: str) -> object:
    return getattr(api, name)(*INTERNAL[name])


@pytest.mark.parametrize("name", INTERNAL)
def test_a_wrong_key_is_reported_as_that(api, server, name):
    """By the status alone: its text changed in 0.6."""
    server.answer = lambda request: request.send(401, {"msg": "anything", "code": "anything"})
    with pytest.raises(PictrsLoginRefused, match="refuses PICTRS_API_KEY") as caught:
        call(api, name)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(INTERNAL) - {"limits", "check_writable"}))
@pytest.mark.parametrize("status", [200, 404, 405])
def test_another_service_is_not_taken_for_pictrs(api, server, name, status):
    """A web page, or JSON of another shape, is never an answer about a picture."""
    for body in (b"<html>It works!</html>", {"error": "couldnt_find_post"}, None):
        server.answer = lambda request, body=body: request.send(status, body)
        with pytest.raises(NotPictrs):
            call(api, name)


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(api, server):
    with imitated_pictrs() as other:
        server.answer = lambda request: request.send(301, Location=f"{other.url}/internal/aliases?alias=a.png")
        with pytest.raises(NotPictrs, match=f"redirect to {other.url}"):
            api.aliases("a.png")
        assert other.asked == []


def test_a_refusing_proxy_before_it_is_not_a_wrong_key(api, server):
    server.answer = lambda request: request.send(403, b"forbidden")
    with pytest.raises(PictrsLoginRefused, match="forbids requests") as caught:
        api.aliases("a.png")
    assert "proxy or firewall" in caught.value.hint


def test_read_only_mode_is_reported_as_that(api, server):
    server.answer = lambda request: request.send(400, {"code": "read-only", "msg": "x"})
    for name in ("purge", "delete", "check_writable", "import_file"):
        with pytest.raises(PictrsReadOnly):
            call(api, name)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_question_is_asked_again_when_it_is_busy(api, server, clock, status):
    answers = iter([status, status, 200])
    server.answer = lambda request: request.send(next(answers), OK)
    assert api.aliases("a.png") == ("a.png",)
    assert [seconds for seconds in clock.pauses if seconds >= 0.5] == [0.5, 2.0]


@pytest.mark.parametrize(("name", "times"), [("aliases", 3), ("purge", 1), ("delete", 1), ("import_file", 1)])
@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_what_changes_something_is_not_sent_twice(api, server, name, times, fault):
    """It may have arrived; who keeps the intents decides."""
    server.answer = (lambda request: request.send(503)) if fault == "busy" else (lambda request: request.cut())
    with pytest.raises(PictrsUnreachable):
        call(api, name)
    assert len(server.asked) == api.sent == times


def test_a_refused_connection_is_tried_again_whatever_was_asked(make_api, clock):
    """Nothing has arrived then."""
    api = make_api(f"http://127.0.0.1:{free_port()}")
    for name in ("aliases", "purge"):
        with pytest.raises(PictrsUnreachable, match="cannot be reached"):
            call(api, name)
    assert api.sent == 6
    assert [seconds for seconds in clock.pauses if seconds >= 0.5] == [0.5, 2.0, 0.5, 2.0]


def test_500_is_an_error_of_its_own_and_is_not_repeated(api, server):
    """The next time it would be the same: the original of one picture of the page is missing."""
    server.answer = lambda request: request.send(500, {"code": "not-found", "msg": "x"})
    with pytest.raises(PictrsError, match=r"answers 500 \(not-found\)") as caught:
        api.hashes(limit=100)
    assert type(caught.value) is PictrsError
    assert len(server.asked) == 1


@pytest.mark.parametrize("part", ["head", "body", "nothing"])
def test_a_slow_server_is_given_up_in_time_even_if_it_never_pauses_for_long(api, server, monkeypatch, part):
    monkeypatch.setattr(client_module, "_LOOKUP_S", 0.4)

    def answer(request) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"
        match part:
            case "head":
                request.trickle(head + b"X-Long: " + b"x" * 10_000)
            case "body":
                request.wfile.write(head + b"\r\n")
                request.trickle(b" " * 100)
            case "nothing":
                request.server.imitation.ended.wait(30)

    server.answer = answer
    began = time.monotonic()
    with pytest.raises(PictrsUnreachable, match="too long"):
        api.purge("a.png")
    assert time.monotonic() - began < 5


def test_an_endless_answer_is_not_read_to_its_end(api, server):
    def answer(request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        with contextlib.suppress(OSError):  # the client hangs up
            for _ in range(1000):
                request.wfile.write(b" " * 1024 * 1024)
        request.close_connection = True

    server.answer = answer
    with pytest.raises(PictrsUnreachable, match="longer than 8 MiB"):
        api.purge("a.png")


def test_a_compressed_answer_is_refused(api, server):
    """We ask for none, and a small one can become gigabytes."""
    server.answer = lambda request: request.send(200, b"\x1f\x8b", Content_Encoding="gzip")
    with pytest.raises(PictrsUnreachable, match="compressed"):
        api.purge("a.png")


@pytest.mark.parametrize(
    "body",
    [
        {"msg": "ok"},
        {"msg": "ok", "page": []},
        {"msg": "ok", "page": {"hashes": [{}]}},
        {"msg": "ok", "page": {"hashes": [{"hex": "00", "aliases": []}]}},
        {"msg": "ok", "page": {"hashes": [{"hex": "00" * 39, "aliases": [1]}]}},
        {"msg": "ok", "page": {"hashes": [{"hex": "zz" * 39, "aliases": []}]}},
        {"msg": "ok", "page": {"hashes": [], "next": 1}},
    ],
)
def test_an_answer_in_an_unknown_form_is_an_error_and_no_empty_page(api, server, body):
    server.answer = lambda request: request.send(200, body)
    with pytest.raises(PictrsError, match="not understood"):
        api.hashes(limit=2)


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b"\xff\xfe", b"nul", b"[]", b"12"])
def test_garbage_is_not_pictrs(api, server, body):
    server.answer = lambda request: request.send(200, body)
    with pytest.raises(NotPictrs):
        api.identifier("a.png")


@pytest.mark.parametrize("alias", ["a%20b%.png", 'it\'s "it".png', "x" * 1000 + ".png", "ä/ö?#&=+.png", "\0\r\nX: y"])
def test_an_alias_arrives_as_it_is(api, server, alias):
    """Whatever characters it has, it is one parameter, and no header or path."""
    server.answer = lambda request: request.send(200, OK)
    api.aliases(alias)
    api.purge(alias)
    assert server.asked == [
        ("GET", "/internal/aliases", {"alias": alias}),
        ("POST", "/internal/purge", {"alias": alias}),
    ]


def test_no_more_requests_than_the_rate_allows(make_api, server, clock):
    server.answer = lambda request: request.send(200, OK)
    api = make_api(server.url, per_second=4)
    for _ in range(9):
        api.aliases("a.png")
    assert clock.now == 2.0


def test_the_public_pages_are_asked_without_the_key(api, server):
    server.answer = lambda request: request.send(404, {"msg": "x"})
    assert api.served("a.png") is None
    assert api.details("a.png") is None
    assert server.keys == [None, None]
    assert api.aliases("a.png") is None
    assert server.keys[-1] == KEY


def test_the_key_is_in_no_log_and_in_no_error(api, server, caplog):
    """Not even in those of the libraries."""
    caplog.set_level(logging.DEBUG)
    server.answer = lambda request: request.send(200, OK)
    api.aliases("a.png")
    for answer in (lambda request: request.cut(), lambda request: request.send(500, {"code": KEY, "msg": KEY})):
        server.answer = answer
        with pytest.raises(PictrsError):
            api.purge("a.png")
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "a\0"])
def test_an_impossible_key_is_refused_and_not_shown(key):
    with pytest.raises(SettingsError) as caught:
        PictrsApi(url="http://127.0.0.1:8080", key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["pictrs:8080", "ftp://host", "http://", "http://me:secret@host", "http://h/?a=b"])
def test_an_impossible_address_is_refused_and_not_shown(url):
    with pytest.raises(SettingsError, match="PICTRS_URL is not the address of a server") as caught:
        PictrsApi(url=url, key=KEY)
    assert "secret" not in str(caught.value)


def test_version_0_4_answers_what_it_can(api, server):
    """By its source: an unknown picture is an empty list, 404 or 400 without a code; it has no list of pictures."""
    server.answer = version_04({"a.webp": (["a.webp", "b.webp"], "000/1f0a")})
    api.check()
    api.check_writable()
    assert api.aliases("a.webp") == ("a.webp", "b.webp")
    assert api.identifier("a.webp") == "000/1f0a"
    assert api.purge("b.webp") is None
    assert api.purge("a.webp") == ("a.webp", "b.webp")
    assert (api.aliases("?"), api.identifier("?"), api.limits()) == (None, None, None)
    with pytest.raises(PictrsTooOld, match="no list"):
        api.hashes(limit=1)
    with pytest.raises(PictrsTooOld, match=r"older than 0\.5"):
        api.delete("a.webp")
