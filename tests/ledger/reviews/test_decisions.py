"""What humans decide, and how far it reaches."""

from __future__ import annotations

import pytest
from support.ledger.results import STORAGE, checked, failed, flagged, record, row_of

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import EventKind
from lemmy_safety.records import ActionPlan, ActionState, Outcome, Review


def test_clearing_takes_a_row_off_the_list_with_its_copies(ledger) -> None:
    """The same bytes under other keys and in other storages are cleared with it; other bytes are not."""
    record(ledger, [flagged("a", "same"), flagged("b", "same"), flagged("c", "other")], dry_run=True)
    record(ledger, [flagged("d", "same")], storage="local:/other", dry_run=True)
    result = ledger.reviews.decide(["a", "nobody", "nobody"], Review.CLEARED, note="my cat")
    assert [(row.key, row.review, row.review_note) for row in result.changed] == [
        (key, Review.CLEARED, "my cat") for key in ("a", "b", "d")
    ]
    assert result.unknown == ("nobody",)
    assert [row.key for row in ledger.reviews.flagged()] == ["c"]
    (event,) = [event for event in ledger.reviews.history("b") if event.kind is EventKind.REVIEWED]
    assert event.detail == {"decision": "cleared", "note": "my cat"}


def test_a_key_of_several_storages_is_cleared_where_it_is_meant(ledger) -> None:
    """The same key with different bytes elsewhere is another picture: nothing is decided until it is said which one."""
    record(ledger, [flagged("a", "mine")], dry_run=True)
    record(ledger, [flagged("a", "theirs")], storage="local:/other", dry_run=True)
    with pytest.raises(LedgerError, match="several storages") as caught:
        ledger.reviews.decide(["a"], Review.CLEARED)
    assert "--storage" in caught.value.hint
    assert len(list(ledger.reviews.flagged())) == 2
    assert len(ledger.reviews.decide(["a"], Review.CLEARED, storage="local:/other").changed) == 1
    assert [row.storage for row in ledger.reviews.flagged()] == [STORAGE]
    assert ledger.reviews.decide(["a"], Review.CLEARED, storage="local:/third").unknown == ("a",)


def test_cleared_bytes_stay_cleared_under_new_keys(ledger) -> None:
    """A new upload of a cleared picture is flagged by the model again, and nothing is done about it."""
    record(ledger, [flagged("a", "same")], dry_run=True)
    ledger.reviews.decide(["a"], Review.CLEARED, note="my cat")
    assert record(ledger, [flagged("b", "same"), flagged("a", "same")]) == []
    row = row_of(ledger, "b")
    assert (row.assessment.outcome, row.review, row.review_note) == (Outcome.FLAGGED, Review.CLEARED, "my cat")
    assert ledger.objects.verdict_for(row.assessment.sha256).review is Review.CLEARED
    assert list(ledger.reviews.flagged()) == []


def test_a_decision_does_not_outlive_its_bytes(ledger) -> None:
    """New content under the cleared key is judged like any other."""
    record(ledger, [flagged("a", "old")], dry_run=True)
    ledger.reviews.decide(["a"], Review.CLEARED)
    (pending,) = record(ledger, [flagged("a", "new")])
    assert row_of(ledger, "a").review is Review.NONE
    assert pending.obj.key == "a"


def test_a_decision_outlives_the_objects_that_held_its_bytes(ledger) -> None:
    """The key got other bytes; the cleared ones are uploaded again."""
    record(ledger, [flagged("a", "old")], dry_run=True)
    ledger.reviews.decide(["a"], Review.CLEARED)
    record(ledger, [checked("a", content="new")])
    assert record(ledger, [flagged("b", "old")]) == []
    assert row_of(ledger, "b").review is Review.CLEARED


def test_a_decision_on_an_object_that_could_not_be_read_waits_for_its_bytes(ledger) -> None:
    """It is one on them if they are still those, and on nothing if they are not."""
    record(ledger, [failed("a"), failed("b")])
    ledger.reviews.decide(["a", "b"], Review.CLEARED)
    assert record(ledger, [flagged("a")]) == []
    assert record(ledger, [flagged("c", "a")]) == []
    assert len(record(ledger, [flagged("b", "other")])) == 1


def test_clearing_drops_an_intended_action(ledger) -> None:
    """And if it was under way already, the ledger still learns that it was done."""
    (pending,) = record(ledger, [flagged("a")])
    ledger.reviews.decide(["a"], Review.CLEARED)
    assert ledger.actions.unfinished(STORAGE) == []
    assert ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")) == []
    ledger.actions.finish(pending.id, ActionState.DONE)
    assert row_of(ledger, "a").action_state is ActionState.DONE


def test_a_decision_can_be_taken_back(ledger) -> None:
    """The row is open again, and an action can be intended."""
    record(ledger, [flagged("a")], dry_run=True)
    ledger.reviews.decide(["a"], Review.CLEARED)
    ledger.reviews.decide(["a"], Review.NONE)
    assert [row.key for row in ledger.reviews.flagged()] == ["a"]
    assert len(ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete"))) == 1


def test_a_confirmed_row_stays_open_until_it_is_acted_on(ledger) -> None:
    """Confirming is a statement, not an action."""
    record(ledger, [flagged("a", "same")], dry_run=True)
    ledger.reviews.decide(["a"], Review.CONFIRMED)
    assert [row.review for row in ledger.reviews.flagged()] == [Review.CONFIRMED]
    record(ledger, [flagged("b", "same")], dry_run=True)
    assert row_of(ledger, "b").review is Review.CONFIRMED


@pytest.mark.long
def test_many_keys_are_decided_at_once(ledger) -> None:
    """More than a statement takes parameters; a clear row may be reviewed too."""
    record(ledger, [flagged(f"k{number}") for number in range(700)], dry_run=True)
    record(ledger, [checked("clear")])
    result = ledger.reviews.decide([*(f"k{number}" for number in range(1200)), "clear"], Review.CLEARED)
    assert (len(result.changed), len(result.unknown)) == (701, 500)
    assert result.changed[-1].assessment.outcome is Outcome.CLEAR
