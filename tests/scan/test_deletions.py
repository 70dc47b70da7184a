"""Deletions of a pass in adverse moments: what is left alone, what is finished later."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.ledger.legacy import FIRST_SEEN, write_ancestor_database
from support.scan.passes import UNLIMITED, WatchedStorage, deleting, keys_in, minutes_ago, put, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP, Recognizer, canary_thumbnail, picture

from lemmy_safety.actions import CircuitBreaker
from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import LedgerFull, ObjectGone
from lemmy_safety.records import UNKNOWN_TIME, ActionPlan, ActionState, Finding, Review
from lemmy_safety.scan import PassRequest


@pytest.mark.long
def test_a_store_that_is_not_mounted_finishes_no_deletion(store, database):
    """In an empty folder nothing can be told to be gone: the intent stays until the store is back."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
    away = store.rename(store.with_name("away"))
    store.mkdir()
    with scanner_over(store, database) as scanner:
        rows = list(scanner.ledger.reviews.flagged())
        reports = list(deleting(scanner.storage, scanner.ledger).act_on_flagged(rows, "delete"))
        assert [report.state for report in reports] == [ActionState.INTENDED] * 2
    store.rmdir()
    away.rename(store)
    with scanner_over(store, database) as scanner:
        assert scanner.run(SWEEP).acted == 2
    assert not CANARIES & keys_in(store)


def test_an_ancestors_object_that_comes_back_is_not_deleted_unseen(store, database):
    """Gone when it was described, there a moment later: whether it is the judged one was never compared."""
    write_ancestor_database(database, [("2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00", True, True)])

    class ComingBack(WatchedStorage):
        def _stat(self, key):
            raise ObjectGone(f"{key} is not there yet")

    before = keys_in(store)
    with scanner_over(store, database, storage=ComingBack(store)) as scanner:
        rows = list(scanner.ledger.reviews.flagged())
        reports = list(deleting(scanner.storage, scanner.ledger).act_on_flagged(rows, "delete"))
    assert [report.detail for report in reports] == ["was already gone"]
    assert scanner.storage.deletes == []
    assert keys_in(store) == before


@pytest.mark.parametrize(
    ("modified_at", "behind", "deleted"),
    [
        (FIRST_SEEN - timedelta(days=1), timedelta(0), True),
        (FIRST_SEEN - timedelta(days=1), timedelta(hours=3), True),
        (FIRST_SEEN - timedelta(hours=1), timedelta(hours=3), False),
        (FIRST_SEEN + timedelta(hours=1), timedelta(0), False),
        (UNKNOWN_TIME, timedelta(0), False),
    ],
)
def test_an_ancestors_object_is_deleted_only_if_its_date_proves_that_it_is_the_judged_one(
    store, database, modified_at, behind, deleted
):
    """No date proves nothing, nor does one by a clock that is behind: it can have been written to after the judgement."""
    key = "2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"
    write_ancestor_database(database, [(key, True, True)])
    put(store, key, canary_png(), modified_at=modified_at)
    with scanner_over(store, database) as scanner:
        scanner.storage.clock.ahead = -behind
        rows = [row for row in scanner.ledger.reviews.flagged() if row.key == key]
        (report,) = deleting(scanner.storage, scanner.ledger).act_on_flagged(rows, "delete")
        assert (report.state is ActionState.DONE, key not in keys_in(store)) == (deleted, deleted)


def test_what_a_reviewer_clears_while_its_deletion_is_queued_is_left_alone(store, database):
    """A person's decision counts until the action itself."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        queued = scanner.ledger.actions.intend(scanner.storage.name, sorted(CANARIES), ActionPlan("delete"))
        scanner.ledger.reviews.decide(["2/13/99/canary"], Review.CLEARED)
        reports = {
            report.key: report.state for report in map(deleting(scanner.storage, scanner.ledger).carry_out, queued)
        }
    assert reports["2/13/99/canary"] is ActionState.NONE
    assert CANARIES & keys_in(store) == {"2/13/99/canary"}


def test_a_clearing_in_the_last_moment_is_heeded(store, database):
    """Between the runner's own look and the breaker's turn, where another process may come in."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        (queued,) = scanner.ledger.actions.intend(scanner.storage.name, ["2/13/99/canary"], ActionPlan("delete"))
        ledger = scanner.ledger
        guard = CircuitBreaker(ledger, UNLIMITED)

        class AskedTooLate:
            holds = CircuitBreaker(ledger, UNLIMITED).holds

            def admits(self, action_id, so_far):
                ledger.reviews.decide(["2/13/99/canary"], Review.CLEARED)
                return guard.admits(action_id, so_far)

        report = deleting(scanner.storage, ledger, guard=AskedTooLate()).carry_out(queued)
    assert (report.state, report.detail, report.held) == (ActionState.NONE, "not wanted any more", False)
    assert "2/13/99/canary" in keys_in(store)


def test_an_object_that_changed_before_its_deletion_is_reported_and_judged_anew(store, database):
    """Not skipped in silence: each delete-flagged says so, and a daemon's next pass looks at it whatever its date."""
    key = "2/13/99/canary"
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        put(store, key, canary_thumbnail() + b"x", modified_at=minutes_ago(90))
        for _ in range(2):
            rows = [row for row in scanner.ledger.reviews.flagged() if row.key == key]
            reports = deleting(scanner.storage, scanner.ledger).act_on_flagged(rows, "delete")
            assert [report.state for report in reports] == [ActionState.REFUSED]
    with scanner_over(store, database, prefix="2/") as scanner:
        summary = scanner.run(PassRequest(kind="daemon", since=minutes_ago(5)))
    assert (summary.checked, summary.flagged, summary.acted) == (1, 1, 1)


@pytest.mark.long
def test_a_delete_that_cannot_be_done_now_is_finished_at_the_next_start(store, database):
    """The intent is on disk before the action; the next pass carries it out first."""
    storage = WatchedStorage(store)

    class CutBeforeDeleting(Recognizer):
        def detect(self, batch):
            storage.down = True
            return [
                [Finding(detector="clip", version="1", label="csam", score=1.0, threshold=1.0)]
                if sample.info.width > 800
                else []
                for sample in batch
            ]

    put(store, "only/one.png", canary_png())
    with scanner_over(store, database, storage=storage, detectors=[CutBeforeDeleting()], prefix="only/") as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.flagged, summary.acted) == (1, 0)
        assert [row.action_state for row in scanner.ledger.reviews.flagged()] == [ActionState.INTENDED]
    with scanner_over(store, database, prefix="nothing-new/") as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert summary.acted == 1
    assert "only/one.png" not in keys_in(store)


def test_an_object_replaced_between_judgement_and_deletion_is_left_alone(store, database):
    """What was judged is not what is there now: refused, and judged again by the next pass."""
    key = "2/13/99/canary"

    class Replacing(Recognizer):
        def detect(self, batch):
            put(store, key, picture(42), modified_at=minutes_ago(1))
            return [[Finding(detector="clip", version="1", label="csam", score=1.0, threshold=1.0)] for _ in batch]

    with scanner_over(store, database, detectors=[Replacing()], prefix="2/13/99/") as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.flagged, summary.acted, summary.refused) == (1, 0, 1)
    assert key in keys_in(store)
    with scanner_over(store, database, prefix="2/13/99/") as scanner:
        again = scanner.run(SWEEP)
    assert (again.checked, again.flagged) == (1, 0)
    assert key in keys_in(store)


def test_nothing_is_deleted_when_nothing_can_be_recorded(store, database):
    """A full disk under the ledger ends the run before the first action."""
    before = keys_in(store)
    with scanner_over(store, database) as scanner:
        ledger = scanner.ledger

        class FullObjects:
            """The real objects of the ledger, on a disk that is full."""

            def __getattr__(self, name):
                return getattr(ledger.objects, name)

            def record(self, *_args, **_more):
                raise LedgerFull("the disk is full")

        class Full:
            """The real ledger with them."""

            objects = FullObjects()

            def __getattr__(self, name):
                return getattr(ledger, name)

        with (
            scanner_over(store, database, ledger=Full(), storage=WatchedStorage(store)) as full,
            pytest.raises(LedgerFull),
        ):
            full.run(SWEEP)
    assert keys_in(store) == before
