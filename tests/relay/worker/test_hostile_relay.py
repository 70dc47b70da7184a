"""A relay that was taken over answers a worker with whatever it likes: nothing of it costs more than its own uploads."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.ledger.created import new_ledger
from support.web.hostile_relay import HEAD, HostileRelay, chunked, plain
from support.web.pictrs_safety import KEY
from support.web.relay import running_worker
from support.web.service import until

from lemmy_safety.errors import SettingsError
from lemmy_safety.outgoing import ServerTrouble
from lemmy_safety.relay.bounded_json import MOST_JSON_BYTES
from lemmy_safety.relay.protocol import PAGE
from lemmy_safety.relay.worker import client as worker_client
from lemmy_safety.relay.worker import mirror as unchecked_mirror
from lemmy_safety.relay.worker.client import WorkerClient
from lemmy_safety.relay.worker.mirror import UncheckedMirror
from lemmy_safety.uploads.bodies import BodyLimits, BodyReader

#: What is read of an endless answer: the limit, and what kernels hold of it on the way.
MOST_READ = MOST_JSON_BYTES + 16 * 1024 * 1024

NOW = datetime.now(UTC)


def entry(number: int, **more) -> dict:
    data = str(number).encode()
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": 5,
        "media_type": "image/png",
        "reason": "timed_out",
        "at": (NOW - timedelta(days=1) + timedelta(milliseconds=number)).isoformat(),
        **more,
    }


def with_client(relay: HostileRelay, what):
    """Do ``what(client)`` with a real client of this server."""

    async def run():
        reader = BodyReader(BodyLimits(max_bytes=2_000_000, memory_bytes=4_000_000, timeout_s=5.0))
        async with WorkerClient(url=relay.url, key=KEY, worker="w", rules="r", reader=reader) as client:
            client.is_relay = True
            return await what(client)

    return asyncio.run(run())


def look(relay: HostileRelay, ledger, times: int = 1) -> None:
    """Go through what the relay says it accepted unchecked, as the worker does every 30 s."""

    async def what(client):
        mirror = UncheckedMirror(client, ledger)
        for _ in range(times):
            await mirror.look()
        mirror.close()

    with_client(relay, what)


@pytest.fixture
def ledger(tmp_path):
    with new_ledger(tmp_path / "home.db") as opened:
        yield opened


BAD = {
    "year 1": {"at": "0001-01-01T00:00:00+00:00"},
    "year 1 in the east": {"at": "0001-01-01T00:00:00+14:00"},
    "year 9999 in the west": {"at": "9999-12-31T23:59:59-12:00"},
    "before pict-rs": {"at": "2019-12-31T23:59:59+00:00"},
    "in two days": {"at": (NOW + timedelta(days=2)).isoformat()},
    "no zone": {"at": "2026-01-01T00:00:00"},
    "a long time": {"at": "2026-01-01T00:00:00+00:00" + " " * 900_000},
    "a number for a time": {"at": 0},
    "no time": {"at": None},
    "a long media type": {"media_type": "x" * 900_000},
    "a long reason": {"reason": "x" * 900_000},
    "half a surrogate pair": {"reason": "\ud800"},
    "a negative size": {"size": -1},
    "a huge size": {"size": 2**63},
    "size as a float": {"size": 5.0},
    "size as a flag": {"size": True},
    "a long digest": {"sha256": "0" * 900_000},
    "a digest with a line end": {"sha256": "0" * 64 + "\n"},
    "a digest in capitals": {"sha256": "A" * 64},
}


@pytest.mark.parametrize("name", BAD)
def test_a_field_out_of_its_bounds_is_not_taken_over(ledger, caplog, name):
    """Nothing is recorded, a short line is logged that quotes nothing of it, and later sweeps are not touched."""
    caplog.set_level(logging.INFO)
    body = json.dumps({"uploads": [entry(1, **BAD[name])]}).encode()
    with HostileRelay(lambda *_: plain(body)).serving() as relay:
        look(relay, ledger)
    assert ledger.uploads.count_unchecked() == 0
    assert ledger.uploads.unchecked_since() is None
    (said,) = [record.getMessage() for record in caplog.records if "lemmy_safety" in record.name]
    assert len(said) < 300
    assert "xxx" not in said


@pytest.mark.parametrize(
    "body",
    [
        b'{"uploads": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"uploads": ' * 50_000 + b"1" + b"}" * 50_000,
        b'{"uploads": [%s]}' % (b"9" * 100_000),
        b'{"uploads": [NaN]}',
        b'{"uploads": [1e999]}',
        b'{"uploads": [-Infinity]}',
        b'{"uploads": [], "uploads": [{}]}',
        b'{"uploads": [{"sha256": "\xff"}]}',
        '{"uploads": []}'.encode("utf-16"),
        b'{"uploads": "no list"}',
        b'{"uploads": {}}',
        b"[]",
        b"null",
        b"",
        b'{"uploads": [' + b",".join([b"{}"] * (PAGE + 1)) + b"]}",
        b'{"uploads": [{}]}' + b" " * MOST_JSON_BYTES,
    ],
    ids=range(16),
)
def test_json_that_no_relay_sends_is_trouble_and_nothing_else(ledger, body):
    """Deep, huge, ambiguous, in another encoding, or of another shape."""
    with HostileRelay(lambda *_: plain(body)).serving() as relay:
        with pytest.raises(ServerTrouble):
            with_client(relay, lambda client: client.unchecked(after=None))
        look(relay, ledger)
    assert ledger.uploads.count_unchecked() == 0


def zeros():
    yield b'{"uploads": ['
    while True:
        yield b"0," * 32_768


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.unchecked(after=None),
        lambda client: client.answer({"image": "x"}),
        lambda client: client.settle([]),
        lambda client: client.pop(wait_s=0.0),
    ],
    ids=["list", "answer", "settle", "pop"],
)
@pytest.mark.parametrize("status", [b"200 OK", b"201 Created", b"404 Not Found", b"500 Oops", b"204 Nothing"])
def test_an_answer_without_end_is_read_up_to_the_limit(ask, status):
    """Whatever was asked, and whatever status comes with it. The rest stays with the relay."""

    def answer(*_):
        pieces = chunked(zeros())
        yield (
            next(pieces).replace(b"200 OK", status).replace(b"\r\n\r\n", b"\r\nContent-Disposition: filename=a\r\n\r\n")
        )
        yield from pieces

    async def what(client):
        try:
            await ask(client)
        except (ServerTrouble, SettingsError):
            return

    with HostileRelay(answer).serving() as relay:
        with_client(relay, what)
        assert relay.sent < MOST_READ


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "GZIP", "gzip, identity"])
def test_a_compressed_answer_is_not_unfolded(coding):
    """None was asked for; 60 KB could become 60 MB."""
    bomb = gzip.compress(b'{"uploads": [' + b" " * 60_000_000 + b"]}")
    for body, ask in (
        (bomb, lambda client: client.unchecked(after=None)),
        (bomb, lambda client: client.pop(wait_s=0.0)),
    ):
        head = (f"Content-Encoding: {coding}", "Content-Disposition: filename=a.png")
        with (
            HostileRelay(lambda *_, body=body, head=head: plain(body, *head)).serving() as relay,
            pytest.raises(ServerTrouble, match="compressed"),
        ):
            with_client(relay, ask)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early\r\n\r\n", b" "], ids=["heads without end", "a byte at a time"])
def test_an_answer_that_never_gets_done_is_given_up(monkeypatch, piece):
    """Each piece of it comes in time; the whole does not."""
    monkeypatch.setattr(worker_client, "_ANSWER_S", 0.5)
    pause = HostileRelay(None).over

    def answer(*_):
        yield b"" if piece != b" " else HEAD + b"Content-Length: 100000\r\n\r\n"
        while not pause.wait(0.02):
            yield piece

    with HostileRelay(answer).serving() as relay:
        pause = relay.over
        began = time.monotonic()
        with pytest.raises(ServerTrouble, match="too long"):
            with_client(relay, lambda client: client.unchecked(after=None))
        assert time.monotonic() - began < 10


def page_after(path: str, make) -> list[bytes]:
    uploads = [make(number) for number in range(PAGE)]
    return plain(json.dumps({"uploads": uploads if "unchecked" in path else []}).encode())


def test_pages_without_end_are_read_some_at_a_time(ledger):
    """Each look reads a bounded number of them; the next look goes on from there."""
    numbers = itertools.count()
    with HostileRelay(lambda _method, path: page_after(path, lambda _: entry(next(numbers)))).serving() as relay:
        look(relay, ledger)
        first = ledger.uploads.count_unchecked()
        assert first == unchecked_mirror._MOST_PAGES * PAGE
        assert len(relay.seen) == unchecked_mirror._MOST_PAGES


def test_a_relay_cannot_fill_the_database(ledger, monkeypatch, caplog):
    """From a number of open ones on nothing new is taken over, until some were judged."""
    monkeypatch.setattr(unchecked_mirror, "_MOST_OPEN", 700)
    numbers = itertools.count()
    with HostileRelay(lambda _method, path: page_after(path, lambda _: entry(next(numbers)))).serving() as relay:
        look(relay, ledger, times=25)
        assert ledger.uploads.count_unchecked() == 700
        assert any("wait to be judged" in record.getMessage() for record in caplog.records)
        assert len(relay.seen) < 60


def test_an_honest_list_longer_than_the_room_is_taken_over_bit_by_bit(ledger, monkeypatch):
    """What was judged makes room; nothing of the list is left out for good."""
    monkeypatch.setattr(unchecked_mirror, "_MOST_OPEN", 30)
    waiting = {number: entry(number) for number in range(80)}

    def answer(method: str, path: str):
        if method == "POST":
            return plain(b"{}")
        after = path.partition("after=")[2]
        rest = [one for one in waiting.values() if not after or one["sha256"] not in after]
        return plain(json.dumps({"uploads": rest if not after else []}).encode())

    with HostileRelay(answer).serving() as relay:
        for _ in range(4):
            look(relay, ledger)
            for row in list(ledger.uploads.unchecked()):
                ledger.uploads.settle_lost(row.last_at + timedelta(days=9), storage="s")
                for number in [n for n, one in waiting.items() if one["sha256"] == row.sha256]:
                    del waiting[number]
    assert waiting == {}


@pytest.mark.parametrize("kind", ["the same page again", "backwards", "the same upload twice"])
def test_pages_that_do_not_go_on_are_refused(ledger, kind):
    """They would be read for ever."""
    requests = itertools.count()

    def answer(*_):
        at = next(requests)
        numbers = {"the same page again": range(PAGE), "backwards": range(PAGE - at * 7, 0, -1)}.get(kind, [1, 1])
        return plain(json.dumps({"uploads": [entry(number) for number in numbers]}).encode())

    with HostileRelay(answer).serving() as relay:
        look(relay, ledger)
        assert len(relay.seen) <= 2


def test_cookies_are_not_kept():
    """A jar would grow with each answer, and travel back with each question."""
    crumbs = [f"Set-Cookie: c{number}={'x' * 900}" for number in range(50)]
    with HostileRelay(lambda *_: plain(b'{"uploads": []}', *crumbs)).serving() as relay:

        async def what(client):
            for _ in range(3):
                await client.unchecked(after=None)

        with_client(relay, what)
        assert len(relay.heads) == 3
        assert not any(name.lower() == "cookie" for head in relay.heads for name in head)


def test_a_redirection_is_shown_in_one_short_line():
    """And is not followed."""
    where = "https://example.org/" + "a" * 60_000
    with HostileRelay(lambda *_: plain(b"", f"Location: {where}", status="302 Found")).serving() as relay:

        async def what(client):
            client.is_relay = None
            await client.pop(wait_s=0.0)

        with pytest.raises(SettingsError) as caught:
            with_client(relay, what)
        assert len(relay.seen) == 1
    assert len(str(caught.value)) < 600


def test_a_relay_that_answers_at_once_is_not_asked_without_a_pause(tmp_path):
    """It was asked to keep the question; nothing, at once, again and again, would keep both machines busy."""
    with (
        HostileRelay(lambda *_: plain(b"", status="204 Nothing")).serving() as relay,
        running_worker(tmp_path, relay.url),
    ):
        until(lambda: len(relay.seen) >= 5, "the first questions")
        began, before = time.monotonic(), len(relay.seen)
        until(lambda: len(relay.seen) >= before + 100, "a hundred more questions")
        assert time.monotonic() - began > 2.0


def test_a_worker_outlives_all_of_it(tmp_path):
    """The real worker against answers of every kind above: it is still there, and stops when asked."""
    kinds = itertools.cycle(
        [
            *(plain(json.dumps({"uploads": [entry(1, **bad)]}).encode()) for bad in BAD.values()),
            plain(b"[" * 100_000),
            plain(b"x", "Content-Encoding: gzip", "Content-Disposition: filename=a.png"),
            plain(b"", "Content-Disposition: filename=a.png"),
            plain(b"x" * 10, "Content-Disposition: filename=" + "a" * 60_000),
            [b"HTTP/9.9 nothing at all\r\n\r\n"],
            [HEAD + b"Content-Length: 5\r\n\r\nab"],
            [HEAD + b"Content-Length: -5\r\n\r\nab"],
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\nzzzz\r\n"],
            [HEAD + b"X: " + b"y" * 300_000],
        ]
    )
    with HostileRelay(lambda *_: next(kinds)).serving() as relay, running_worker(tmp_path, relay.url) as worker:
        until(lambda: len(relay.seen) >= 12, "a dozen answers")
        assert worker.ended_with == []
    assert worker.ended_with == []
    assert worker.ledger is not None
