"""Callers that begin an upload and stop sending: they keep no one out, neither by their places nor by the memory they hold."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from support.media.pictures import encode, gradient, photo
from support.web.hook import running_hook
from support.web.pictrs_client import END, Connection, ask, chunks, get, head
from support.web.stand_ins import GatedDetector

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.uploads.bodies import STALL_S
from lemmy_safety.web.connections import GRACE_S

CANARY = canary_png()
HARMLESS = encode(photo(), "jpeg")

SECRET = "an-example-of-a-secret"
WITH_SECRET = f"/validate/{SECRET}"

#: With ``max_uploads=2``: twice that, and 64 to spare.
PLACES = 68


def pause(seconds: float) -> None:
    """The passing of time is what is tested."""
    threading.Event().wait(seconds)


def begun(port: int, path: str = "/validate", data: bytes = b"\x89PNG\r\n") -> Connection:
    """An upload whose body has begun."""
    connection = Connection(port)
    connection.send(head(path) + chunks(data))
    return connection


def test_three_hundred_and_twenty_begun_uploads_keep_nobody_out(tmp_path):
    """With the right secret, and as many as fill all connections of the default settings."""
    with running_hook(tmp_path, access=Access(secrets=[SECRET]), max_uploads=128) as hook, ExitStack() as closing:
        stalled = [closing.enter_context(begun(hook.port, WITH_SECRET)) for _ in range(320)]
        pause(STALL_S + 0.2)
        for _ in range(3):
            assert hook.ask(CANARY, WITH_SECRET).status == 406
            assert hook.ask(HARMLESS, WITH_SECRET).status == 200
        assert stalled[0].answer().body == b"body too slow"
        assert hook.metric("uploads_open", x_api_key=SECRET) <= 128


@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "a byte at a time"])
def test_the_upload_that_stands_still_for_longest_gives_way(tmp_path, trickles):
    """With 408, and only as many as others need; single bytes are no progress."""
    with running_hook(tmp_path, max_uploads=2) as hook, begun(hook.port) as first, ExitStack() as closing:
        connections = [first]
        for number in range(16):
            pause(STALL_S / 10)
            if number == 4:
                connections.append(closing.enter_context(begun(hook.port)))
            for connection in connections if trickles else ():
                connection.send(chunks(b"x"))
        assert hook.ask(CANARY).status == 406
        answer = first.answer()
        assert (answer.status, answer.body) == (408, b"body too slow")
        assert connections[1].is_silent(within_s=0.2)


def test_a_slow_upload_that_makes_progress_keeps_its_place(tmp_path):
    """Some hundred bytes a second are enough, whatever else wants in."""
    size = len(HARMLESS) // 40 + 1
    pieces = [HARMLESS[start : start + size] for start in range(0, len(HARMLESS), size)]
    with running_hook(tmp_path, max_uploads=2) as hook, Connection(hook.port) as slow, ExitStack() as closing:
        slow.send(head())
        for number, piece in enumerate(pieces):
            slow.send(chunks(piece))
            pause(STALL_S / 10)
            if number % 13 == 0:
                closing.enter_context(begun(hook.port))  # it takes the other place, and stands still
            if number % 13 == 12:
                assert hook.ask(CANARY).status == 406
        slow.send(END)
        assert slow.answer().status == 200


def test_a_pause_costs_nothing_where_nobody_waits(tmp_path):
    """The time for the whole body is the only limit then."""
    with running_hook(tmp_path, max_uploads=2) as hook, begun(hook.port, data=CANARY[:100]) as slow:
        pause(2 * STALL_S)
        slow.send(chunks(CANARY[100:]) + END)
        assert slow.answer().status == 406


def test_uploads_that_make_progress_or_wait_for_a_verdict_leave_no_place(tmp_path):
    """As ever: the newcomer is told to come again."""
    waiting = GatedDetector()
    with running_hook(tmp_path, detectors=[waiting], max_uploads=2) as hook, ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, hook.port, encode(gradient(seed=1), "png"))
        hook.wait_for_metric("queue_length", 1)
        with begun(hook.port) as progressing:
            for _ in range(15):
                pause(STALL_S / 10)
                progressing.send(chunks(bytes(100)))
            answer = hook.ask(CANARY)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        waiting.gate.set()
        assert held.result().status == 200


def test_memory_of_an_upload_that_stands_still_is_given_to_others(tmp_path):
    """It would be held until the time for its body is over."""
    large = encode(photo("astronaut"), "png", compress_level=0)
    with (
        running_hook(tmp_path, memory_bytes=len(large), body_timeout_s=30) as hook,
        begun(hook.port, data=large[:-1]) as stalled,
    ):
        hook.wait_for_metric("held_bytes", len(large) - 1)
        assert hook.ask(large).status == 200
        assert stalled.answer().status == 408


def test_an_upload_that_waits_for_memory_does_not_stand_still(tmp_path):
    """It is not its sender who is slow."""
    waiting = GatedDetector()
    large = encode(photo("astronaut"), "png", compress_level=0)
    with (
        running_hook(tmp_path, detectors=[waiting], memory_bytes=len(large), max_uploads=2) as hook,
        ThreadPoolExecutor(2) as pool,
    ):
        held = pool.submit(ask, hook.port, large)
        hook.wait_for_metric("queue_length", 1)
        waits = pool.submit(ask, hook.port, large + b"x")
        hook.wait_for_metric("uploads_open", 2)
        pause(STALL_S + 0.2)
        assert hook.ask(CANARY).status == 503
        waiting.gate.set()
        assert [held.result().status, waits.result().status] == [200, 200]


@pytest.mark.parametrize("path", ["/validate/wrong", "/no/such/path", "/health"])
def test_callers_that_are_refused_and_send_no_body_keep_no_place(tmp_path, path):
    """Strangers can do that without a secret, and again and again."""
    with running_hook(tmp_path, access=Access(secrets=[SECRET]), max_uploads=2) as hook, ExitStack() as closing:
        for _ in range(PLACES):
            closing.enter_context(begun(hook.port, path))
        pause(GRACE_S + 0.1)
        assert hook.ask(CANARY, WITH_SECRET).status == 406
        assert get(hook.port, "/ready").status == 200


def test_a_caller_that_is_refused_keeps_its_answer_and_its_connection(tmp_path):
    """Where no one wants its place, and it sends the rest of its body."""
    with (
        running_hook(tmp_path, access=Access(secrets=[SECRET])) as hook,
        begun(hook.port, "/validate/wrong") as refused,
    ):
        refused.send(chunks(CANARY) + END)
        assert refused.answer().status == 401
        refused.send(head(WITH_SECRET) + chunks(CANARY) + END)
        assert refused.answer().status == 406
