"""What a storage refuses, or refuses again and again, reaches a person; what is gone meanwhile is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.scan.passes import WatchedStorage, minutes_ago, put, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP

from lemmy_safety.errors import AccessDenied, BadKey, ObjectChanged, StorageError, StorageUnreachable
from lemmy_safety.ledger import DAEMON
from lemmy_safety.records import ActionState, Review
from lemmy_safety.scan import PassRequest

KEY = "2/13/99/canary"


class Refusing(WatchedStorage):
    """Reads as ever, and answers each deletion with ``answer``; counts them."""

    answer: StorageError | None = AccessDenied("the account may not delete")

    def _delete(self, key, expected):
        self.deletes.append(key)
        if self.answer is not None:
            raise self.answer
        return super()._delete(key, expected)


def rows(scanner, **how):
    return {row.key: row for row in scanner.ledger.reviews.flagged(**how)}


@pytest.mark.long
@pytest.mark.parametrize(
    "answer", [AccessDenied("403"), StorageError("451"), BadKey("no such name here"), AccessDenied("still there")]
)
def test_a_refused_deletion_counts_as_failed_in_each_pass(store, database, answer):
    """Not as changed meanwhile; it is tried again by each pass, once."""
    storage = Refusing(store)
    storage.answer = answer
    with scanner_over(store, database, storage=storage) as scanner:
        for number in (1, 2, 3):
            summary = scanner.run(SWEEP)
            assert (summary.acted, summary.refused, summary.action_failed) == (0, 0, len(CANARIES))
            assert summary.not_carried_out == len(CANARIES)
            assert len(storage.deletes) == number * len(CANARIES)
        assert {row.action_state for row in rows(scanner).values()} == {ActionState.FAILED}
        assert {row.refusals for row in rows(scanner).values()} == {3}
        stuck = scanner.ledger.actions.stuck(due_before=minutes_ago(60))
        assert (stuck.failed, stuck.refused_again, stuck.overdue) == (len(CANARIES), 0, 0)
        storage.answer = None
        assert scanner.run(SWEEP).acted == len(CANARIES)
        stuck = scanner.ledger.actions.stuck(due_before=minutes_ago(-1))
        assert (stuck.failed, stuck.refused_again, stuck.overdue) == (0, 0, 0)


def test_a_deletion_that_cannot_be_done_now_is_counted(store, database):
    """Everything else of the pass goes well, and DELETE alone is answered by 503: someone has to hear of it."""
    storage = Refusing(store)
    storage.answer = StorageUnreachable("503 for DELETE")
    with scanner_over(store, database, storage=storage) as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.action_postponed, summary.not_carried_out) == (len(CANARIES), len(CANARIES))
        assert scanner.ledger.actions.stuck(due_before=datetime.now(UTC)).overdue == len(CANARIES)
        assert scanner.ledger.actions.stuck(due_before=minutes_ago(60)).overdue == 0
        assert scanner.ledger.actions.stuck("local:/elsewhere", due_before=datetime.now(UTC)).overdue == 0


def test_the_same_bytes_refused_as_changed_again_and_again_are_stuck(store, database):
    """Once is normal. The same bytes cannot have changed twice, so a person has to look."""
    storage = Refusing(store)
    storage.answer = ObjectChanged("another tag than before")
    with scanner_over(store, database, storage=storage, prefix="2/13/99/") as scanner:
        first, second, third = (scanner.run(SWEEP) for _ in range(3))
        assert (first.refused, first.stuck, first.not_carried_out) == (1, 0, 0)
        assert (second.refused, second.stuck, second.not_carried_out) == (1, 1, 1)
        assert (third.checked, third.stuck) == (1, 1)
        assert rows(scanner)[KEY].refusals == 3
        assert scanner.ledger.actions.stuck(due_before=minutes_ago(60)).refused_again == 1


def test_an_object_that_does_change_between_passes_is_not_stuck(store, database):
    """Other bytes each time, each judged and refused once."""
    storage = Refusing(store)
    storage.answer = ObjectChanged("it did change")
    with scanner_over(store, database, storage=storage, prefix="2/13/99/") as scanner:
        for number in range(3):
            put(store, KEY, (store / KEY).read_bytes() + b"x", modified_at=minutes_ago(60 - number))
            summary = scanner.run(SWEEP)
            assert (summary.refused, summary.stuck) == (1, 0)


def test_a_dry_run_has_nothing_that_is_stuck(store, database):
    """Nothing is wanted there."""
    storage = Refusing(store)
    with scanner_over(store, database, storage=storage) as scanner:
        scanner.run(SWEEP)
    with scanner_over(store, database, storage=storage, dry_run=True) as scanner:
        assert scanner.run(SWEEP).not_carried_out == 0
    with scanner_over(store, database, storage=storage, action=None) as scanner:
        assert scanner.run(SWEEP).not_carried_out == 0


@pytest.mark.parametrize("kind", ["sweep", "daemon"])
def test_a_failed_deletion_of_what_is_gone_by_now_is_done(store, database, kind):
    """No listing meets it any more, so a pass that lists everything asks for it."""
    storage = Refusing(store)
    with scanner_over(store, database, storage=storage) as scanner:
        scanner.run(SWEEP)
        storage.answer = None
        (store / KEY).unlink()
        request = SWEEP if kind == "sweep" else PassRequest(kind=DAEMON, since=minutes_ago(5), exhaustive=True)
        summary = scanner.run(request)
        assert summary.acted == len(CANARIES)
        assert rows(scanner) == {}
        assert {row.action_detail for row in rows(scanner, include_settled=True).values()} == {
            "was already gone",
            "deleted",
        }


def test_a_failed_deletion_of_an_old_object_is_tried_again_by_the_daemons_full_listing(store, database):
    """It lies before what that pass looks back on. A pass that looks for new objects only leaves it alone."""
    storage = Refusing(store)
    with scanner_over(store, database, storage=storage) as scanner:
        scanner.run(SWEEP)
        storage.answer = None
        tried = len(storage.deletes)
        scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(5), exhaustive=False))
        assert len(storage.deletes) == tried
        assert scanner.run(PassRequest(kind=DAEMON, since=minutes_ago(5), exhaustive=True)).acted == len(CANARIES)


def test_a_refused_deletion_of_what_is_gone_by_now_stays_open_for_nobody(store, database):
    """Refused as changed, then deleted by pict-rs itself: the next sweep notes that it is gone."""
    storage = Refusing(store)
    storage.answer = ObjectChanged("it changed")
    with scanner_over(store, database, storage=storage) as scanner:
        scanner.run(SWEEP)
        (store / KEY).unlink()
        storage.answer = None
        scanner.run(SWEEP)
        assert rows(scanner) == {}


def test_what_a_reviewer_cleared_is_stuck_no_more(store, database):
    """A person has looked."""
    with scanner_over(store, database, storage=Refusing(store)) as scanner:
        scanner.run(SWEEP)
        scanner.ledger.reviews.decide(sorted(CANARIES), Review.CLEARED)
        stuck = scanner.ledger.actions.stuck(due_before=datetime.now(UTC) + timedelta(days=1))
        assert (stuck.failed, stuck.refused_again, stuck.overdue) == (0, 0, 0)
        assert scanner.run(SWEEP).not_carried_out == 0


def test_the_digest_settles_it_where_only_the_description_differs(store, database):
    """A touched file holds the judged bytes: it is deleted in the same pass, not refused."""

    class Touching(WatchedStorage):
        def _delete(self, key, expected):
            if not self.deletes:
                put(store, key, (store / key).read_bytes(), modified_at=minutes_ago(1))
            return super()._delete(key, expected)

    storage = Touching(store)
    with scanner_over(store, database, storage=storage, prefix="2/13/99/") as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.acted, summary.refused) == (1, 0)
    assert "time of modification" in storage.learned.notes[0]
