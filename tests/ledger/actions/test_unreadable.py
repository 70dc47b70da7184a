"""Acting on what cannot be read, where an admin wants that: decided, dropped, protected like any action, and no flag."""

from __future__ import annotations

import pytest
from support.ledger.results import (
    RULES,
    STORAGE,
    checked,
    failed,
    flagged,
    record,
    row_of,
    sha256_of,
    stored,
)

from lemmy_safety.ledger import EventKind, Known
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review


def unreadable(key="a", content="", **more):
    return failed(key, ItemStatus.UNREADABLE, content, sha256=sha256_of(content or key), **more)


def act(ledger, *results, **how):
    """Record in a live pass that deletes what it cannot read and reports what it flags."""
    return record(ledger, results, **{"action": None, "unreadable_action": "delete", **how})


def open_rows(ledger, **how):
    return [(row.key, row.action_state) for row in ledger.reviews.unreadable(**how)]


def kinds(ledger, key="a"):
    return [event.kind for event in ledger.reviews.history(key)]


def known(ledger, obj):
    return ledger.objects.known(STORAGE, [obj], RULES).get(obj.key)


def test_it_is_intended_and_never_flagged(ledger) -> None:
    """The intent says why, so that no one finishes it who only wants to act on flagged objects."""
    (pending,) = act(ledger, unreadable(), checked("b"))
    assert (pending.obj, pending.action, pending.unreadable) == (stored("a"), "delete", True)
    assert ledger.actions.unfinished(STORAGE) == [pending]
    assert ledger.actions.is_intended(pending.id)
    assert list(ledger.reviews.flagged(include_settled=True)) == []
    assert open_rows(ledger) == [("a", ActionState.INTENDED)]
    stats = ledger.maintenance.stats()
    assert (stats.unreadable_open, stats.flagged_open, stats.acted) == (1, 0, 0)
    assert stats.by_outcome == {Outcome.CLEAR: 1}
    ledger.actions.finish(pending.id, ActionState.DONE)
    assert ledger.actions.unfinished(STORAGE) == []
    assert (open_rows(ledger), open_rows(ledger, include_settled=True)) == ([], [("a", ActionState.DONE)])
    assert (ledger.maintenance.stats().unreadable_open, ledger.maintenance.stats().acted) == (0, 1)
    assert kinds(ledger) == [EventKind.INTENDED, EventKind.DONE]


def test_flagged_and_unreadable_have_each_their_own_action(quick_ledger) -> None:
    """One does not stand in for the other."""
    pending = record(quick_ledger, [flagged("f"), unreadable("u")], action="one", unreadable_action="two")
    assert [(one.obj.key, one.action, one.unreadable) for one in pending] == [("f", "one", False), ("u", "two", True)]
    assert record(quick_ledger, [flagged("g"), unreadable("v")], action="one") != []
    assert open_rows(quick_ledger) == [("u", ActionState.INTENDED), ("v", ActionState.NONE)]


@pytest.mark.parametrize(
    "result",
    [
        unreadable(decoder_broke=True),
        failed("a", ItemStatus.UNREADABLE),
        failed("a", ItemStatus.UNSUPPORTED, sha256=sha256_of("a")),
        failed("a", ItemStatus.TOO_LARGE, sha256=sha256_of("a")),
        failed("a", sha256=sha256_of("a")),
        failed("a", ItemStatus.DETECTOR_FAILED, sha256=sha256_of("a")),
        failed("a", ItemStatus.GONE),
    ],
    ids=["decoder broke", "bytes never had", "unsupported", "too large", "fetch failed", "detector failed", "gone"],
)
def test_what_may_hold_a_picture_is_never_acted_on(quick_ledger, result) -> None:
    """Not when it is recorded, and not when it is met again."""
    assert act(quick_ledger, result) == []
    assert quick_ledger.actions.intend(STORAGE, ["a"], ActionPlan(unreadable="delete")) == []
    assert known(quick_ledger, stored("a")) is not Known.PENDING
    assert all(row.assessment.decoder_broke for row in quick_ledger.reviews.unreadable())


def test_a_dry_run_and_a_report_decide_nothing_and_later_passes_do(ledger) -> None:
    """The object is not read again for that."""
    assert act(ledger, unreadable("a"), dry_run=True) == []
    assert act(ledger, unreadable("b"), unreadable_action=None) == []
    assert open_rows(ledger) == [("a", ActionState.NONE), ("b", ActionState.NONE)]
    assert known(ledger, stored("a")) is known(ledger, stored("b")) is Known.PENDING
    assert ledger.actions.intend(STORAGE, ["a", "b"], ActionPlan("delete")) == []
    pending = ledger.actions.intend(STORAGE, ["a", "b"], ActionPlan("delete", "quarantine"))
    assert [(one.obj.key, one.action, one.unreadable) for one in pending] == [
        ("a", "quarantine", True),
        ("b", "quarantine", True),
    ]
    assert ledger.actions.unfinished(STORAGE) == pending
    assert known(ledger, stored("a")) is Known.SETTLED


@pytest.mark.parametrize(
    ("state", "expected"),
    [(ActionState.DONE, None), (ActionState.REFUSED, None), (ActionState.FAILED, Known.PENDING)],
)
def test_how_an_action_ends(quick_ledger, state, expected) -> None:
    """Done and still there, or refused as changed: read again, soon; failed: tried again without reading."""
    (pending,) = act(quick_ledger, unreadable())
    quick_ledger.actions.finish(pending.id, state, "why")
    assert known(quick_ledger, stored("a")) is expected
    assert quick_ledger.objects.retryable(STORAGE, 10) == (["a"] if state is ActionState.REFUSED else [])
    assert bool(quick_ledger.actions.intend(STORAGE, ["a"], ActionPlan(unreadable="delete"))) is (
        state is ActionState.FAILED
    )


@pytest.mark.parametrize(
    "later",
    [
        checked("a"),
        flagged("a"),
        checked("a", content="new"),
        unreadable(content="new"),
        unreadable(decoder_broke=True),
        failed("a"),
        failed("a", ItemStatus.UNSUPPORTED, sha256=sha256_of("a")),
        failed("a", ItemStatus.GONE),
    ],
    ids=["readable now", "flagged now", "replaced", "replaced by another", "broke", "not read", "unsupported", "gone"],
)
def test_an_intent_is_dropped_as_soon_as_anything_else_is_learned(quick_ledger, later) -> None:
    """Also by a dry run; and finishing it late leaves its event only."""
    (pending,) = act(quick_ledger, unreadable())
    assert record(quick_ledger, [later], dry_run=True, action=None) == []
    assert not quick_ledger.actions.is_intended(pending.id)
    assert quick_ledger.actions.unfinished(STORAGE) == []
    assert EventKind.DROPPED in kinds(quick_ledger)
    quick_ledger.actions.finish(pending.id, ActionState.DONE)
    assert quick_ledger.maintenance.stats().acted == 0


def test_a_dry_run_that_finds_the_same_leaves_an_intent_standing(quick_ledger) -> None:
    """A live pass decided it, and it may be under way; a live pass decides it again."""
    (pending,) = act(quick_ledger, unreadable())
    assert act(quick_ledger, unreadable(), dry_run=True, unreadable_action=None) == []
    assert quick_ledger.actions.unfinished(STORAGE) == [pending]
    (again,) = act(quick_ledger, unreadable())
    assert again.id != pending.id
    assert quick_ledger.actions.unfinished(STORAGE) == [again]


def test_a_human_protects_it(ledger) -> None:
    """Before and after it is intended, and under other keys; taken back, it is open again."""
    (pending,) = act(ledger, unreadable("a", "same"))
    ledger.reviews.decide(["a"], Review.CLEARED)
    assert not ledger.actions.is_intended(pending.id)
    assert act(ledger, unreadable("a", "same"), unreadable("b", "same")) == []
    assert ledger.actions.intend(STORAGE, ["a", "b"], ActionPlan(unreadable="delete")) == []
    assert open_rows(ledger) == []
    assert known(ledger, stored("a", "same")) is Known.SETTLED
    ledger.reviews.decide(["a"], Review.NONE)
    assert len(ledger.actions.intend(STORAGE, ["a", "b"], ActionPlan(unreadable="delete"))) == 2


def test_what_could_be_read_once_is_never_taken_for_unreadable(quick_ledger) -> None:
    """A decoder that does worse today does not make a picture disappear."""
    record(quick_ledger, [checked("a"), flagged("b")], dry_run=True)
    assert act(quick_ledger, unreadable("a"), unreadable("b")) == []
    assert list(quick_ledger.reviews.unreadable()) == []
    assert row_of(quick_ledger, "b").assessment.outcome is Outcome.FLAGGED


def test_flagged_bytes_that_became_unreadable_ones_are_no_longer_flagged(quick_ledger) -> None:
    """Their intent is dropped, and the new bytes get one of their own kind."""
    (old,) = record(quick_ledger, [flagged("a", "old")])
    (new,) = act(quick_ledger, unreadable("a", "new"))
    assert (new.unreadable, old.unreadable) == (True, False)
    assert quick_ledger.actions.unfinished(STORAGE) == [new]
    assert set(kinds(quick_ledger)) >= {EventKind.UNFLAGGED, EventKind.DROPPED}


def test_it_is_listed_by_storage_in_order_and_resumes(ledger, monkeypatch) -> None:
    """As flagged rows are."""
    monkeypatch.setattr("lemmy_safety.ledger.reviews.store.PAGE", 3)
    act(ledger, *(unreadable(f"k{number}") for number in range(8)), flagged("f"))
    act(ledger, unreadable("elsewhere"), storage="local:/other")
    rows = list(ledger.reviews.unreadable(storage=STORAGE))
    assert [row.key for row in rows] == [f"k{number}" for number in range(8)]
    assert [row.key for row in ledger.reviews.unreadable(storage=STORAGE, after_id=rows[5].id)] == ["k6", "k7"]
    assert not any(row.assessment.decoder_broke for row in rows)
    assert rows[0].assessment.reason == "why unreadable"
