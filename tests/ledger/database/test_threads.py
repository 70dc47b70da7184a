"""Many threads, one ledger: look-ups beside writes, and writers one after another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.ledger.results import DECODER, DETECTORS, RULES, STORAGE, checked, flagged, record, sha256_of, stored

from lemmy_safety.ledger import EventKind, Known, open_ledger, sqlite_url
from lemmy_safety.records import ActionPlan, ActionState


@pytest.mark.long
def test_readers_and_writers_do_not_disturb_each_other(url) -> None:
    """Twelve threads that look up while four write: no error, and every batch is seen whole or not at all."""
    batches, size = 16, 10
    with open_ledger(url) as ledger:
        run_id = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=DETECTORS)
        done = threading.Event()

        def write(number):
            results = [flagged(f"{number}/{item}") for item in range(size)]
            return ledger.objects.record(
                STORAGE, results, run_id=run_id, dry_run=False, plan=ActionPlan("delete"), decoder=DECODER
            )

        def read(number):
            rounds = 0
            objects = [stored(f"{number}/{item}") for item in range(size)]
            while not done.is_set() or rounds == 0:
                found = ledger.objects.known(STORAGE, objects, RULES)
                assert len(found) in (0, size)
                ledger.objects.verdict_for(sha256_of(f"{number}/0"), RULES)
                rounds += 1
            return rounds

        with ThreadPoolExecutor(16) as pool:
            readers = [pool.submit(read, number) for number in range(12)]
            writers = ThreadPoolExecutor(4)
            pending = [one for batch in writers.map(write, range(batches)) for one in batch]
            list(writers.map(lambda one: ledger.actions.finish(one.id, ActionState.FAILED), pending))
            writers.shutdown()
            done.set()
            assert all(reader.result() > 0 for reader in readers)
        stats = ledger.maintenance.stats()
        assert (stats.objects, stats.flagged_open) == (batches * size, batches * size)
        assert len({one.id for one in pending}) == batches * size
        kinds = [event.kind for event in ledger.reviews.history("7/7")]
        assert kinds == [EventKind.FLAGGED, EventKind.INTENDED, EventKind.FAILED]


def test_a_slow_reader_holds_nobody_back(database_file) -> None:
    """Someone pages through ``flagged`` while a pass writes on."""
    with open_ledger(sqlite_url(database_file), busy_timeout_s=0.05) as ledger:
        record(ledger, [flagged("a"), flagged("b")], dry_run=True)
        rows = ledger.reviews.flagged()
        next(rows)
        record(ledger, [checked("c")])
        ledger.maintenance.check_writable()
        assert ledger.objects.known(STORAGE, [stored("c")], RULES) == {"c": Known.SETTLED}
        assert [row.key for row in rows] == ["b"]
