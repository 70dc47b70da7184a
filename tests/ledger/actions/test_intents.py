"""Intents before actions: what is decided, carried out, dropped, and seen by a human meanwhile."""

from __future__ import annotations

import pytest
from support.ledger.results import (
    DECODER,
    DETECTORS,
    RULES,
    STORAGE,
    checked,
    failed,
    flagged,
    record,
    row_of,
    rules,
    sha256_of,
    stored,
)

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import EventKind, Known, PendingAction
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review


def kinds(ledger, key):
    return [event.kind for event in ledger.reviews.history(key)]


def test_flagged_objects_get_an_intent_and_clear_ones_do_not(ledger) -> None:
    """The intent comes back once it is on disk, and is listed until it is finished."""
    pending = record(ledger, [checked("a"), flagged("b"), flagged("c")])
    assert [(one.obj, one.action, one.sha256) for one in pending] == [
        (stored("b"), "delete", sha256_of("b")),
        (stored("c"), "delete", sha256_of("c")),
    ]
    assert ledger.actions.unfinished(STORAGE) == pending
    assert ledger.actions.unfinished("local:/other") == []
    ledger.actions.finish(pending[0].id, ActionState.DONE)
    assert ledger.actions.unfinished(STORAGE) == pending[1:]
    assert kinds(ledger, "b") == [EventKind.FLAGGED, EventKind.INTENDED, EventKind.DONE]
    assert kinds(ledger, "a") == []


def test_a_dry_run_and_a_report_decide_nothing(ledger) -> None:
    """The rows are flagged and open, and marked as those of a dry run."""
    assert record(ledger, [flagged("a")], dry_run=True) == []
    assert record(ledger, [flagged("b")], action=None) == []
    assert [(row.key, row.dry_run, row.action_wanted, row.action_state) for row in ledger.reviews.flagged()] == [
        ("a", True, None, ActionState.NONE),
        ("b", False, None, ActionState.NONE),
    ]
    assert ledger.actions.unfinished(STORAGE) == []


def test_a_dry_run_with_a_plan_to_act_is_refused_and_records_nothing(quick_ledger) -> None:
    """A contradiction between the run and its plan is a fault of ours, and never ends with an intent."""
    run_id = quick_ledger.passes.start(STORAGE, "sweep", dry_run=True, detectors=DETECTORS)
    for plan in (ActionPlan("delete"), ActionPlan(unreadable="delete")):
        with pytest.raises(ValueError, match="a dry run acts on nothing"):
            quick_ledger.objects.record(
                STORAGE, [flagged("a")], run_id=run_id, dry_run=True, plan=plan, decoder=DECODER
            )
    assert list(quick_ledger.reviews.flagged()) == []
    assert quick_ledger.actions.unfinished(STORAGE) == []


def test_intend_acts_on_what_a_dry_run_flagged(ledger) -> None:
    """Only on rows that are flagged, open and not cleared, and twice gives the same intents."""
    record(ledger, [flagged("a"), flagged("b"), checked("c"), failed("d"), flagged("e")], dry_run=True)
    ledger.reviews.decide(["b"], Review.CLEARED)
    record(ledger, [failed("e", ItemStatus.GONE)])
    pending = ledger.actions.intend(STORAGE, ["a", "b", "c", "d", "e", "nobody"], ActionPlan("delete"))
    assert [(one.obj, one.action) for one in pending] == [(stored("a"), "delete")]
    assert ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")) == pending == ledger.actions.unfinished(STORAGE)
    assert kinds(ledger, "a") == [EventKind.FLAGGED, EventKind.INTENDED]
    ledger.actions.finish(pending[0].id, ActionState.DONE)
    assert ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")) == []
    assert ledger.actions.intend("local:/other", ["a"], ActionPlan("delete")) == []


@pytest.mark.parametrize(
    ("state", "is_open", "again"),
    [(ActionState.DONE, False, False), (ActionState.REFUSED, True, False), (ActionState.FAILED, True, True)],
)
def test_how_an_action_ends(ledger, state, is_open, again) -> None:
    """Done is closed; refused waits for a new verdict; failed can be tried again."""
    (pending,) = record(ledger, [flagged("a")])
    ledger.actions.finish(pending.id, state, "because\0of \udc80")
    row = row_of(ledger, "a")
    assert (row.action_state, row.action_detail) == (state, "because\N{REPLACEMENT CHARACTER}of ?")
    assert [one.key for one in ledger.reviews.flagged()] == (["a"] if is_open else [])
    assert bool(ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete"))) is again


def test_an_action_cannot_end_as_something_else(ledger) -> None:
    """Nor can one end that never was."""
    (pending,) = record(ledger, [flagged("a")])
    with pytest.raises(ValueError, match="cannot end"):
        ledger.actions.finish(pending.id, ActionState.NONE)
    with pytest.raises(LedgerError, match="no action"):
        ledger.actions.finish(999, ActionState.DONE)
    with pytest.raises(LedgerError, match="no action"):
        ledger.actions.finish(pending.id << 1, ActionState.DONE)


def test_an_object_judged_again_gets_a_new_action(ledger) -> None:
    """And the end of the old one changes nothing but the audit."""
    (old,) = record(ledger, [flagged("a", "old")])
    (new,) = record(ledger, [flagged("a", "new")])
    assert new.id != old.id
    assert new.obj == stored("a", "new")
    ledger.actions.finish(old.id, ActionState.DONE)
    assert ledger.actions.unfinished(STORAGE) == [new]
    assert kinds(ledger, "a") == [
        EventKind.FLAGGED,
        EventKind.INTENDED,
        EventKind.FLAGGED,
        EventKind.DROPPED,
        EventKind.INTENDED,
        EventKind.DONE,
    ]
    assert ledger.reviews.history("a")[-1].detail["judged_anew_meanwhile"] is True


@pytest.mark.parametrize(
    "later", [checked("a", content="new"), checked("a"), failed("a", content="new")], ids=["new", "same", "failed"]
)
def test_an_intent_is_dropped_when_the_object_is_no_longer_the_flagged_one(ledger, later) -> None:
    """Nothing that was not judged is ever acted on."""
    (pending,) = record(ledger, [flagged("a")])
    record(ledger, [later])
    assert ledger.actions.unfinished(STORAGE) == []
    assert row_of(ledger, "a") is None
    assert kinds(ledger, "a")[2:] == [EventKind.DROPPED, EventKind.UNFLAGGED]
    ledger.actions.finish(pending.id, ActionState.DONE)
    assert ledger.actions.unfinished(STORAGE) == []


def test_an_intent_survives_failed_attempts_and_the_objects_end(ledger) -> None:
    """It was decided about bytes that may still be there; finishing it is harmless if they are not."""
    (pending,) = record(ledger, [flagged("a")])
    record(ledger, [failed("a")])
    assert ledger.actions.unfinished(STORAGE) == [pending]
    record(ledger, [failed("a", ItemStatus.GONE)])
    assert ledger.actions.unfinished(STORAGE) == [pending]
    assert list(ledger.reviews.flagged()) == []


def test_a_dry_run_that_judges_again_leaves_an_intent_standing(ledger) -> None:
    """A live pass decided it, and it may be under way."""
    (pending,) = record(ledger, [flagged("a")])
    assert record(ledger, [flagged("a")], dry_run=True, action=None) == []
    assert ledger.actions.unfinished(STORAGE) == [pending]
    ledger.actions.finish(pending.id, ActionState.DONE)
    assert row_of(ledger, "a").action_state is ActionState.DONE


def test_a_dry_run_on_other_content_drops_the_intent(ledger) -> None:
    """The new content is flagged and open, and nothing is decided about it."""
    record(ledger, [flagged("a", "old")])
    record(ledger, [flagged("a", "new")], dry_run=True, action=None)
    assert ledger.actions.unfinished(STORAGE) == []
    assert row_of(ledger, "a").action_state is ActionState.NONE


def test_an_object_that_is_back_after_its_deletion_is_acted_on_again(ledger) -> None:
    """Someone restored it: the old deletion does not excuse the new object."""
    (first,) = record(ledger, [flagged("a")])
    ledger.actions.finish(first.id, ActionState.DONE)
    (second,) = record(ledger, [flagged("a")])
    assert second.id != first.id
    assert ledger.actions.unfinished(STORAGE) == [second]


def test_a_gone_object_keeps_its_verdict_and_deed(ledger) -> None:
    """After a deletion the next look finds nothing; what was said and done stays on record."""
    (pending,) = record(ledger, [flagged("a")])
    ledger.actions.finish(pending.id, ActionState.DONE)
    record(ledger, [failed("a", ItemStatus.GONE)])
    row = row_of(ledger, "a")
    assert (row.assessment.status, row.action_state) == (ItemStatus.GONE, ActionState.DONE)
    assert row.assessment.findings == flagged("a").assessment.verdict.findings


def test_flagged_streams_in_order_and_resumes(ledger, monkeypatch) -> None:
    """By id, page by page, from any point, while rows are written."""
    monkeypatch.setattr("lemmy_safety.ledger.reviews.store.PAGE", 7)
    record(ledger, [flagged(f"k{number:03}") for number in range(50)], dry_run=True)
    rows = ledger.reviews.flagged()
    first = [next(rows) for _ in range(10)]
    record(ledger, [flagged("late")], dry_run=True)
    keys = [row.key for row in (*first, *rows)]
    assert keys == [*(f"k{number:03}" for number in range(50)), "late"]
    assert [row.key for row in ledger.reviews.flagged(after_id=first[-1].id)] == keys[10:]
    assert list(ledger.reviews.flagged(storage="local:/other")) == []


def test_one_batch_may_hold_the_same_key_twice(ledger) -> None:
    """A retry within a pass: the second result meets the first."""
    pending = record(ledger, [failed("a"), flagged("a"), failed("b"), checked("b")])
    assert [one.obj.key for one in pending] == ["a"]
    assert ledger.maintenance.stats().by_status == {ItemStatus.CHECKED: 2}


def test_actions_are_values(ledger) -> None:
    """What comes back later equals what came back first, so that callers may compare and hash it."""
    pending = record(ledger, [flagged("a")])
    assert set(pending) == set(ledger.actions.unfinished(STORAGE))
    assert isinstance(pending[0], PendingAction)


def test_what_was_flagged_stays_so_until_the_same_detectors_have_looked_again(ledger) -> None:
    """A sweep with hashes alone found it, one with clip alone says nothing against that; one with both does."""
    record(ledger, [flagged("a", detectors=frozenset({"hashes"}))], action=None)
    record(ledger, [checked("a", detectors=frozenset({"clip"}))], action=None)
    row = row_of(ledger, "a")
    assert (row.assessment.outcome, row.action_state) == (Outcome.FLAGGED, ActionState.NONE)
    both = ledger.objects.known(STORAGE, [stored("a")], RULES)
    assert both == {"a": Known.PENDING}
    record(ledger, [checked("a", content="other", detectors=frozenset({"clip"}))], action=None)
    assert row_of(ledger, "a") is None
    record(ledger, [flagged("a", detectors=frozenset({"hashes"}))], action=None)
    record(ledger, [checked("a")], action=None)
    assert row_of(ledger, "a") is None


@pytest.mark.parametrize("state", [ActionState.DONE, ActionState.REFUSED])
def test_what_is_there_again_is_open_again_although_other_detectors_looked(ledger, state) -> None:
    """Deleted, or left alone as changed; now the same bytes lie there, and no one has proved the flag wrong."""
    (pending,) = record(ledger, [flagged("a", detectors=frozenset({"hashes"}))])
    ledger.actions.finish(pending.id, state)
    clip = frozenset({"clip"})
    record(ledger, [checked("a", detectors=clip)])
    assert ledger.objects.known(STORAGE, [stored("a")], rules(detectors=clip)) == {"a": Known.PENDING}
    assert [one.obj for one in ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete"))] == [stored("a")]


def test_an_intent_outlives_a_look_by_other_detectors(ledger) -> None:
    """It was decided, and is perhaps under way."""
    (pending,) = record(ledger, [flagged("a", detectors=frozenset({"hashes"}))])
    assert record(ledger, [checked("a", detectors=frozenset({"clip"}))]) == []
    assert ledger.actions.unfinished(STORAGE) == [pending]
