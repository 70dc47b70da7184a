"""Anyone who has a worker's key says to a relay whatever he likes: the relay answers 400 or 413, records nothing, and goes on."""

from __future__ import annotations

import copy
import http.client
import json
import random
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger.uploads import upload
from support.web.pictrs_safety import KEY, call
from support.web.relay import running_relay
from support.web.service import until

from lemmy_safety.relay import messages
from lemmy_safety.relay.bounded_json import MOST_JSON_BYTES, parse_json
from lemmy_safety.relay.protocol import BadMessage
from lemmy_safety.relay.server import routes
from lemmy_safety.relay.server.assignments import Assignments
from lemmy_safety.web import h11_guard
from lemmy_safety.web.h11_guard import GuardedProtocol

POP = "/api/v1/pop"
UNCHECKED = "/api/v1/unchecked"

LEARNED = {
    "status": "checked",
    "reason": "",
    "detectors": ["hashes"],
    "verdict": {
        "outcome": "flagged",
        "nsfw": None,
        "rules_version": "rules-1",
        "findings": [
            {
                "detector": "hashes",
                "version": "1",
                "label": "canary",
                "score": 1.0,
                "threshold": 1.0,
                "frame": 0,
                "view": "",
            }
        ],
    },
    "pdq": {"hex": "0f" * 32, "quality": 90},
    "info": {
        "media_type": "image/png",
        "width": 3,
        "height": 2,
        "frame_count": 1,
        "anomalies": [{"kind": "trailing_data", "detail": "9 bytes"}],
    },
}

#: A path into the message, and what stands there instead.
BAD = [
    (("reason",), "x" * 900_000),
    (("reason",), "\ud800"),
    (("detectors",), ["a" * 101]),
    (("detectors",), ["a"] * 51),
    (("detectors",), ["a,b"]),
    (("detectors",), "hashes"),
    (("status",), "c" * 900_000),
    (("status",), 5),
    (("verdict", "outcome"), "harmless"),
    (("verdict", "outcomes"), ["csam"]),
    (("verdict", "outcomes"), {"csam": "harmless"}),
    (("verdict", "outcomes"), {"csam": "clear"}),
    (("verdict", "outcomes"), {"csam": "flagged", "Ugly": "clear"}),
    (("verdict", "outcomes"), {"csam": "flagged", "d" * 33: "clear"}),
    (("verdict", "outcomes"), {f"domain{number}": "flagged" for number in range(33)}),
    (("verdict", "rules_version"), "r" * 201),
    (("verdict", "nsfw"), 1),
    (("verdict", "findings"), [LEARNED["verdict"]["findings"][0]] * 101),
    (("verdict", "findings"), {"0": 1}),
    (("verdict", "findings", 0, "label"), "l" * 900_000),
    (("verdict", "findings", 0, "detector"), "d" * 201),
    (("verdict", "findings", 0, "view"), None),
    (("verdict", "findings", 0, "score"), 1e300),
    (("verdict", "findings", 0, "score"), 10**18),
    (("verdict", "findings", 0, "score"), "1.0"),
    (("verdict", "findings", 0, "score"), True),
    (("verdict", "findings", 0, "threshold"), [1]),
    (("verdict", "findings", 0, "frame"), 2**31),
    (("verdict", "findings", 0, "frame"), -1),
    (("verdict", "findings", 0, "frame"), 0.5),
    (("pdq", "hex"), "0F" * 32),
    (("pdq", "hex"), "0f" * 32 + "\n"),
    (("pdq", "quality"), 101),
    (("info", "media_type"), "m" * 201),
    (("info", "width"), 2**63),
    (("info", "anomalies"), [{"kind": "trailing_data", "detail": ""}] * 101),
    (("info", "anomalies", 0, "detail"), "d" * 2001),
    (("info", "anomalies", 0, "kind"), "k" * 900_000),
]


def with_bad(path, value):
    message = copy.deepcopy(LEARNED)
    inside = message
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return message


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    with running_relay(tmp_path_factory.mktemp("relay")) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "value"), BAD, ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else ""
)
def test_a_field_out_of_its_bounds_is_not_recorded(relay, path, value):
    """Neither of something that the worker was handed, nor of something that was let in. No answer quotes it."""
    waiting = upload(f"{path}", at=datetime.now(UTC) - timedelta(hours=1))
    relay.ledger.uploads.record([waiting])
    body = {"judged": [{"sha256": waiting.sha256, "learned": with_bad(path, value)}]}
    reply = call(relay.port, "POST", UNCHECKED, body=body)
    assert reply.status == 400
    assert len(reply.body) < 200
    row = relay.ledger.uploads.get(waiting.sha256)
    assert row is not None
    assert (row.judged_at, row.assessment) == (None, None)


def test_a_bad_answer_about_a_medium_leaves_it_to_other_workers(relay):
    """The one who sent it is told so; pict-rs gets the answer of the next."""
    asked = relay.ask_later(b"a picture to judge")
    reply = call(relay.port, "GET", f"{POP}?wait=20", X_Lemmy_Safety_Worker="bad", X_Lemmy_Safety_Rules="r")
    name = reply.headers["content-disposition"].partition("filename=")[2]
    for path, value in BAD:
        body = {"image": name, "is_csam": False, "is_nsfw": False, "learned": with_bad(path, value)}
        assert call(relay.port, "POST", POP, body=body).status == 400
    good = {"image": name, "is_csam": True, "is_nsfw": True, "learned": LEARNED}
    assert call(relay.port, "POST", POP, body=good).status == 201
    assert asked.answer().status == 406


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"judged": [NaN]}',
        b'{"judged": [%s]}' % (b"1" * 5000),
        b'{"judged": [], "judged": []}',
        b'{"judged": [{"sha256": "\xff"}]}',
        b'{"judged": [' + b",".join([b"{}"] * 501) + b"]}",
        b'{"judged": 1}',
        b"",
        b"\x1f\x8b\x08\x00",
    ],
    ids=range(9),
)
@pytest.mark.parametrize("path", [POP, UNCHECKED])
def test_json_that_no_worker_sends_is_answered_400(relay, path, body):
    """Deep, huge, ambiguous, in another encoding, or of another shape."""
    assert call(relay.port, "POST", path, body=body).status == 400


def test_a_message_without_end_is_cut_off_at_the_limit(relay):
    """413 comes while the worker still sends."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=30)
    connection.putrequest("POST", UNCHECKED)
    for name, value in {"apikey": KEY, "Transfer-Encoding": "chunked"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    sent = 0
    try:
        while sent < 64 * MOST_JSON_BYTES:
            connection.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            sent += 65_536
    except OSError:
        pass  # it was hung up on
    assert sent < 32 * MOST_JSON_BYTES
    connection.close()
    assert call(relay.port, "GET", UNCHECKED).status == 200


def test_a_message_that_never_gets_done_is_given_up(relay, monkeypatch):
    """Connections are few, and each one that waits for a byte is one less for pict-rs."""
    monkeypatch.setattr(routes, "_MESSAGE_S", 0.3)
    head = f"POST {UNCHECKED} HTTP/1.1\r\nHost: relay\r\napikey: {KEY}\r\nContent-Length: 1000\r\n\r\n" + "{"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")


def test_a_worker_that_does_not_read_its_medium_is_hung_up_on(tmp_path, monkeypatch):
    """Otherwise each such question would keep a whole medium in memory, and a connection that pict-rs could have had."""
    monkeypatch.setattr(h11_guard, "_READ_S", 0.5)
    ends = GuardedProtocol.connection_lost
    ended = threading.Event()

    def note_end(connection, error):
        ends(connection, error)
        ended.set()

    medium = random.Random(7).randbytes(16_000_000)  # more than the kernel's buffers take
    with running_relay(tmp_path, max_bytes=len(medium)) as relay, socket.socket() as connection:
        asked = relay.ask_later(medium)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", relay.port))
        monkeypatch.setattr(GuardedProtocol, "connection_lost", note_end)
        connection.sendall(
            f"GET {POP}?wait=20 HTTP/1.1\r\nHost: relay\r\napikey: {KEY}\r\nX-Lemmy-Safety-Worker: deaf\r\n\r\n".encode()
        )
        assert ended.wait(20)
        assert len(all_that_comes(connection)) < len(medium)
        other = call(relay.port, "GET", f"{POP}?wait=20")
        name = other.headers["content-disposition"].partition("filename=")[2]
        assert other.body == medium
        assert call(relay.port, "POST", POP, body={"image": name, "is_csam": True, "is_nsfw": True}).status == 201
        assert asked.answer().status == 406


def all_that_comes(connection: socket.socket) -> bytes:
    got = bytearray()
    with suppress(OSError):
        while piece := connection.recv(1 << 20):
            got += piece
    return bytes(got)


@pytest.mark.parametrize(
    "after",
    [
        "0001-01-01T00:00:00%2B14:00," + "0" * 64,
        "9999-12-31T23:59:59-14:00," + "0" * 64,
        "2026-01-01T00:00:00," + "0" * 64,
        "2026-01-01T00:00:00%2B00:00," + "0" * 63,
        "2026" + "0" * 9000 + "," + "0" * 64,
        ",",
        "",
    ],
)
def test_a_place_that_is_in_no_list_is_answered_400(relay, after):
    """Times at the ends of the calendar cannot be converted by any database."""
    assert call(relay.port, "GET", f"{UNCHECKED}?after={after}").status == 400


def test_names_made_up_without_end_use_no_memory():
    """From a number of names on the others are served as workers without one."""
    assignments = Assignments(budget_s=8.0, now=0.0)
    names = {assignments.name_of(f"w{number}") for number in range(10)}
    assert len(names) == 10
    for number in range(5000):
        name = assignments.name_of(f"w{number}")
        assignments.note_poll(name, f"rules-{number}", 1.0)
        assignments.note_poll_ended(name, 1.0)
    assert len(assignments.rules(1.0)) <= 257
    assert assignments.name_of("w0") == "w0"
    assert assignments.name_of("new") == ""


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x" * 5000, "\ud800", [[[]]], {}, ["a"] * 1000, "0001-01-01T00:00:00+00:00"])
)


def outcome_of(read, message):
    """What was read, or why it was not."""
    try:
        return read(message), ""
    except BadMessage as error:
        return None, str(error)


def judged_now(message):
    ((_, judged),) = messages.decode_judged_page({"judged": [{"sha256": "ab" * 32, "learned": message}]})
    return judged


@given(st.data())
def test_what_is_taken_is_always_small_and_can_be_written(data):
    """Whatever stands in the place of whatever field: BadMessage, or something that every database takes."""
    message = copy.deepcopy(LEARNED)
    for _ in range(data.draw(st.integers(1, 3))):
        inside = message
        while True:
            key = data.draw(st.sampled_from(sorted(inside)) if isinstance(inside, dict) else st.just(0))
            deeper = inside[key]
            if not deeper or not isinstance(deeper, (dict, list)) or data.draw(st.booleans()):
                inside[key] = data.draw(LEAVES)
                break
            inside = deeper
    said, refusal = outcome_of(judged_now, message)
    assert len(refusal) < 200
    if said is None:
        return
    assert len(repr(said)) < 300_000
    repr(said).encode()
    for finding in said.verdict.findings if said.verdict else ():
        assert abs(finding.score) <= 1e9


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=9))
def test_json_of_ours_is_read_as_it_was_written(value):
    """The bounds are in no honest message's way: what Python writes strictly is read back the same, or is out of bounds."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return
    said, refusal = outcome_of(parse_json, text.encode())
    assert "digits" in refusal or said == json.loads(text)


def test_the_relay_lives_on(relay):
    """After all of this module."""
    assert relay.ended_with == []
    assert threading.active_count() < 60
    until(lambda: call(relay.port, "GET", "/health").status == 200, "an answer")
