"""What a pass judges and deletes, and what it need not read again."""

from __future__ import annotations

import hashlib

import pytest
from support.scan.passes import keys_in, minutes_ago, put, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP, Recognizer, picture

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.records import ActionState, Outcome, Review


def test_a_sweep_judges_everything_and_deletes_exactly_the_flagged(store, database):
    """Twelve objects, two canaries: two gone, ten left, and the summary says so."""
    before = keys_in(store)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
    assert keys_in(store) == before - CANARIES
    assert (summary.seen, summary.checked, summary.flagged, summary.acted) == (12, 12, 2, 2)
    assert summary.complete
    assert not summary.failed
    assert summary.images_per_s > 0


@pytest.mark.long
def test_a_second_sweep_reads_nothing(store, database):
    """What is known and unchanged costs a look-up, not a download."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert (summary.seen, summary.skipped, summary.checked) == (10, 10, 0)


def test_an_object_that_changed_is_judged_again(store, database):
    """The same key with other bytes is another picture."""
    key = "2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    put(store, key, canary_png(), modified_at=minutes_ago(5))
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == [key]
    assert summary.acted == 1
    assert key not in keys_in(store)


def test_a_dry_run_marks_and_touches_nothing_and_a_live_sweep_acts_without_reading_again(store, database):
    """The finds of a dry run are not lost to the sweep that follows it (the ancestor skipped them for ever)."""
    before = keys_in(store)
    with scanner_over(store, database, dry_run=True) as scanner:
        summary = scanner.run(SWEEP)
        rows = list(scanner.ledger.reviews.flagged())
    assert keys_in(store) == before
    assert (summary.flagged, summary.acted) == (2, 0)
    assert {row.key for row in rows} == CANARIES
    assert all(row.dry_run and row.action_state is ActionState.NONE for row in rows)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert summary.acted == 2
    assert keys_in(store) == before - CANARIES


def test_report_only_records_and_never_deletes(store, database):
    """ACTION=report leaves every object where it is, run after run."""
    before = keys_in(store)
    for _ in range(2):
        with scanner_over(store, database, action=None) as scanner:
            scanner.run(SWEEP)
    assert keys_in(store) == before


def test_what_a_reviewer_cleared_is_left_alone_also_under_another_key(store, database):
    """A false positive that was cleared stays, and so does the same picture uploaded again."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        scanner.ledger.reviews.decide(sorted(CANARIES), Review.CLEARED)
    put(store, "2/14/0/again", canary_png())
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.acted == 0
    assert keys_in(store) >= {*CANARIES, "2/14/0/again"}


def test_the_same_bytes_under_another_key_reuse_the_verdict(store, database):
    """A copy is read, recognised by its digest, and never reaches a detector."""
    detector = Recognizer()
    with scanner_over(store, database, detectors=[detector]) as scanner:
        scanner.run(SWEEP)
        seen_before = len(detector.looked_at)
        put(store, "2/99/1/copy", picture(3))
        summary = scanner.run(SWEEP)
    assert summary.reused == 1
    assert len(detector.looked_at) == seen_before


@pytest.mark.parametrize("honest_first", [True, False])
def test_what_a_name_says_of_a_file_is_judged_for_each_name(tmp_path, database, honest_first):
    """A PNG called .jpg is flagged where that is asked for; the same bytes under an honest name are not, and the reverse."""
    store = tmp_path / "files"
    names = ["y.png", "x.jpg"] if honest_first else ["x.jpg", "y.png"]
    with scanner_over(store, database, anomaly_flags=["lying_extension"], action=None) as scanner:
        for name in names:
            put(store, name, picture(1))
            scanner.run(SWEEP)
        assert [row.key for row in scanner.ledger.reviews.flagged()] == ["x.jpg"]
        put(store, f"as-{names[1]}", picture(1))
        assert scanner.run(SWEEP).reused == 1


def test_objects_judged_by_fewer_detectors_are_judged_again_when_one_is_added(store, database):
    """A store that was only swept with hashes does not count as checked once clip is on."""
    with scanner_over(store, database, action=None) as scanner:
        scanner.run(SWEEP)
    detector = Recognizer()
    with scanner_over(store, database, action=None, detectors=[detector]) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.checked == 12
    assert len(detector.looked_at) == 12


def test_a_verdict_is_not_reused_after_the_hash_list_changed(store, database, tmp_path):
    """The same bytes under a new key, listed meanwhile: judged by the list of today, not by yesterday's verdict."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    put(store, "x/again.png", picture(3))
    hashes = tmp_path / "hashes.txt"
    hashes.write_text(f"sha256 {hashlib.sha256(picture(3)).hexdigest()}\n")
    with scanner_over(store, database, detectors=[HashesDetector(hashes)]) as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.checked, summary.reused, summary.flagged) == (1, 0, 1)


def test_every_object_has_exactly_one_row_with_its_verdict(store, database):
    """The ledger after a sweep: as many verdicts as objects, flagged ones done."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        stats = scanner.ledger.maintenance.stats()
        done = [row.action_state for row in scanner.ledger.reviews.flagged(include_settled=True)]
    assert stats.objects == 12
    assert stats.by_outcome == {Outcome.CLEAR: 10, Outcome.FLAGGED: 2}
    assert done == [ActionState.DONE, ActionState.DONE]
