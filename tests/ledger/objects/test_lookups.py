"""What need not be read again, and which verdicts serve for other objects."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

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
    rules,
    sha256_of,
    stored,
)

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import Known
from lemmy_safety.records import ActionState, ItemStatus, Outcome, Review


def look_up(ledger, *objects, storage=STORAGE, detectors=DETECTORS, decoder=DECODER):
    return ledger.objects.known(storage, list(objects), rules(detectors=detectors, decoder=decoder))


def test_unchanged_objects_are_settled_and_unknown_ones_are_not_mentioned(ledger) -> None:
    """A second pass skips what the first judged."""
    record(ledger, [checked("a"), checked("b")])
    assert look_up(ledger, stored("a"), stored("b"), stored("c")) == {"a": Known.SETTLED, "b": Known.SETTLED}


@pytest.mark.parametrize(
    "change",
    [
        {"size": 5},
        {"etag": "another"},
        {"etag": None, "modified_at": stored("a").modified_at + timedelta(seconds=1)},
    ],
    ids=["size", "etag", "time"],
)
def test_a_changed_object_is_read_again(ledger, change) -> None:
    """Size, tag, or time where there is no tag: any change asks for a new verdict."""
    record(ledger, [checked("a")])
    assert look_up(ledger, dataclasses.replace(stored("a"), **change)) == {}


def test_objects_of_storages_without_tags_are_compared_by_whole_seconds(ledger) -> None:
    """A listing with fractions of seconds and a description without them are the same object."""
    obj = stored("a", etag=False)
    record(ledger, [checked("a", obj=obj)])
    later = dataclasses.replace(obj, modified_at=obj.modified_at + timedelta(microseconds=900_000))
    assert look_up(ledger, later) == {"a": Known.SETTLED}


def test_an_additional_detector_asks_for_a_new_verdict(ledger) -> None:
    """Fewer detectors than judged are satisfied, more are not."""
    record(ledger, [checked("a")])
    assert look_up(ledger, stored("a"), detectors=frozenset({"hashes"})) == {"a": Known.SETTLED}
    assert look_up(ledger, stored("a"), detectors=DETECTORS | {"nudenet"}) == {}


@pytest.mark.parametrize("status", [ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE])
def test_what_could_not_be_decoded_waits_for_another_decoder(ledger, status) -> None:
    """The same decoder would fail again; a later version may not."""
    record(ledger, [failed("a", status)])
    assert look_up(ledger, stored("a")) == {"a": Known.SETTLED}
    assert look_up(ledger, stored("a"), decoder="pillow-2") == {}


@pytest.mark.parametrize("status", [s for s in ItemStatus if not s.settled] + [ItemStatus.GONE])
def test_failed_attempts_and_gone_objects_are_read_when_they_are_listed(ledger, status) -> None:
    """A passing failure is no verdict, and what is listed again is not gone."""
    record(ledger, [failed("a", status)])
    assert look_up(ledger, stored("a")) == {}


def test_storages_do_not_share_keys(ledger) -> None:
    """The same key elsewhere is another object."""
    record(ledger, [checked("a")])
    assert look_up(ledger, stored("a"), storage="local:/srv/files") == {}


def test_flagged_rows_of_a_dry_run_are_pending(ledger) -> None:
    """A live pass that meets what a dry run flagged still has something to do."""
    record(ledger, [flagged("a")], dry_run=True, action=None)
    assert look_up(ledger, stored("a")) == {"a": Known.PENDING}
    ledger.reviews.decide(["a"], Review.CLEARED)
    assert look_up(ledger, stored("a")) == {"a": Known.SETTLED}


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (ActionState.INTENDED, {"a": Known.SETTLED}),
        (ActionState.FAILED, {"a": Known.PENDING}),
        (ActionState.REFUSED, {}),
        (ActionState.DONE, {}),
    ],
)
def test_acted_on_objects_that_are_listed(ledger, state, answer) -> None:
    """Intended: under way. Failed: open. Refused or done, and still there: to be judged again."""
    (pending,) = record(ledger, [flagged("a")])
    if state is not ActionState.INTENDED:
        ledger.actions.finish(pending.id, state)
    assert look_up(ledger, stored("a")) == answer


def test_look_ups_take_any_number_of_objects(ledger) -> None:
    """More keys than a statement takes parameters, with the same key twice among them."""
    record(ledger, [checked(f"k{number}") for number in range(1234)])
    objects = [stored(f"k{number}") for number in range(2000)]
    assert set(look_up(ledger, *objects, *objects[:10])) == {f"k{number}" for number in range(1234)}
    assert look_up(ledger) == {}


def test_a_verdict_serves_for_the_same_bytes_in_any_storage(ledger) -> None:
    """By SHA-256, with everything that was learned of the bytes."""
    result = flagged("a", "some bytes")
    record(ledger, [result], storage="local:/other")
    found = ledger.objects.verdict_for(sha256_of("some bytes"), rules(detectors=frozenset({"clip"})))
    assert (found.key, found.assessment) == ("a", result.assessment)
    assert found.review is Review.NONE


def test_a_verdict_by_fewer_detectors_does_not_serve(ledger) -> None:
    """The latest verdict that satisfies is taken, not simply the latest."""
    record(ledger, [checked("a", content="same")])
    record(ledger, [checked("b", content="same", detectors=frozenset({"hashes"}))])
    assert ledger.objects.verdict_for(sha256_of("same"), RULES).key == "a"
    assert ledger.objects.verdict_for(sha256_of("same"), rules(detectors=frozenset({"hashes"}))).key == "b"
    assert ledger.objects.verdict_for(sha256_of("same"), rules(detectors=frozenset({"nudenet"}))) is None
    assert ledger.objects.verdict_for(sha256_of("other")) is None


def test_an_object_that_was_replaced_lends_no_verdict(ledger) -> None:
    """The verdict goes with the bytes it was about."""
    record(ledger, [checked("a", content="old")])
    record(ledger, [failed("a", content="new and unreadable", status=ItemStatus.UNREADABLE)])
    assert ledger.objects.verdict_for(sha256_of("old")) is None


def test_retryable_gives_what_waited_longest_first(ledger) -> None:
    """Every new attempt goes to the back, so that a few hopeless objects never keep the others waiting."""
    record(ledger, [failed("a", ItemStatus.DENIED)])
    record(ledger, [failed("b"), checked("fine"), failed("odd", ItemStatus.UNREADABLE)])
    record(ledger, [failed("c", ItemStatus.DETECTOR_FAILED)])
    assert ledger.objects.retryable(STORAGE, 2) == ["a", "b"]
    record(ledger, [failed("a")])
    assert ledger.objects.retryable(STORAGE, 10) == ["b", "c", "a"]
    record(ledger, [checked("b"), failed("c", ItemStatus.GONE)])
    assert ledger.objects.retryable(STORAGE, 10) == ["a"]
    assert ledger.objects.retryable("local:/other", 10) == []


def test_what_changed_before_its_action_is_to_be_looked_at_again_until_it_is_gone(ledger) -> None:
    """Whatever its date: a daemon that only lists what is new would never meet it."""
    (intent,) = record(ledger, [flagged("a")])
    ledger.actions.finish(intent.id, ActionState.REFUSED, "changed")
    assert ledger.objects.retryable(STORAGE, 10) == ["a"]
    record(ledger, [failed("a", ItemStatus.GONE)])
    assert ledger.objects.retryable(STORAGE, 10) == []


def test_an_action_is_wanted_until_a_human_clears_it_or_it_is_done(ledger) -> None:
    """Asked directly before the action."""
    first, second = record(ledger, [flagged("a"), flagged("b")])
    assert ledger.actions.is_intended(first.id)
    ledger.reviews.decide(["a"], Review.CLEARED)
    ledger.actions.finish(second.id, ActionState.DONE, "deleted")
    assert not ledger.actions.is_intended(first.id)
    assert not ledger.actions.is_intended(second.id)


def test_a_verdict_by_other_rules_is_not_offered(ledger) -> None:
    """Asked for the very rules and versions, an older verdict on the same bytes does not answer."""
    record(ledger, [checked("a")])
    known = ledger.objects.verdict_for(sha256_of("a"), RULES)
    assert known is not None
    assert (
        ledger.objects.verdict_for(
            sha256_of("a"), rules(detectors=DETECTORS, rules_version=known.verdict.rules_version)
        )
        == known
    )
    assert ledger.objects.verdict_for(sha256_of("a"), rules(detectors=DETECTORS, rules_version="newer")) is None


def test_a_failed_attempt_keeps_the_verdict_on_the_same_content(ledger) -> None:
    """Asked again with one detector more, the object could not be read: the first verdict still counts."""
    record(ledger, [flagged("a")], dry_run=True, action=None)
    record(ledger, [failed("a")])
    assert look_up(ledger, stored("a")) == {"a": Known.PENDING}
    (row,) = ledger.reviews.flagged()
    assert (row.assessment.status, row.assessment.reason, row.assessment.outcome) == (
        ItemStatus.FETCH_FAILED,
        "why fetch_failed",
        Outcome.FLAGGED,
    )
    assert ledger.objects.retryable(STORAGE, 10) == ["a"]


def test_a_failed_attempt_on_new_content_takes_the_old_verdict_away(ledger) -> None:
    """What was said of other bytes is not said of these."""
    record(ledger, [flagged("a", "old")], dry_run=True, action=None)
    record(ledger, [failed("a", content="new!")])
    assert list(ledger.reviews.flagged(include_settled=True)) == []
    assert look_up(ledger, stored("a", "old"), stored("a", "new!")) == {}


def test_described_gives_the_object_as_last_recorded(ledger) -> None:
    """For objects that vanished since."""
    record(ledger, [failed("a")])
    assert ledger.objects.describe(STORAGE, "a") == stored("a")
    assert ledger.objects.describe(STORAGE, "b") is None


def test_what_is_on_record_about_keys_is_told_from_any_storage(ledger) -> None:
    """Of a key in two storages, what was checked last."""
    record(ledger, [flagged("a"), failed("b")])
    record(ledger, [checked("a")], storage="elsewhere")
    found = ledger.objects.on_record(["a", "b", "c"])
    assert set(found) == {"a", "b"}
    assert found["a"].assessment.outcome is Outcome.CLEAR
    assert found["b"].assessment.outcome is None
    assert found["a"].checked_at >= found["b"].checked_at


@pytest.mark.parametrize("key", ["", "a\0b", "lone \udc80 surrogate"])
def test_keys_that_no_database_holds_are_refused_by_name(ledger, key) -> None:
    """With our error, before anything is asked or written."""
    with pytest.raises(LedgerError, match="cannot be recorded"):
        ledger.objects.known(STORAGE, [stored(key, "content")], RULES)
    with pytest.raises(LedgerError, match="cannot be recorded"):
        record(ledger, [checked("fine"), checked(key, content="content")])
    assert ledger.maintenance.stats().objects == 0
