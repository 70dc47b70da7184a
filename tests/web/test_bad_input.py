"""Requests that are no upload to decide on: each gets its status, nothing is recorded, and the service goes on."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.media.pictures import encode, gradient, photo, png_bomb
from support.web.hook import MAX_BYTES, running_hook
from support.web.pictrs_client import END, Connection, ask, chunks, get, head
from support.web.stand_ins import GatedDetector

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.canary import canary_png

CANARY = canary_png()
HARMLESS = encode(photo(), "jpeg")


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    with running_hook(tmp_path_factory.mktemp("hook"), body_timeout_s=1.5, head_timeout_s=1.0) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_trace_and_still_alive(hook, caplog):
    """Whatever was sent: no stack trace in the log, nothing left in memory, and the next upload is decided on."""
    with caplog.at_level(logging.WARNING):
        yield
    assert hook.ask(CANARY).status == 406
    assert hook.metric("held_bytes") == 0
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
    assert hook.ledger.maintenance.stats().uploads.keys() <= {"refused", "accepted", "unchecked"}


def raw(port: int, *parts: bytes):
    with Connection(port) as connection:
        for part in parts:
            connection.send(part)
        return connection.answer()


WHOLE = chunks(CANARY) + END

#: What is sent, and the status of the answer.
TABLE = {
    "empty chunked body": (head() + END, 400),
    "no body at all": (b"POST /validate HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    "over the limit, chunked": (head() + chunks(bytes(MAX_BYTES + 1)) + END, 413),
    "over the limit, announced": (b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999\r\n\r\n", 413),
    "wrong method": (head(method="GET") + WHOLE, 405),
    "DELETE": (head(method="DELETE") + WHOLE, 405),
    "TRACE": (head(method="TRACE") + WHOLE, 405),
    "OPTIONS": (head(method="OPTIONS") + WHOLE, 405),
    "unknown method": (head(method="WHATEVER") + WHOLE, 405),
    "unknown path": (head("/no/such/path") + WHOLE, 404),
    "path above the root": (head("/validate/../../etc/passwd") + WHOLE, 404),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400),
    "faulty chunk": (head() + b"zz\r\nnot hex\r\n", 400),
    "negative length": (b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    "two lengths": (b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
    "length and chunks": (head(content_length=str(len(WHOLE))) + WHOLE, 400),
    "chunks twice": (head(transfer_encoding="chunked") + WHOLE, 400),
    "chunks in disguise": (b"POST /validate HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n" + WHOLE, 400),
    "another coding": (b"POST /validate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + WHOLE, 400),
    "endless chunk size": (head() + b"F" * 70_000, 400),
    "no host": (b"POST /validate HTTP/1.1\r\ncontent-length: 1\r\n\r\na", 400),
    "head over the limit": (head(x_long="x" * 20_000) + WHOLE, 431),
    "endless head": (b"POST /validate HTTP/1.1\r\nx-long: " + b"x" * 300_000, 400),
    "many headers": (head(**{f"x_{number}": "y" * 20 for number in range(1000)}) + WHOLE, 431),
}


@pytest.mark.parametrize("case", TABLE)
def test_status_of_bad_requests(hook, case):
    """Each kind of bad request gets the status that fits it."""
    sent, status = TABLE[case]
    answer = raw(hook.port, sent)
    assert answer.status == status
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    "media_type", ["", "image/png; charset=binary", "application/json", "x" * 5000, "multipart/form-data", "ima ge/png"]
)
def test_media_type_is_not_believed(hook, media_type):
    """Whatever a Content-Type claims, the bytes decide."""
    assert hook.ask(CANARY, media_type=media_type).status == 406


def test_content_length_instead_of_chunks(hook):
    """A client that knows the length in advance is served as well."""
    length = f"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {len(CANARY)}\r\n\r\n".encode()
    assert raw(hook.port, length + CANARY).status == 406


def test_extensions_and_trailers_of_chunks_are_passed_over(hook):
    """What a chunked body may carry besides its bytes changes nothing."""
    size = f"{len(CANARY):x}".encode()
    assert raw(hook.port, head() + size + b';a=b;c="d e"\r\n' + CANARY + b"\r\n0;x=y\r\n\r\n").status == 406
    assert raw(hook.port, head() + chunks(CANARY) + b"0\r\nx-sum: 1\r\n\r\n").status == 406


def test_what_has_two_lengths_is_the_last_request_of_its_connection(hook):
    """No second request is read out of a body whose end is a matter of opinion (request smuggling)."""
    with Connection(hook.port) as connection:
        connection.send(head(content_length="4") + WHOLE + head() + WHOLE)
        assert connection.answer().status == 400
        assert connection.is_closed()


def test_length_that_is_not_what_comes(hook):
    """A body shorter than it was announced is cut off, one that is longer ends where it was announced."""
    length = f"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {len(CANARY) + 10}\r\n\r\n".encode()
    with Connection(hook.port) as connection:
        connection.send(length + CANARY)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.answer().status == 400
    with Connection(hook.port) as connection:
        connection.send(b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nno picture\r\n\r\n")
        assert connection.answer().status == 200
        assert connection.answer().status == 400
        assert connection.is_closed()


def test_expect_continue(hook):
    """A client that asks first whether to send its body is told to go on."""
    with Connection(hook.port) as connection:
        connection.send(head(expect="100-continue"))
        assert connection.answer().status == 100
        connection.send(WHOLE)
        assert connection.answer().status == 406


def test_chunks_of_one_byte(hook):
    """How a body is cut into chunks makes no difference."""
    assert raw(hook.port, head() + chunks(CANARY, 1) + END).status == 406


def test_pixel_bomb_follows_the_setting(hook):
    """A file that would unpack to gigabytes is not unpacked; there is no verdict, so the setting decides."""
    assert hook.ask(png_bomb()).status == 200
    assert hook.metric('unchecked_total{cause="too_large"}') == 1


def test_cut_off_body(hook):
    """A body that ends too early is 400 for anyone who still listens, and nothing is decided."""
    answers = hook.metric('answers_total{answer="refused"}')
    with Connection(hook.port) as connection:
        connection.send(head() + chunks(CANARY)[:1000])
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.answer().status == 400
    with Connection(hook.port) as connection:
        connection.send(head() + chunks(CANARY)[:1000])
    assert hook.metric('answers_total{answer="refused"}') == answers


def test_half_closed_connection_is_answered(hook):
    """Who has sent everything and closes its side still gets the answer, also with Connection: close."""
    for more in ({}, {"connection": "close"}):
        with Connection(hook.port) as connection:
            connection.send(head(**more) + WHOLE)
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.answer().status == 406


def test_slow_body_is_given_up(hook):
    """A body that does not come within its time is 408, however its bytes trickle in."""
    with Connection(hook.port) as connection:
        connection.send(head())
        trickle = chunks(CANARY, 1)
        pause = threading.Event()
        for start in range(0, 600, 6):
            try:
                connection.send(trickle[start : start + 6])
            except OSError:
                break
            pause.wait(0.05)
        assert connection.answer().status == 408
        assert connection.is_closed()


@pytest.mark.parametrize("begin", [b"", b"POST", b"POST /validate HTTP/1.1\r\nhost: x\r\nx-slow: "])
def test_slow_head_is_given_up(hook, begin):
    """A connection that does not bring a whole head within its time is 408, however its bytes trickle in (slow loris)."""
    with Connection(hook.port) as connection:
        pause = threading.Event()
        connection.send(begin)
        for _ in range(40 if begin else 0):
            try:
                connection.send(b"y")
            except OSError:
                break
            pause.wait(0.05)
        assert connection.answer().status == 408
        assert connection.is_closed()


def test_slow_second_head_is_given_up(hook):
    """The clock runs for every head of a connection, not for the first one only."""
    with Connection(hook.port) as connection:
        connection.send(head() + WHOLE)
        assert connection.answer().status == 406
        connection.send(b"POST /validate HTTP/1.1\r\nho")
        assert connection.answer().status == 408


def test_slow_loris_does_not_keep_others_out(hook):
    """While a hundred connections trickle, uploads are decided on."""
    slow = [Connection(hook.port) for _ in range(100)]
    try:
        for connection in slow:
            connection.send(b"POST /validate HTTP/1.1\r\nx: ")
        assert hook.ask(CANARY).status == 406
        assert {connection.answer().status for connection in slow} == {408}
    finally:
        for connection in slow:
            connection.socket.close()


def test_pipelined_requests_are_answered_in_order(hook):
    """Requests sent ahead of their answers get one each, in their order, on one connection."""
    with Connection(hook.port) as connection:
        harmless = head() + chunks(HARMLESS) + END
        canary = head() + WHOLE
        connection.send(harmless + canary + harmless + head() + END + canary)
        assert [connection.answer().status for _ in range(5)] == [200, 406, 200, 400, 406]


def test_junk_after_a_request(hook):
    """Bytes behind a whole request cost the connection, not the answer."""
    with Connection(hook.port) as connection:
        connection.send(head() + WHOLE + b"\x00\x01junk\r\n\r\n")
        assert connection.answer().status == 406
        assert connection.answer().status == 400
        assert connection.is_closed()


def test_early_answer_reaches_who_is_still_sending(hook):
    """An answer that needs no body is seen by a client in the middle of sending one."""
    with Connection(hook.port) as connection:
        connection.send(head("/no/such/path") + chunks(bytes(100_000)))
        assert connection.answer().status == 404


@pytest.fixture
def many_files():
    """Let this process have both ends of a thousand connections; macOS allows 256 files by default."""
    try:
        import resource  # noqa: PLC0415 - POSIX only; Windows has no such limit
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousand_at_once(tmp_path, many_files):
    """Of a thousand concurrent uploads each is decided on or told to come again, in bounded memory."""
    pictures = [encode(gradient(64, 48, seed=number), "png") for number in range(10)]
    start = threading.Barrier(50)

    def twenty(worker: int) -> list[tuple[int, str]]:
        connections = [Connection(busy.port) for _ in range(20)]
        start.wait()
        got = []
        for number, connection in enumerate(connections):
            with contextlib.suppress(OSError):  # turned away before it has said anything
                connection.send(head() + chunks(pictures[(worker + number) % 10]) + END)
        for connection in connections:
            with connection:
                answer = connection.answer()
                got.append((answer.status, answer.headers.get("retry-after", "")))
        return got

    with (
        running_hook(tmp_path, max_uploads=40, queue=20, memory_bytes=200_000) as busy,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = [answer for got in pool.map(twenty, range(50)) for answer in got]
        assert len(answers) == 1000
        assert set(answers) <= {(200, ""), (503, "5")}
        assert (200, "") in answers
        assert busy.ask(CANARY).status == 406
        assert busy.metric("held_bytes") == 0


def test_bodies_share_bounded_memory(tmp_path):
    """Large bodies that come together wait for each other instead of filling memory; all of them are decided on."""
    waiting = GatedDetector()
    waiting.gate.set()
    data = [encode(photo("astronaut"), "png", compress_level=0) + bytes([number]) for number in range(8)]
    largest = max(len(some) for some in data)
    with (
        running_hook(tmp_path, detectors=[waiting], memory_bytes=largest, body_timeout_s=20) as hook,
        ThreadPoolExecutor(8) as pool,
    ):
        assert {answer.status for answer in pool.map(hook.ask, data)} == {200}
        assert hook.metric("held_bytes") == 0


def test_who_is_not_let_in_takes_no_place(tmp_path):
    """Strangers who are slow to take their 401 in do not keep uploads out."""
    access = Access(secrets=["an-example-of-a-secret"])
    with running_hook(tmp_path, access=access, max_uploads=2) as hook:
        strangers = [Connection(hook.port) for _ in range(10)]
        for stranger in strangers:
            stranger.send(head("/validate/wrong") + b"5\r\nhello\r\n")
        answer = hook.ask(CANARY, "/validate/an-example-of-a-secret")
        assert answer.status == 406
        assert {stranger.answer().status for stranger in strangers} == {401}
        for stranger in strangers:
            stranger.socket.close()


def test_too_many_requests_are_told_to_come_again(tmp_path):
    """Beyond the limit of concurrent uploads the answer is 503 with Retry-After, and questions are still answered."""
    waiting = GatedDetector()
    with (
        running_hook(tmp_path, detectors=[waiting], max_uploads=2) as hook,
        ThreadPoolExecutor(2) as pool,
    ):
        held = [pool.submit(ask, hook.port, encode(gradient(seed=number), "png")) for number in range(2)]
        hook.wait_for_metric("queue_length", 2)
        busy = hook.ask(CANARY)
        assert (busy.status, busy.headers["retry-after"]) == (503, "5")
        assert get(hook.port, "/health").status == 200
        waiting.gate.set()
        assert {answer.result().status for answer in held} == {200}
