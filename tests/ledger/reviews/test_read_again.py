"""Listing what could not be judged, and reading it again because an admin asks for it."""

from __future__ import annotations

import pytest
from support.ledger.results import RULES, STORAGE, checked, failed, flagged, record, sha256_of, stored

from lemmy_safety.ledger import EventKind, Known
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review

UNDECODED = (ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE)
PASSING = (ItemStatus.DENIED, ItemStatus.FETCH_FAILED, ItemStatus.DETECTOR_FAILED)


def unjudged(ledger, **how):
    return {row.key: row for row in ledger.reviews.unjudged(**how)}


def ask(ledger, *keys):
    return ledger.reviews.read_again([row.id for key, row in unjudged(ledger).items() if key in keys])


def known(ledger, key):
    return ledger.objects.known(STORAGE, [stored(key)], RULES).get(key)


def unreadable(key, **more):
    return failed(key, ItemStatus.UNREADABLE, sha256=sha256_of(key), **more)


def test_every_object_without_a_verdict_is_listed_with_its_reason(ledger) -> None:
    """Whatever kept it from being judged; what was judged, flagged or not, is not among them."""
    results = [failed(status.value, status) for status in (*UNDECODED, *PASSING, ItemStatus.GONE)]
    record(ledger, [*results, checked("clear"), flagged("flagged")])
    rows = unjudged(ledger)
    assert {key: row.assessment.reason for key, row in rows.items()} == {
        status.value: f"why {status.value}" for status in (*UNDECODED, *PASSING)
    }
    assert {key for key, row in rows.items() if row.to_be_read} == {status.value for status in PASSING}
    assert unjudged(ledger, include_settled=True).keys() == {*rows, "gone"}
    assert unjudged(ledger, storage="s3:another") == {}


@pytest.mark.parametrize("status", UNDECODED)
def test_an_object_that_is_asked_for_is_read_by_the_next_pass(ledger, status) -> None:
    """Also by one that lists only what is new; whatever the pass finds out settles it again."""
    record(ledger, [failed("a", status), failed("b", status)])
    assert (known(ledger, "a"), ledger.objects.retryable(STORAGE, 10)) == (Known.SETTLED, [])
    assert ask(ledger, "a") == 1
    assert (known(ledger, "a"), ledger.objects.retryable(STORAGE, 10)) == (None, ["a"])
    assert unjudged(ledger)["a"].to_be_read
    assert known(ledger, "b") is Known.SETTLED
    record(ledger, [failed("a", status)])
    assert (known(ledger, "a"), ledger.objects.retryable(STORAGE, 10)) == (Known.SETTLED, [])


def test_a_deletion_for_being_unreadable_is_dropped_until_it_is_read_again(ledger) -> None:
    """It may turn out to be a picture, and nothing is deleted that someone wants to have looked at."""
    (pending,) = record(ledger, [unreadable("a")], action=None, unreadable_action="delete")
    assert ask(ledger, "a") == 1
    assert not ledger.actions.is_intended(pending.id)
    assert ledger.actions.unfinished(STORAGE) == []
    assert ledger.actions.intend(STORAGE, ["a"], ActionPlan()) == []
    assert [event.kind for event in ledger.reviews.history("a")] == [EventKind.INTENDED, EventKind.DROPPED]
    (again,) = record(ledger, [unreadable("a")], action=None, unreadable_action="delete")
    assert ledger.actions.is_intended(again.id)


def test_a_refused_deletion_is_not_tried_before_the_object_is_read_again(ledger) -> None:
    """The storage refused it once; its next try waits for the next look."""
    (pending,) = record(ledger, [unreadable("a")], action=None, unreadable_action="delete")
    ledger.actions.finish(pending.id, ActionState.FAILED, "no right")
    ask(ledger, "a")
    later = ledger.database.now()
    assert ledger.actions.failed(STORAGE, before=later) == []


@pytest.mark.parametrize("status", [ItemStatus.FETCH_FAILED, ItemStatus.UNREADABLE])
def test_a_flag_keeps_its_action_whatever_a_later_read_came_to(ledger, status) -> None:
    """The bytes are the flagged ones: asking for another look undoes no decision about them."""
    (pending,) = record(ledger, [flagged("a")])
    record(ledger, [failed("a", status)])
    assert unjudged(ledger)["a"].assessment.outcome is Outcome.FLAGGED
    assert ask(ledger, "a") == 1
    assert ledger.actions.is_intended(pending.id)
    assert ledger.objects.retryable(STORAGE, 10) == ["a"]


def test_what_is_deleted_gone_or_cleared_is_not_read_again(ledger) -> None:
    """There is nothing left to read, or a human has decided."""
    (done,) = record(ledger, [unreadable("deleted")], action=None, unreadable_action="delete")
    ledger.actions.finish(done.id, ActionState.DONE)
    record(ledger, [unreadable("cleared"), failed("gone", ItemStatus.GONE)], action=None)
    ledger.reviews.decide(["cleared"], Review.CLEARED)
    rows = unjudged(ledger, include_settled=True)
    assert set(rows) == {"deleted", "cleared", "gone"}
    assert ledger.reviews.read_again([row.id for row in rows.values()]) == 0
    assert ledger.objects.retryable(STORAGE, 10) == []
    assert known(ledger, "cleared") is Known.SETTLED


def test_asking_for_many_takes_every_one_of_them(quick_ledger) -> None:
    """More than a database takes in one statement."""
    record(quick_ledger, [unreadable(f"k{number}") for number in range(1200)], action=None)
    rows = list(quick_ledger.reviews.unjudged())
    assert len(rows) == 1200
    assert quick_ledger.reviews.read_again([row.id for row in rows]) == 1200
    assert len(quick_ledger.objects.retryable(STORAGE, 5000)) == 1200
