"""More connections than there are places: idle ones give way, busy ones stay, and strangers fill only their own."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.media.pictures import encode, gradient, photo
from support.web.hook import running_hook
from support.web.pictrs_client import END, Connection, ask, chunks, get, head
from support.web.stand_ins import GatedDetector

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.web.connections import GRACE_S, Places

CANARY = canary_png()
HARMLESS = encode(photo(), "jpeg")

#: With ``max_uploads=2``: twice that, and 64 to spare.
PLACES = 68


def settle() -> None:
    """Let connections become old enough to count as idle: the passing of time is what is tested."""
    threading.Event().wait(GRACE_S + 0.1)


def say_nothing(connection: Connection) -> None:
    connection.send(b"")


def begin_a_head(connection: Connection) -> None:
    connection.send(b"POST /validate HTTP/1.1\r\nx-slow: ")


def ask_and_keep_alive(connection: Connection) -> None:
    connection.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert connection.answer().status == 200


def be_refused_and_keep_alive(connection: Connection) -> None:
    connection.send(b"GET /no/such/path HTTP/1.1\r\nhost: x\r\n\r\n")
    assert connection.answer().status == 404


def is_closed_by_now(connection: Connection) -> bool:
    connection.socket.settimeout(0.2)
    with suppress(TimeoutError, ConnectionError):
        while connection.socket.recv(65_536):
            pass
        return True
    return False


IDLE = [say_nothing, begin_a_head, ask_and_keep_alive, be_refused_and_keep_alive]


@pytest.mark.parametrize("be_idle", IDLE)
def test_idle_connections_give_way_to_uploads(tmp_path, be_idle):
    """With every place taken by idle connections, uploads and questions are answered, and the oldest of them was closed."""
    with running_hook(tmp_path, max_uploads=2) as hook, ExitStack() as closing:
        idle = [closing.enter_context(Connection(hook.port)) for _ in range(PLACES)]
        for connection in idle:
            be_idle(connection)
        settle()
        assert [hook.ask(data).status for data in (CANARY, HARMLESS, CANARY)] == [406, 200, 406]
        assert get(hook.port, "/ready").status == 200
        assert is_closed_by_now(idle[0])


def test_trickling_bytes_keep_no_place(tmp_path):
    """A connection is as idle after another byte of its head as before it."""
    with running_hook(tmp_path, max_uploads=2) as hook, ExitStack() as closing:
        idle = [closing.enter_context(Connection(hook.port)) for _ in range(PLACES)]
        for connection in idle:
            begin_a_head(connection)
        settle()
        for connection in idle:
            connection.send(b"y")
        assert hook.ask(CANARY).status == 406
        assert idle[0].answer().status == 503


def test_three_hundred_and_twenty_idle_connections_keep_nobody_out(tmp_path):
    """The number that fills the places of the default settings."""
    with running_hook(tmp_path, max_uploads=128) as hook, ExitStack() as closing:
        for _ in range(320):
            closing.enter_context(Connection(hook.port))
        settle()
        assert hook.ask(CANARY).status == 406
        assert hook.ask(HARMLESS).status == 200


def test_an_upload_that_waits_for_its_verdict_does_not_give_way(tmp_path):
    """However many connections come while it waits."""
    waiting = GatedDetector()
    with (
        running_hook(tmp_path, detectors=[waiting], max_uploads=2) as hook,
        ThreadPoolExecutor(1) as pool,
        ExitStack() as closing,
    ):
        held = pool.submit(ask, hook.port, encode(gradient(seed=1), "png"))
        hook.wait_for_metric("queue_length", 1)
        for _ in range(2):
            for _ in range(PLACES):
                closing.enter_context(Connection(hook.port))
            settle()
        assert get(hook.port, "/health").status == 200
        waiting.gate.set()
        assert held.result().status == 200


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no other address of the loopback device than 127.0.0.1")
def test_strangers_fill_no_places_of_those_whose_networks_are_let_in(tmp_path):
    """Also not in the moment in which no connection counts as idle."""
    access = Access(networks=["127.0.0.1"])
    with running_hook(tmp_path, access=access, max_uploads=2) as hook, ExitStack() as closing:
        for _ in range(3 * PLACES):
            closing.enter_context(Connection(hook.port, caller="127.0.0.2"))
        assert hook.ask(CANARY).status == 406
        assert hook.ask(HARMLESS).status == 200
        assert hook.metric("uploads_open") == 0
        # Who is refused for its address still learns that, and may ask whether the service is up.
        settle()
        for request, status in (
            (head() + chunks(CANARY) + END, 403),
            (b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        ):
            with Connection(hook.port, caller="127.0.0.2") as stranger:
                stranger.send(request)
                assert stranger.answer().status == status


@pytest.mark.parametrize(
    ("peer", "networks", "proxies", "known"),
    [
        ("198.51.100.7", [], [], True),
        ("198.51.100.7", ["10.0.0.0/8"], [], False),
        ("10.1.2.3", ["10.0.0.0/8"], [], True),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], [], True),
        ("fe80::1%eth0", ["fe80::/10"], [], True),
        ("2001:db8::1", ["10.0.0.0/8"], [], False),
        ("172.17.0.1", ["10.0.0.0/8"], ["172.16.0.0/12"], True),
        (None, ["10.0.0.0/8"], [], False),
        (None, [], [], True),
    ],
)
def test_who_has_a_place_among_those_who_may_be_let_in(peer, networks, proxies, known):
    """Those in the networks, proxies that ask for them, and everybody where no networks are set."""
    assert Access(networks=networks, trusted_proxies=proxies).may_ask_from(peer) is known


class Caller:
    def __init__(self) -> None:
        self.open = True
        self.since: float | None = None

    def give_way(self) -> None:
        self.open = False


class PlacesModel(RuleBasedStateMachine):
    """Any order of coming, asking, being answered and leaving, with any pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.places = Places(3, clock=lambda: self.now)
        self.inside: list[Caller] = []

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def come(self):
        newcomer = Caller()
        newcomer.since = self.now
        full = len(self.inside) == 3
        idle = [one for one in self.inside if one.since is not None and self.now - one.since >= GRACE_S]
        longest = min(idle, key=lambda one: one.since, default=None)
        assert self.places.enter(newcomer) is (not full or longest is not None)
        if full and longest is None:
            return
        if full:
            closed = [one for one in self.inside if not one.open]
            assert len(closed) == 1
            assert closed[0].since == longest.since
            self.inside.remove(closed[0])
        self.inside.append(newcomer)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def ask(self, data):
        caller = data.draw(st.sampled_from(self.inside))
        self.places.becomes_busy(caller)
        caller.since = None

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def be_answered(self, data):
        caller = data.draw(st.sampled_from(self.inside))
        self.places.becomes_idle(caller)
        if caller.since is None:
            caller.since = self.now

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data):
        caller = data.draw(st.sampled_from(self.inside))
        self.inside.remove(caller)
        self.places.leave(caller)
        self.places.leave(caller)

    @invariant()
    def all_inside_are_open_and_counted(self):
        assert all(one.open for one in self.inside)
        assert len(self.places) == len(self.inside)


TestPlaces = PlacesModel.TestCase
