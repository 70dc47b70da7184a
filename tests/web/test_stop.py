"""The end of the service: asked to stop it is over within seconds, and anyone who waits gets an answer."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.media.pictures import encode, gradient
from support.web.hook import running_hook
from support.web.pictrs_client import END, Connection, chunks, get, head
from support.web.stand_ins import GatedDetector

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import SettingsError
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.web.server import ServerOptions, serve

CANARY = canary_png()
BODY = BodyLimits(max_bytes=1000, memory_bytes=1000, timeout_s=1)


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_waiting_uploads_are_answered_at_a_stop(tmp_path, accept, status):
    """A stop does not wait for a verdict that does not come: the setting answers, and the record is on disk."""
    stuck = GatedDetector()
    with (
        running_hook(tmp_path, detectors=[stuck], accept_unchecked=accept) as hook,
        ThreadPoolExecutor(5) as pool,
    ):
        waiting = [pool.submit(hook.ask, encode(gradient(seed=number), "png")) for number in range(5)]
        hook.wait_for_metric("queue_length", 5)
        hook.end()
        assert {answer.result().status for answer in waiting} == {status}
        assert hook.ledger.uploads.count_unchecked() == (5 if accept else 0)
        assert hook.ended_with == []
        stuck.gate.set()


def test_verdicts_on_their_way_are_waited_for(tmp_path):
    """An upload whose verdict comes shortly after the stop is answered by it."""
    slow = GatedDetector()
    with running_hook(tmp_path, detectors=[slow]) as hook, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hook.ask, CANARY)
        assert slow.entered.wait(20)
        hook.stop.set()
        slow.gate.set()
        assert waiting.result().status == 406
        hook.end()


def test_idle_and_half_received_connections_end(tmp_path):
    """Connections that are kept alive, or in the middle of a head or a body, do not hold up the end."""
    with running_hook(tmp_path) as hook:
        idle, in_head, in_body = Connection(hook.port), Connection(hook.port), Connection(hook.port)
        idle.send(head() + chunks(CANARY) + END)
        assert idle.answer().status == 406
        in_head.send(b"POST /validate HTTP/1.1\r\nho")
        in_body.send(head() + chunks(CANARY)[:500])
        hook.wait_for_metric("uploads_open", 1)
        hook.end()
        assert in_body.answer().status == 503
        assert idle.is_closed()
        assert in_head.is_closed()
        for connection in (idle, in_head, in_body):
            connection.socket.close()


def test_stop_while_the_model_loads(tmp_path):
    """Models that are still being loaded do not hold up the end."""
    loading = GatedDetector()
    loading.ready_to_open.clear()
    with running_hook(tmp_path, detectors=[loading], wait_until_ready=False) as hook:
        assert get(hook.port, "/health").status == 200
        hook.end()
        assert hook.ended_with == []
    loading.ready_to_open.set()


def test_port_that_is_taken_is_an_error_of_ours(tmp_path):
    """A port that another program has is named with the way out, before any model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ServerOptions(host="127.0.0.1", port=port, budget_s=1, max_uploads=1, body=BODY)
        with pytest.raises(SettingsError, match=f"Cannot listen on 127.0.0.1 port {port}") as caught:
            serve(make_engine=never, ledger=None, access=Access(), options=options, stop=threading.Event())
        assert "another port" in caught.value.hint


def test_public_address_without_a_secret_is_not_served():
    """The service itself refuses to listen where others can reach it without a secret."""
    options = ServerOptions(host="0.0.0.0", port=0, budget_s=1, max_uploads=1, body=BODY)  # noqa: S104
    with pytest.raises(SettingsError, match="without a secret"):
        serve(make_engine=never, ledger=None, access=Access(), options=options, stop=threading.Event())


def test_unknown_address_is_an_error_of_ours():
    """A host that this machine does not have is named."""
    options = ServerOptions(host="192.0.2.1", port=0, budget_s=1, max_uploads=1, body=BODY)
    with pytest.raises(SettingsError, match=r"Cannot listen on 192\.0\.2\.1"):
        serve(
            make_engine=never,
            ledger=None,
            access=Access(secrets=["long-enough-to-be-a-secret"]),
            options=options,
            stop=threading.Event(),
        )


def never(_meters):
    raise AssertionError("no engine is made for a service that cannot listen")
