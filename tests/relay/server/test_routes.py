"""A relay from outside: pict-rs asks, workers of the ancestor's kind and of ours answer, and what else may come."""

from __future__ import annotations

import threading

import pytest
from support.ledger.created import new_ledger
from support.web.pictrs_client import get
from support.web.pictrs_safety import KEY, AncestorWorker, call
from support.web.relay import running_relay
from support.web.service import until

from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import UploadAnswer
from lemmy_safety.records import ItemStatus, Outcome, Review

POP = "/api/v1/pop"
UNCHECKED = "/api/v1/unchecked"
OURS = {"X_Lemmy_Safety_Worker": "worker-1", "X_Lemmy_Safety_Rules": "rules-1"}


def learned(outcome="clear", **more):
    """What our worker says of a medium that it could judge."""
    findings = [
        {
            "detector": "hashes",
            "version": "1",
            "label": "canary",
            "score": 1.0,
            "threshold": 1.0,
            "frame": 0,
            "view": "",
        }
    ]
    fields = {
        "status": "checked",
        "reason": "",
        "detectors": ["hashes"],
        "verdict": {
            "outcome": outcome,
            "nsfw": None,
            "rules_version": "rules-1",
            "findings": findings if outcome == "flagged" else [],
        },
        "pdq": {"hex": "0f" * 32, "quality": 90},
        "info": {"media_type": "image/png", "width": 3, "height": 2, "frame_count": 1, "anomalies": []},
    }
    return {**fields, **more}


def pop(relay, wait="20", **headers):
    """Take something as our worker does, waiting for it."""
    reply = call(relay.port, "GET", f"{POP}?wait={wait}", **{**OURS, **headers})
    assert reply.status == 200, reply
    return reply.headers["content-disposition"].partition("filename=")[2], reply.body


def tell(relay, name, *, refuse=False, said=None, **headers):
    body = {
        "image": name,
        "is_csam": refuse,
        "is_nsfw": refuse,
        "learned": said or learned("flagged" if refuse else "clear"),
    }
    return call(relay.port, "POST", POP, body=body, **{**OURS, **headers})


@pytest.fixture
def relay(tmp_path):
    with running_relay(tmp_path) as running:
        yield running


def unchecked(relay, query=""):
    reply = call(relay.port, "GET", f"{UNCHECKED}{query}")
    assert reply.status == 200, reply
    return reply.json["uploads"]


@pytest.mark.parametrize("path", ["/validate", "/api/v1/scan/IPADDR"])
@pytest.mark.parametrize(("csam", "status"), [(False, 200), (True, 406)])
def test_a_worker_of_the_ancestors_kind_answers_for_us(relay, path, csam, status) -> None:
    """It gets the very bytes, at once and without a word of our additions, and its yes or no is what pict-rs gets."""
    worker = AncestorWorker(relay.port)
    assert worker.pop() is None
    asked = relay.ask_later(b"some picture", path=path, media_type="image/webp")
    name, data = worker.pop_soon()
    assert (data, name.endswith(".webp")) == (b"some picture", True)
    assert worker.tell(name, csam=csam).json["message"] == "OK"
    assert asked.answer().status == status
    row = relay.recorded(data)
    assert row.assessment.verdict.outcome is (Outcome.FLAGGED if csam else Outcome.CLEAR)
    assert row.answer is (UploadAnswer.REFUSED if csam else UploadAnswer.ACCEPTED)


def test_a_worker_of_ours_waits_for_work_and_says_what_it_found(relay) -> None:
    """A question that is open when an upload comes is answered with it; what was found is on record here as well."""
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(pop(relay)))
    waiting.start()
    asked = relay.ask_later(b"one")
    waiting.join(20)
    ((name, data),) = taken
    reply = tell(relay, name, refuse=True)
    assert (reply.status, reply.json) == (201, {"message": "OK", "late": False})
    assert reply.headers["x-lemmy-safety-relay"] == "1"
    assert (asked.answer().status, asked.answer().body) == (406, b"refused")
    row = relay.recorded(data)
    assert (row.assessment.verdict.outcome, row.assessment.verdict.rules_version, row.assessment.detectors) == (
        Outcome.FLAGGED,
        "rules-1",
        frozenset({"hashes"}),
    )
    assert [finding.label for finding in row.assessment.verdict.findings] == ["canary"]
    assert (row.assessment.info.width, row.assessment.pdq.quality) == (3, 90)


def test_what_a_human_cleared_at_the_workers_side_is_accepted(relay) -> None:
    """The verdict stays what it is; only the answer is another one."""
    asked = relay.ask_later(b"one")
    name, data = pop(relay)
    tell(relay, name, refuse=False, said=learned("flagged"))
    assert asked.answer().status == 200
    row = relay.recorded(data)
    assert (row.assessment.verdict.outcome, row.answer) == (Outcome.FLAGGED, UploadAnswer.ACCEPTED)


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
@pytest.mark.parametrize("said", ["unreadable", "detector_failed", "too_large"])
def test_without_a_verdict_the_relays_own_setting_decides(tmp_path, accept, status, said) -> None:
    """Whatever the worker thinks of it."""
    with running_relay(tmp_path, accept_unchecked=accept) as relay:
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        tell(relay, name, refuse=accept, said=learned(status=said, verdict=None, reason="no picture in it"))
        assert asked.answer().status == status
        row = relay.recorded(b"one", verdict=False)
        assert (row.assessment.status, row.assessment.verdict) == (ItemStatus(said), None)
        assert "no picture in it" in row.reason


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_what_nobody_answers_in_time_follows_the_setting_and_is_on_record(tmp_path, accept, status) -> None:
    """A verdict that comes late clears the list; its worker is told that it was late."""
    with running_relay(tmp_path, accept_unchecked=accept, budget_s=1.5) as relay:
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        assert asked.answer().status == status
        assert relay.ledger.uploads.count_unchecked() == int(accept)
        until(lambda: relay.metric("held_bytes") == 0, "the end of the bytes")
        assert tell(relay, name, refuse=True).json == {"message": "OK", "late": True}
        assert relay.recorded(b"one").assessment.verdict.outcome is Outcome.FLAGGED
        assert relay.ledger.uploads.count_unchecked() == 0
        assert tell(relay, name).status == 404


def test_an_upload_that_nobody_took_is_forgotten_with_its_answer(tmp_path) -> None:
    """No worker gets it afterwards."""
    with running_relay(tmp_path, budget_s=0.3) as relay:
        assert relay.ask(b"one").status == 200
        until(lambda: relay.metric("queue_length") == 0, "the end of the upload")
        assert relay.metric("held_bytes") == 0
        assert AncestorWorker(relay.port).pop() is None


def test_what_a_vanished_worker_had_taken_goes_to_the_next(relay, monkeypatch) -> None:
    """It was heard of a moment ago and holds no question open any more."""
    monkeypatch.setattr("lemmy_safety.relay.server.assignments.LEASE_S", 0.2)
    monkeypatch.setattr("lemmy_safety.relay.server.judging.LEASE_S", 0.2)
    asked = relay.ask_later(b"one")
    first, _ = pop(relay, X_Lemmy_Safety_Worker="doomed")
    second, data = pop(relay, X_Lemmy_Safety_Worker="heir")
    assert (first, data) == (second, b"one")
    tell(relay, second)
    assert asked.answer().status == 200


def test_two_workers_get_different_uploads(relay) -> None:
    """What one works on is not given to another one."""
    asked = [relay.ask_later(data) for data in (b"one", b"two")]
    first, _ = pop(relay, X_Lemmy_Safety_Worker="a")
    second, _ = pop(relay, X_Lemmy_Safety_Worker="b")
    assert first != second
    assert AncestorWorker(relay.port).pop() is None
    for name in (first, second):
        tell(relay, name)
    assert [one.answer().status for one in asked] == [200, 200]


def test_a_question_whose_worker_hung_up_takes_nothing_with_it(relay) -> None:
    """The upload that comes next goes to someone who is there."""
    from http.client import HTTPConnection  # noqa: PLC0415

    for _ in range(3):
        connection = HTTPConnection("127.0.0.1", relay.port)
        connection.request("GET", f"{POP}?wait=20", headers={"apikey": KEY, "X-Lemmy-Safety-Worker": "gone"})
        connection.close()
    asked = relay.ask_later(b"one")
    name, _ = pop(relay)
    tell(relay, name)
    assert asked.answer().status == 200


def test_known_bytes_are_answered_without_a_worker(relay, tmp_path) -> None:
    """Also after a restart, since verdicts are on disk; two who ask at once are one question."""
    asked = [relay.ask_later(b"one") for _ in range(2)]
    until(lambda: relay.metric("joined_total") == 1, "the second question")
    name, _ = pop(relay)
    tell(relay, name)
    assert [one.answer().status for one in asked] == [200, 200]
    relay.recorded(b"one")
    assert relay.ask(b"one").status == 200
    assert relay.metric("reused_verdicts_total") == 1
    relay.end()
    with running_relay(tmp_path) as again:
        assert again.ask(b"one").status == 200
        assert AncestorWorker(again.port).pop() is None


def test_a_verdict_by_other_rules_is_asked_again_where_a_worker_is(relay) -> None:
    """The new one replaces it."""
    asked = relay.ask_later(b"one")
    name, _ = pop(relay)
    tell(relay, name)
    assert asked.answer().status == 200
    assert (
        call(
            relay.port, "GET", POP, **{**OURS, "X_Lemmy_Safety_Worker": "new", "X_Lemmy_Safety_Rules": "rules-2"}
        ).status
        == 204
    )
    # The worker of the first rules is still taken to be there, so that its verdicts hold.
    assert relay.ask(b"one").status == 200


def test_flagged_bytes_are_asked_again_and_refused_when_nobody_answers(tmp_path) -> None:
    """A human may have cleared them where the worker is; without word of that they stay refused, whatever the setting."""
    with running_relay(tmp_path, budget_s=4.0) as relay:
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        tell(relay, name, refuse=True)
        assert asked.answer().status == 406
        relay.recorded(b"one")
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        assert asked.answer().status == 406
        assert relay.ledger.uploads.count_unchecked() == 0
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        tell(relay, name, refuse=False, said=learned("flagged"))
        assert asked.answer().status == 200


def test_flagged_bytes_stay_refused_when_a_worker_cannot_judge_them_again(relay) -> None:
    """Its graphics card was lost in between; that lets nothing in."""
    for said in (learned("flagged"), learned(status="detector_failed", verdict=None, reason="device lost")):
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        tell(relay, name, refuse=True, said=said)
        assert asked.answer().status == 406
        relay.recorded(b"one")
    assert relay.ledger.uploads.count_unchecked() == 0


def test_a_worker_with_other_detectors_clears_no_flag(relay) -> None:
    """One with a hash list flagged it, one without finds nothing; the first one's detectors can, when they look again."""
    answers = [
        (learned("flagged"), True, 406),
        (learned("clear", detectors=["clip"]), False, 406),
        (learned("clear", detectors=["clip", "hashes"]), False, 200),
    ]
    for said, refuse, status in answers:
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        tell(relay, name, refuse=refuse, said=said)
        assert asked.answer().status == status
        relay.recorded(b"one")


def test_what_a_dead_worker_holds_takes_no_place_in_the_queue(tmp_path) -> None:
    """It may still say a word about it, but no one waits, and the bytes are gone."""
    with running_relay(tmp_path, budget_s=1.0, queue=1) as relay:
        asked = relay.ask_later(b"one")
        pop(relay)
        assert asked.answer().status == 200
        until(lambda: relay.metric("held_bytes") == 0, "the end of the bytes")
        asked = relay.ask_later(b"two")
        name, _ = pop(relay)
        tell(relay, name)
        assert asked.answer().status == 200
        assert relay.metric('unchecked_total{cause="queue_full"}') == 0


def test_flagged_bytes_that_were_cleared_at_the_relay_are_let_in(relay) -> None:
    """Whatever the worker says, which does not know of that."""
    asked = relay.ask_later(b"one")
    name, _ = pop(relay)
    tell(relay, name, refuse=True)
    assert asked.answer().status == 406
    relay.recorded(b"one")
    assert relay.ledger.reviews.decide([sha256_of(b"one")[:16]], Review.CLEARED).unknown == ()
    asked = relay.ask_later(b"one")
    name, _ = pop(relay)
    tell(relay, name, refuse=True)
    assert asked.answer().status == 200


@pytest.mark.parametrize("known", [False, True])
def test_where_no_worker_has_been_for_long_nobody_is_kept_waiting(tmp_path, monkeypatch, known) -> None:
    """What is known to be flagged is refused all the same."""
    with running_relay(tmp_path) as relay:
        if known:
            asked = relay.ask_later(b"one")
            name, _ = pop(relay)
            tell(relay, name, refuse=True)
            assert asked.answer().status == 406
            relay.recorded(b"one")
        monkeypatch.setattr("lemmy_safety.relay.server.assignments.ABSENT_AFTER_S", 0.0)
        assert get(relay.port, "/ready").status == 503
        assert relay.ask(b"one").status == (406 if known else 200)
        assert relay.metric('unchecked_total{cause="no_worker"}') == int(not known)
        assert relay.ledger.uploads.count_unchecked() == int(not known)


def test_beyond_the_queue_the_setting_decides(tmp_path) -> None:
    """What is held is bounded by number as well."""
    with running_relay(tmp_path, queue=1) as relay:
        first = relay.ask_later(b"one")
        until(lambda: relay.metric("queue_length") == 1, "the first upload")
        assert relay.ask(b"two").status == 200
        assert relay.metric('unchecked_total{cause="queue_full"}') == 1
        name, _ = pop(relay)
        tell(relay, name)
        assert first.answer().status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [POP, UNCHECKED])
@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY[:-1]])
def test_without_the_key_nothing_is_given_or_taken(relay, method, path, key) -> None:
    """And that is said in JSON, which the ancestor's worker reads."""
    reply = call(relay.port, method, path, key=key, body={} if method == "POST" else None)
    assert (reply.status, reply.json) == (403, {"message": "Access Denied"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[" * 100_000,
        [],
        {},
        {"image": "a"},
        {"image": 1, "is_csam": False, "is_nsfw": False},
        {"image": "NAME", "is_csam": "false", "is_nsfw": False},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": []},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": learned(status="gone", verdict=None)},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": learned(status="nonsense")},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": learned(verdict=None)},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": learned(detectors=["a,b"])},
        {"image": "NAME", "is_csam": False, "is_nsfw": False, "learned": learned(info={"width": -1})},
    ],
)
def test_nonsense_from_a_worker_is_400_and_decides_nothing(relay, body) -> None:
    """The upload waits on for someone who makes sense."""
    asked = relay.ask_later(b"one")
    name, _ = pop(relay)
    if isinstance(body, dict) and body.get("image") == "NAME":
        body = {**body, "image": name}
    assert call(relay.port, "POST", POP, body=body).status == 400
    tell(relay, name)
    assert asked.answer().status == 200


def test_other_bad_messages_get_the_right_status(relay) -> None:
    """Too long, no one's, and lists that are none."""
    assert call(relay.port, "POST", POP, body=b"x" * 1_100_000).status == 413
    reply = call(relay.port, "POST", POP, body={"image": "nobodys.png", "is_csam": True, "is_nsfw": True})
    assert (reply.status, "message" in reply.json) == (404, True)
    assert call(relay.port, "POST", UNCHECKED, body={"judged": {}}).status == 400
    assert call(relay.port, "POST", UNCHECKED, body={"judged": [{"sha256": "x"}]}).status == 400
    assert call(relay.port, "GET", f"{UNCHECKED}?after=yesterday").status == 400
    assert call(relay.port, "DELETE", POP).status == 405
    assert call(relay.port, "GET", f"{POP}?wait=nonsense").status == 204
    assert call(relay.port, "GET", f"{POP}?wait=-inf").status == 204


def test_what_was_let_in_unchecked_is_listed_and_settled_by_workers(tmp_path) -> None:
    """Page by page; what became of it is on record, and what was never let in is not invented."""
    with running_relay(tmp_path, budget_s=0.1) as relay:
        for data in (b"one", b"two", b"three"):
            assert relay.ask(data).status == 200
        listed = unchecked(relay)
        assert {entry["sha256"] for entry in listed} == {sha256_of(data) for data in (b"one", b"two", b"three")}
        assert all(entry["size"] for entry in listed)
        place = f"{listed[0]['at']},{listed[0]['sha256']}".replace("+", "%2B")
        assert unchecked(relay, f"?after={place}") == listed[1:]
        judged = [
            {"sha256": sha256_of(b"one"), "learned": learned("flagged")},
            {"sha256": sha256_of(b"two"), "learned": learned(status="gone", verdict=None)},
            {"sha256": sha256_of(b"never"), "learned": learned()},
        ]
        assert call(relay.port, "POST", UNCHECKED, body={"judged": judged}).status == 200
        assert [entry["sha256"] for entry in unchecked(relay)] == [sha256_of(b"three")]
        assert relay.ledger.uploads.get(sha256_of(b"one")).assessment.verdict.outcome is Outcome.FLAGGED
        assert relay.ledger.uploads.get(sha256_of(b"one")).answer is UploadAnswer.UNCHECKED
        assert relay.ledger.uploads.get(sha256_of(b"never")) is None


def test_a_relay_that_stops_answers_everybody(tmp_path) -> None:
    """Pict-rs by the setting, and workers who wait with "nothing to do"; what it held is gone with it."""
    with running_relay(tmp_path) as relay:
        asked = relay.ask_later(b"one")
        name, _ = pop(relay)
        idle = []
        waiting = threading.Thread(target=lambda: idle.append(call(relay.port, "GET", f"{POP}?wait=20", **OURS)))
        waiting.start()
        relay.end()
        waiting.join(20)
        assert asked.answer().status == 200
        assert relay.ledger.uploads.count_unchecked() == 1
        assert [reply.status for reply in idle] in ([204], [503], [])  # it may have come too late to be heard
    with running_relay(tmp_path) as again:
        assert tell(again, name).status == 404
        assert [entry["sha256"] for entry in unchecked(again)] == [sha256_of(b"one")]


def test_old_uploads_that_were_fine_are_forgotten_at_the_start(tmp_path) -> None:
    """The list on a small server does not grow for ever."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    from support.ledger.uploads import judged, upload  # noqa: PLC0415

    old = datetime.now(UTC) - timedelta(days=200)
    with new_ledger(tmp_path / "relay.db") as ledger:
        ledger.uploads.record([judged("fine", at=old), judged("bad", Outcome.FLAGGED, at=old), upload("waits", at=old)])
    with running_relay(tmp_path) as relay:
        until(lambda: relay.ledger.uploads.get(upload("fine").sha256) is None, "the end of the old one")
        assert relay.ledger.uploads.get(upload("bad").sha256) is not None
        assert relay.ledger.uploads.count_unchecked() == 1
