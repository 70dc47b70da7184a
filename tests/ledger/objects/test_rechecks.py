"""What can be judged again, as the ledger knows it."""

from __future__ import annotations

from datetime import timedelta

from support.ledger.results import NOON, STORAGE, checked, failed, flagged, record

from lemmy_safety.records import ActionState, ItemStatus

LATER = NOON + timedelta(days=1)


def test_since_has_what_was_looked_at_in_that_time_and_is_still_there(ledger) -> None:
    """Clear and flagged ones; not what is gone, was deleted, lies in another storage, or was looked at outside the time."""
    record(ledger, [checked("early")])
    begin = ledger.database.now()
    record(ledger, [checked("clear"), failed("gone", ItemStatus.GONE), failed("broken", ItemStatus.UNREADABLE)])
    (pending,) = record(ledger, [flagged("deleted")])
    ledger.actions.finish(pending.id, ActionState.DONE)
    record(ledger, [flagged("flagged")], action=None)
    record(ledger, [checked("other")], storage="local:/elsewhere")
    end = ledger.database.now()
    record(ledger, [checked("late")])
    assert list(ledger.rechecks.since(STORAGE, begin, before=end)) == ["clear", "broken", "flagged"]


def test_since_goes_on_over_many_pages(ledger) -> None:
    """Each key once, also when rows are judged again while they are handed out."""
    record(ledger, [checked(f"k{number:04}") for number in range(1200)])
    end = ledger.database.now()
    keys = []
    for key in ledger.rechecks.since(STORAGE, NOON, before=end):
        if len(keys) % 300 == 0:
            record(ledger, [checked(key)])
        keys.append(key)
    assert keys == [f"k{number:04}" for number in range(1200)]
    assert len(list(ledger.rechecks.since(STORAGE, NOON, before=end))) == 1196


def test_keys_are_known_in_their_storage(ledger) -> None:
    """And which of them are flagged now."""
    record(ledger, [flagged("a"), checked("b"), failed("gone", ItemStatus.GONE)], action=None)
    record(ledger, [flagged("c")], storage="local:/elsewhere", action=None)
    asked = ["a", "b", "c", "gone", "never"]
    assert ledger.rechecks.there(STORAGE, asked) == {"a", "b"}
    assert ledger.rechecks.flagged(STORAGE, asked) == {"a"}
