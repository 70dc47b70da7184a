"""Our relay and our worker together, over HTTP and with a ledger each, as pict-rs and the daemon at home meet them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.ledger.results import flagged, record
from support.media.pictures import encode, gradient
from support.scan.passes import minutes_ago, put, scanner_over
from support.web.relay import running_relay, running_worker
from support.web.service import PATIENCE_S, until
from support.web.stand_ins import GatedDetector

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import UploadAnswer
from lemmy_safety.records import ItemStatus, Outcome, Review
from lemmy_safety.scan import PassRequest


def png(number: int) -> bytes:
    return encode(gradient(seed=number), "PNG")


@pytest.fixture
def _often(monkeypatch):
    """The relay's list is looked at several times a second."""
    monkeypatch.setattr("lemmy_safety.relay.worker.service._MIRROR_EVERY_S", 0.05)


def test_uploads_are_judged_at_home(tmp_path) -> None:
    """On the very bytes that pict-rs has, so that both ledgers know them by hash and a sweep knows them by tag."""
    with running_relay(tmp_path) as relay, running_worker(tmp_path, relay.url) as worker:
        assert (relay.ask(png(1)).status, relay.ask(canary_png()).status) == (200, 406)
        for data, outcome in ((png(1), Outcome.CLEAR), (canary_png(), Outcome.FLAGGED)):
            there, home = (side.recorded(data) for side in (relay, worker))
            assert (there.assessment.verdict.outcome, home.assessment.verdict.outcome) == (outcome, outcome)
            assert (there.answer, there.assessment.verdict.rules_version) == (
                home.answer,
                home.assessment.verdict.rules_version,
            )
            assert home.size == len(data)


def test_many_at_once_are_judged_together(tmp_path) -> None:
    """Several questions are open at a time, and the model gets batches."""
    slow = GatedDetector(batch_size=8)
    with running_relay(tmp_path) as relay, running_worker(tmp_path, relay.url, detectors=[slow]) as worker:
        asked = [relay.ask_later(png(number)) for number in range(24)]
        assert slow.entered.wait(20)
        slow.gate.set()
        assert {one.answer().status for one in asked} == {200}
        until(lambda: worker.ledger.maintenance.stats().uploads == {UploadAnswer.ACCEPTED: 24}, "the records at home")
    assert max(slow.batches) > 2


@pytest.mark.parametrize("dry_run_at", ["relay", "worker"])
def test_a_dry_run_on_either_side_refuses_nothing(tmp_path, dry_run_at) -> None:
    """What is flagged is on record."""
    with (
        running_relay(tmp_path, dry_run=dry_run_at == "relay") as relay,
        running_worker(tmp_path, relay.url, dry_run=dry_run_at == "worker"),
    ):
        assert relay.ask(canary_png()).status == 200
        assert relay.recorded(canary_png()).assessment.verdict.outcome is Outcome.FLAGGED


def test_what_a_human_cleared_at_home_is_let_in(tmp_path) -> None:
    """Also where the relay has refused it before."""
    with running_relay(tmp_path) as relay, running_worker(tmp_path, relay.url) as worker:
        assert relay.ask(canary_png()).status == 406
        relay.recorded(canary_png())
        worker.recorded(canary_png())
        record(worker.ledger, [flagged("its key", sha256=sha256_of(canary_png()))], dry_run=True)
        worker.ledger.reviews.decide(["its key"], Review.CLEARED)
        assert relay.ask(canary_png()).status == 200


@pytest.mark.parametrize(("accept", "status"), [(True, 200), (False, 406)])
def test_what_is_no_picture_follows_the_relays_setting(tmp_path, accept, status) -> None:
    """Decoding has failed at home, where it was tried."""
    with running_relay(tmp_path, accept_unchecked=accept) as relay, running_worker(tmp_path, relay.url):
        assert relay.ask(b"no picture").status == status
        assert relay.recorded(b"no picture", verdict=False).assessment.status is ItemStatus.UNREADABLE


def test_a_late_verdict_is_on_record_on_both_sides(tmp_path) -> None:
    """What was let in by then is flagged at home, where the daemon will find it."""
    slow = GatedDetector()
    with (
        running_relay(tmp_path, budget_s=2.0) as relay,
        running_worker(tmp_path, relay.url, detectors=[slow]) as worker,
    ):
        assert relay.ask(canary_png()).status == 200
        assert relay.ledger.uploads.count_unchecked() == 1
        slow.gate.set()
        until(lambda: relay.ledger.uploads.count_unchecked() == 0, "the late verdict at the relay")
        home = worker.recorded(canary_png())
        assert (home.answer, home.assessment.verdict.outcome) == (UploadAnswer.UNCHECKED, Outcome.FLAGGED)


def test_another_worker_takes_over_in_time(tmp_path, monkeypatch) -> None:
    """The first one ends with uploads in hand; pict-rs notices nothing."""
    monkeypatch.setattr("lemmy_safety.relay.server.assignments.LEASE_S", 0.2)
    monkeypatch.setattr("lemmy_safety.relay.server.judging.LEASE_S", 0.2)
    stuck = GatedDetector()
    with running_relay(tmp_path) as relay:
        with running_worker(tmp_path, relay.url, detectors=[stuck], name="first.db"):
            asked = [relay.ask_later(data) for data in (png(1), png(2), canary_png())]
            assert stuck.entered.wait(20)
        with running_worker(tmp_path, relay.url, name="second.db"):
            assert [one.answer().status for one in asked] == [200, 200, 406]
        stuck.gate.set()


def test_a_relay_that_restarts_is_found_again(tmp_path) -> None:
    """At the same address, without anybody touching the worker."""
    with running_relay(tmp_path) as relay:
        port = relay.port
        with running_worker(tmp_path, relay.url) as worker:
            assert relay.ask(png(1)).status == 200
            relay.end()
            with running_relay(tmp_path, port=port) as again:
                assert again.ask(canary_png()).status == 406
            assert worker.ended_with == []


def test_a_relay_that_stops_still_hears_its_workers(tmp_path, monkeypatch) -> None:
    """What is judged at that moment is answered by its verdict; what comes then is refused, and no one waits longer."""
    monkeypatch.setattr("lemmy_safety.web.server._VERDICT_GRACE_S", 2 * PATIENCE_S)
    slow = GatedDetector()
    with running_relay(tmp_path) as relay, running_worker(tmp_path, relay.url, detectors=[slow]):
        asked = [relay.ask_later(data) for data in (png(1), canary_png())]
        assert slow.entered.wait(PATIENCE_S)
        until(lambda: relay.metric("queue_length") == 2, "both")
        relay.stop.set()
        # Nothing to decide on is answered at once, 400 before.
        until(lambda: relay.ask(b"").status == 503, "the stop")
        slow.gate.set()
        assert [one.answer().status for one in asked] == [200, 406]
        relay.end()
        assert relay.ledger.uploads.count_unchecked() == 0
        assert relay.ended_with == []


@pytest.mark.usefixtures("_often")
def test_what_the_relay_let_in_unchecked_is_judged_by_the_daemon_and_cleared_there(tmp_path) -> None:
    """First at home's ledger, then in the storage, then off the relay's list."""
    files = tmp_path / "files"
    with running_relay(tmp_path, budget_s=0.2) as relay:
        for number, data in enumerate((png(1), canary_png(), png(2))):
            assert relay.ask(data).status == 200
            put(files, f"{number}/key", data, modified_at=minutes_ago(5))
        with running_worker(tmp_path, relay.url) as worker:
            until(lambda: worker.ledger.uploads.count_unchecked() == 3, "the list at home")
            assert relay.ledger.uploads.count_unchecked() == 3
            with scanner_over(files, tmp_path / "worker.db") as scanner:
                summary = scanner.run(PassRequest(kind="cycle", since=minutes_ago(30)))
            assert (summary.checked, summary.flagged, summary.acted) == (3, 1, 1)
            assert worker.ledger.uploads.count_unchecked() == 0
            until(lambda: relay.ledger.uploads.count_unchecked() == 0, "the relay's list is empty")
        row = relay.ledger.uploads.get(sha256_of(canary_png()))
        assert (row.answer, row.assessment.verdict.outcome) == (UploadAnswer.UNCHECKED, Outcome.FLAGGED)


@pytest.mark.usefixtures("_often")
def test_what_is_nowhere_to_be_found_comes_off_the_relays_list_as_well(tmp_path) -> None:
    """Its uploader removed it before anybody looked."""
    with running_relay(tmp_path, budget_s=0.2) as relay:
        assert relay.ask(png(1)).status == 200
        with running_worker(tmp_path, relay.url) as worker:
            until(lambda: worker.ledger.uploads.count_unchecked() == 1, "the list at home")
            worker.ledger.uploads.settle_lost(datetime.now(UTC) + timedelta(minutes=1), storage="local:/x")
            until(lambda: relay.ledger.uploads.count_unchecked() == 0, "the relay's list is empty")
        assert relay.ledger.uploads.get(sha256_of(png(1))).assessment.status is ItemStatus.GONE


@pytest.mark.usefixtures("_often")
def test_a_long_list_is_taken_over_in_pages(tmp_path, monkeypatch) -> None:
    """And told back in pieces; a worker that starts again loses nothing by it."""
    monkeypatch.setattr("lemmy_safety.relay.server.routes.PAGE", 4)
    monkeypatch.setattr("lemmy_safety.relay.worker.mirror._TOLD_AT_ONCE", 3)
    from support.ledger.uploads import judged, upload  # noqa: PLC0415

    names = [f"u{number}" for number in range(11)]
    with running_relay(tmp_path) as relay:
        at = datetime.now(UTC)
        relay.ledger.uploads.record([upload(name, at=at) for name in names])
        with running_worker(tmp_path, relay.url) as worker:
            until(lambda: worker.ledger.uploads.count_unchecked() == 11, "the list at home")
        worker_ledger = tmp_path / "worker.db"
        assert worker_ledger.exists()
        with running_worker(tmp_path, relay.url) as again:
            again.ledger.uploads.record([judged(name, answer=None) for name in names])
            until(lambda: relay.ledger.uploads.count_unchecked() == 0, "the relay's list is empty")
            assert {again.ledger.uploads.get(upload(name).sha256).times for name in names} == {1}
