"""Our worker against a server that speaks pictrs-safety's protocol as it is, and misbehaves as servers do."""

from __future__ import annotations

import logging
import threading

import pytest
from support.media.pictures import encode, gradient
from support.web.hook import MAX_BYTES
from support.web.pictrs_safety import KEY, PictrsSafetyServer
from support.web.relay import running_worker
from support.web.service import until
from support.web.stand_ins import FailingDetector, GatedDetector

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import SettingsError
from lemmy_safety.ledger import UploadAnswer
from lemmy_safety.records import ItemStatus, Outcome
from lemmy_safety.relay.worker.server_address import checked_url, is_open_to_listeners


def png(number: int) -> bytes:
    return encode(gradient(seed=number), "PNG")


@pytest.fixture
def server():
    with PictrsSafetyServer() as running:
        yield running


def test_what_is_harmless_and_what_is_not(server, tmp_path) -> None:
    """The canary is refused, by name, as the protocol has it; the verdicts are on record like those of a sweep."""
    picture = png(1)
    server.put("4f1c-a.png", picture)
    server.put("canary.webp", canary_png())
    with running_worker(tmp_path, server.url) as worker:
        assert server.result("4f1c-a.png") == {**server.results["4f1c-a.png"], "is_csam": False, "is_nsfw": False}
        assert server.result("canary.webp")["is_csam"] is True
        assert worker.recorded(picture).assessment.verdict.outcome is Outcome.CLEAR
        assert worker.recorded(canary_png()).answer is UploadAnswer.REFUSED
        assert worker.recorded(canary_png()).assessment.verdict.outcome is Outcome.FLAGGED


def test_a_dry_run_refuses_nothing(server, tmp_path) -> None:
    """And still records what it would have refused."""
    server.put("canary.png", canary_png())
    with running_worker(tmp_path, server.url, dry_run=True) as worker:
        assert server.result("canary.png")["is_csam"] is False
        assert worker.recorded(canary_png()).assessment.verdict.outcome is Outcome.FLAGGED


@pytest.mark.parametrize("accept", [True, False])
def test_without_a_verdict_it_answers_by_the_setting(server, tmp_path, accept) -> None:
    """The server cannot know, so it is told yes or no; what was let in is on the list."""
    server.put("text.png", b"no picture")
    server.put("large.png", b"x" * (MAX_BYTES + 1))
    server.put("empty.png", b"")
    with running_worker(tmp_path, server.url, accept_unchecked=accept) as worker:
        assert [server.result(name)["is_csam"] for name in ("text.png", "large.png", "empty.png")] == [not accept] * 3
        assert worker.recorded(b"no picture", verdict=False).assessment.status is ItemStatus.UNREADABLE
        assert worker.recorded(b"no picture", verdict=False).answer is (
            UploadAnswer.UNCHECKED if accept else UploadAnswer.REFUSED
        )


def test_what_a_broken_detector_could_not_judge_is_on_the_list(server, tmp_path) -> None:
    """Accepted, and for the daemon to look at first."""
    server.put("a.png", png(2))
    with running_worker(tmp_path, server.url, detectors=[FailingDetector()]) as worker:
        assert server.result("a.png")["is_csam"] is False
        assert worker.recorded(png(2), verdict=False).assessment.status is ItemStatus.DETECTOR_FAILED
        assert worker.ledger.uploads.count_unchecked() == 1


def test_media_are_judged_together_and_the_server_hears_of_us_meanwhile(server, tmp_path) -> None:
    """It takes a worker that does not ask for 5 s for gone, however long a batch takes."""
    slow = GatedDetector(batch_size=8)
    for number in range(9):
        server.put(f"{number}.png", png(10 + number))
    with running_worker(tmp_path, server.url, detectors=[slow]):
        assert slow.entered.wait(20)
        asked = server.asked
        until(lambda: not server.waiting, "the taking of everything")
        until(lambda: server.asked > asked + 12, "more questions")
        assert server.results == {}
        slow.gate.set()
        assert {server.result(f"{number}.png")["is_csam"] for number in range(9)} == {False}
    assert max(slow.batches) > 1


def test_known_bytes_are_answered_from_the_ledger(server, tmp_path) -> None:
    """As everywhere: the same bytes are judged once."""
    slow = GatedDetector()
    slow.gate.set()
    with running_worker(tmp_path, server.url, detectors=[slow]) as worker:
        server.put("a.png", png(3))
        server.result("a.png")
        worker.recorded(png(3))
        server.put("b.png", png(3))
        server.result("b.png")
    assert slow.batches == [1]


def test_a_server_that_goes_and_comes_is_found_again(server, tmp_path, caplog) -> None:
    """One line says that it is away, one that it is back."""
    with caplog.at_level(logging.INFO), running_worker(tmp_path, server.url):
        until(lambda: server.asked, "a question")
        server.close()
        until(lambda: any("no answer from" in line for line in caplog.messages), "the complaint")
        server.start()
        server.put("a.png", png(4))
        assert server.result("a.png")["is_csam"] is False
    assert len([line for line in caplog.messages if "no answer from" in line]) == 1
    assert any("answers again" in line for line in caplog.messages)


def test_a_server_that_is_not_there_yet_is_waited_for(server, tmp_path) -> None:
    """Services start in any order."""
    server.close()
    with running_worker(tmp_path, server.url):
        server.start()
        server.put("a.png", png(5))
        server.result("a.png")


@pytest.mark.parametrize(
    "answer",
    [
        (500, {}, b"oops"),
        (502, {"Content-Type": "text/html"}, b"<html>Bad Gateway"),
        (503, {"Retry-After": "5"}, b""),
        (200, {"Content-Type": "text/html"}, b"<html>Please log in"),
        (200, {"Content-Disposition": "attachment; filename=../x y"}, b"data"),
        (429, {}, b"{}"),
        (418, {}, b""),
    ],
)
def test_nonsense_from_the_server_is_survived(server, tmp_path, answer) -> None:
    """It is asked again after a moment, and what it then has is judged."""
    server.override = [answer] * 3
    server.put("a.png", png(6))
    with running_worker(tmp_path, server.url) as worker:
        assert server.result("a.png")["is_csam"] is False
        assert worker.ended_with == []


def test_an_answer_that_nobody_waits_for_is_let_in_and_judged(server, tmp_path) -> None:
    """Pictrs-safety says OK to pict-rs when it is tired of waiting, so a late verdict is one on something that is inside."""
    server.gone = {"late.png"}
    server.put("late.png", canary_png())
    with running_worker(tmp_path, server.url) as worker:
        assert worker.recorded(canary_png()).answer is UploadAnswer.UNCHECKED
        assert worker.ledger.uploads.count_unchecked() == 0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ((403, {}, b'{"message": "Access Denied"}'), "PICTRS_SAFETY_APIKEY"),
        ((401, {}, b""), "PICTRS_SAFETY_APIKEY"),
        ((404, {}, b""), "no pictrs-safety server"),
        ((302, {"Location": "https://relay.example.org/"}, b""), "no pictrs-safety server"),
    ],
)
def test_a_wrong_key_or_address_ends_it_with_what_to_do(server, tmp_path, override, said) -> None:
    """The key itself is in no message."""
    server.override = [override] * 50
    with running_worker(tmp_path, server.url, wait_until_working=False) as worker:
        worker.thread.join(20)
        assert not worker.thread.is_alive()
    (error,) = worker.ended_with
    assert isinstance(error, SettingsError)
    assert said in error.message
    assert KEY not in str(error)
    assert error.hint


def test_it_stops_while_a_model_computes(server, tmp_path) -> None:
    """What it could not finish is left to the next worker; what it knows is on disk."""
    slow = GatedDetector()
    server.put("a.png", png(7))
    with running_worker(tmp_path, server.url, detectors=[slow]) as worker:
        assert slow.entered.wait(20)
        worker.end()
        assert worker.ended_with == []
        assert server.results == {}
        slow.gate.set()


def test_it_stops_while_models_load(server, tmp_path) -> None:
    """Which can take minutes."""
    slow = GatedDetector()
    slow.ready_to_open.clear()
    with running_worker(tmp_path, server.url, detectors=[slow], wait_until_working=False) as worker:
        worker.end()
        assert worker.ended_with == []
        assert server.asked == 0
        slow.ready_to_open.set()
    assert threading.active_count() < 100


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example.org",
        "ftp://x",
        "http://",
        "http://u:p@host",
        "http://host?x=1",
        "http://host:99999",
        "http://[::1",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(url) -> None:
    """With what one looks like."""
    with pytest.raises(SettingsError) as caught:
        checked_url(url)
    assert "https://" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("http://relay.example.org", True),
        ("http://10.0.0.1:14051", True),
        ("https://relay.example.org", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
    ],
)
def test_media_in_clear_over_a_network_are_warned_of(url, is_open) -> None:
    """Not on this machine, where tunnels end."""
    assert is_open_to_listeners(url) is is_open
    assert checked_url(f"{url}/") == url
