"""Two passes over one storage with one database: the second is refused, and one that lost its place does nothing more."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.scan.passes import keys_in, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP, Recognizer

from lemmy_safety.errors import PassRunning
from lemmy_safety.ledger import DAEMON, RECHECK, open_ledger, sqlite_url
from lemmy_safety.ledger.passes import leases
from lemmy_safety.ledger.passes.processes import this_process
from lemmy_safety.ledger.schema.tables import leases as lease_rows
from lemmy_safety.records import Finding
from lemmy_safety.scan import PassRequest, scanner

PATIENCE_S = 60.0


class Pausing(Recognizer):
    """Flags everything, and waits with its first batch until it may go on."""

    def __init__(self, *, meanwhile=None):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._meanwhile = meanwhile

    def detect(self, batch):
        self.begun.set()
        if self._meanwhile is not None:
            self._meanwhile()
        else:
            assert self.go_on.wait(PATIENCE_S)
        super().detect(batch)
        return [[Finding(detector=self.name, version="1", label="csam", score=1.0, threshold=1.0)] for _ in batch]


@contextmanager
def running_pass(store, database, kind):
    """A pass that stands in the middle; yields how to let it end, and its end."""
    detector, ended = Pausing(), []
    with scanner_over(store, database, detectors=[detector], dry_run=True) as first:
        thread = threading.Thread(target=lambda: ended.append(first.run(PassRequest(kind=kind))))
        thread.start()
        try:
            assert detector.begun.wait(PATIENCE_S)
            yield detector.go_on.set, ended
        finally:
            detector.go_on.set()
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("prefix", ["", "2/"])
def test_a_second_sweep_is_refused_before_it_touches_anything(store, database, prefix):
    """Also over a part of the storage. The first one goes on undisturbed, and afterwards the storage is free."""
    with running_pass(store, database, "sweep") as (let_it_end, ended):
        with scanner_over(store, database, prefix=prefix) as second:
            with pytest.raises(PassRunning, match="sweep on"):
                second.run(SWEEP)
            assert second.storage.reads == []
        let_it_end()
    assert ended[0].complete
    assert ended[0].checked == 12
    with scanner_over(store, database) as third:
        assert third.run(SWEEP).complete


def test_a_daemon_does_not_wait_for_a_sweep(store, database):
    """It has its next turn soon."""
    with running_pass(store, database, "sweep"), scanner_over(store, database) as second:
        with pytest.raises(PassRunning):
            second.run(PassRequest(kind=DAEMON))
        assert second.storage.reads == []


@pytest.mark.long
def test_a_sweep_waits_for_a_pass_of_the_daemon(store, database, caplog):
    """Such passes are short and many, so that a sweep beside a daemon would be refused by chance."""
    caplog.set_level("INFO")
    with running_pass(store, database, DAEMON) as (let_it_end, _), scanner_over(store, database) as sweeper:
        done = []
        thread = threading.Thread(target=lambda: done.append(sweeper.run(SWEEP)))
        thread.start()
        pause = threading.Event()
        while "waiting for a pass of the daemon" not in caplog.text:
            assert thread.is_alive()
            pause.wait(0.05)
        let_it_end()
        thread.join(PATIENCE_S)
    assert done[0].complete


@pytest.mark.long
@pytest.mark.parametrize("kind", [DAEMON, "sweep"])
def test_the_daemon_and_a_sweep_wait_for_a_pass_of_a_recheck(store, database, caplog, kind):
    """Such passes are as short, and follow each other: the daemon would meet one at each of its turns."""
    caplog.set_level("INFO")
    with running_pass(store, database, RECHECK) as (let_it_end, _), scanner_over(store, database) as other:
        done = []
        thread = threading.Thread(target=lambda: done.append(other.run(PassRequest(kind=kind))))
        thread.start()
        pause = threading.Event()
        while "waiting for a pass of the recheck" not in caplog.text:
            assert thread.is_alive()
            pause.wait(0.05)
        let_it_end()
        thread.join(PATIENCE_S)
    assert done[0].complete


@pytest.mark.long
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "out of patience"])
def test_a_sweep_does_not_wait_for_the_daemon_for_ever(store, database, monkeypatch, stopped):
    """A stop ends the wait, and so does a first pass of the daemon that takes hours."""
    stop = threading.Event()
    if stopped:
        stop.set()
    else:
        monkeypatch.setattr(scanner, "_PATIENCE_S", 0.2)
    with (
        running_pass(store, database, DAEMON),
        scanner_over(store, database, stop=stop) as sweeper,
        pytest.raises(PassRunning, match="daemon on"),
    ):
        sweeper.run(SWEEP)


@pytest.mark.parametrize("noticed", ["by its heartbeat", "by its writes"])
def test_a_pass_that_lost_its_place_records_and_deletes_nothing_more(store, database, monkeypatch, noticed):
    """Another machine took over in the middle: everything is flagged and wanted deleted, and nothing is touched."""
    if noticed == "by its heartbeat":
        monkeypatch.setattr(leases, "BEAT_S", 0.02)
    with open_ledger(sqlite_url(database)) as other:

        def take_over():
            elsewhere = replace(this_process(), machine="another one")
            with other.database.engine.begin() as connection:
                connection.execute(lease_rows.update().values(token="its", machine=elsewhere.machine))

        detector = Pausing(meanwhile=take_over)
        detector.batch_size = 20  # nothing is judged before the lease is lost
        before = keys_in(store)
        with scanner_over(store, database, detectors=[detector]) as loser:
            with pytest.raises(PassRunning, match="lost its place"):
                loser.run(SWEEP)
            assert loser.storage.deletes == []
        assert keys_in(store) == before
        assert other.maintenance.stats().objects == 0


@pytest.mark.long
def test_an_intent_is_not_carried_out_by_a_pass_that_lost_its_place(store, database):
    """The lease goes between the record and the action: the next pass finishes what was intended, once."""
    with open_ledger(sqlite_url(database)) as other, scanner_over(store, database, prefix="2/13/99/") as loser:
        ledger = loser.ledger
        record = ledger.objects.record

        def record_and_lose(*args, **more):
            pending = record(*args, **more)
            with other.database.engine.begin() as connection:
                connection.execute(lease_rows.update().values(token="its"))
            return pending

        ledger.objects.record = record_and_lose
        with pytest.raises(PassRunning):
            loser.run(SWEEP)
        assert loser.storage.deletes == []
        assert keys_in(store) >= CANARIES
        ledger.objects.record = record
        with other.database.engine.begin() as connection:
            connection.execute(lease_rows.delete())
        summary = loser.run(SWEEP)
        assert summary.acted == 1
        assert loser.storage.deletes == ["2/13/99/canary"]
