"""A flag that no human cleared, and that no later judgement by the same detectors replaced, wins over any other verdict."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.ledger.created import new_ledger
from support.ledger.old_ledgers import insert, insert_object, old_ledger
from support.ledger.results import STORAGE, checked, record, row_of, rules, sha256_of, stored
from support.ledger.uploads import judged, upload

from lemmy_safety.ledger import FROM_UPLOAD, Known, UploadAnswer, open_ledger
from lemmy_safety.records import Outcome, Review

HASHES, CLIP = frozenset({"hashes"}), frozenset({"clip"})
BOTH = HASHES | CLIP
OTHER = "local:/elsewhere"


def ruled(result, rules):
    verdict = replace(result.assessment.verdict, rules_version=rules)
    return replace(result, assessment=replace(result.assessment, verdict=verdict))


def in_storage(ledger, content, outcome, detectors, *, key="key", rules="rules-1", storage=STORAGE, **more):
    result = ruled(checked(key, outcome, content, detectors=detectors, **more), rules)
    return record(ledger, [result], storage=storage)


def at_the_door(ledger, content, outcome, detectors, *, rules="rules-1", **more):
    ledger.uploads.record([ruled(judged(content, outcome, detectors=detectors, **more), rules)])


def verdict(ledger, content, detectors=frozenset(), version=None):
    """By whatever detectors and rules where no version of the rules is given."""
    ruleset = None if version is None else rules(detectors=detectors, rules_version=version)
    return ledger.objects.verdict_for(sha256_of(content), ruleset)


def outcome_of(ledger, content, detectors=frozenset(), version=None):
    known = verdict(ledger, content, detectors, version)
    return None if known is None else known.verdict.outcome


def test_clear_in_a_sweep_and_flagged_at_the_door_is_flagged(ledger) -> None:
    """By a hash list that is newer than the sweep, say; asked with no time to look, or by others."""
    in_storage(ledger, "a", Outcome.CLEAR, BOTH)
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES, rules="rules-2")
    assert outcome_of(ledger, "a") is Outcome.FLAGGED
    for detectors in (CLIP, BOTH):  # they have to look
        assert outcome_of(ledger, "a", detectors, "rules-1") is None
    assert outcome_of(ledger, "a", HASHES, "rules-2") is Outcome.FLAGGED


@pytest.mark.parametrize("later", [HASHES, BOTH], ids=["the same", "more"])
def test_the_same_detectors_replace_a_flag_wherever_they_look(ledger, later) -> None:
    """From the door to a storage, and back."""
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES)
    in_storage(ledger, "a", Outcome.CLEAR, later)
    assert outcome_of(ledger, "a") is Outcome.CLEAR
    in_storage(ledger, "b", Outcome.FLAGGED, HASHES)
    at_the_door(ledger, "b", Outcome.CLEAR, later)
    assert outcome_of(ledger, "b") is Outcome.CLEAR


def test_other_detectors_replace_no_flag_wherever_they_look(ledger) -> None:
    """Under the same key, under another, in another storage, at the door."""
    in_storage(ledger, "a", Outcome.FLAGGED, HASHES)
    in_storage(ledger, "a", Outcome.CLEAR, CLIP)
    in_storage(ledger, "a", Outcome.CLEAR, CLIP, key="copy")
    in_storage(ledger, "a", Outcome.CLEAR, CLIP, storage=OTHER)
    at_the_door(ledger, "a", Outcome.CLEAR, CLIP)
    assert outcome_of(ledger, "a") is Outcome.FLAGGED
    assert {(row.storage, row.key) for row in ledger.reviews.flagged()} == {
        (STORAGE, "key"),
        (STORAGE, "copy"),
        (OTHER, "key"),
    }
    assert ledger.uploads.get(sha256_of("a")).assessment.verdict.outcome is Outcome.FLAGGED


def test_an_object_whose_bytes_were_flagged_at_the_door_is_acted_on(ledger) -> None:
    """It was known to be clear; a pass reads it again, and so does one of the daemon, however old it is."""
    in_storage(ledger, "a", Outcome.CLEAR, BOTH)
    obj = stored("key", "a")
    assert ledger.objects.known(STORAGE, [obj], rules(detectors=CLIP)) == {"key": Known.SETTLED}
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES, rules="rules-2")
    assert ledger.objects.known(STORAGE, [obj], rules(detectors=CLIP)) == {}
    assert ledger.objects.retryable(STORAGE, 10) == ["key"]
    (pending,) = in_storage(ledger, "a", Outcome.CLEAR, CLIP)
    assert pending.obj.key == "key"
    assert ledger.objects.retryable(STORAGE, 10) == []
    assert ledger.objects.known(STORAGE, [obj], rules(detectors=CLIP)) == {"key": Known.SETTLED}


def test_a_new_object_with_flagged_bytes_is_flagged_whatever_others_say_of_it(ledger) -> None:
    """Other detectors looked while the flag was being written: the record knows."""
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES)
    (pending,) = in_storage(ledger, "a", Outcome.CLEAR, CLIP)
    assert pending.obj.key == "key"
    row = row_of(ledger, "key")
    assert (row.assessment.detectors, row.reused_from) == (BOTH, FROM_UPLOAD)


def test_a_verdict_that_was_taken_over_is_no_look(ledger) -> None:
    """A clear verdict from before the flag, taken over for another key after it, replaces nothing."""
    in_storage(ledger, "a", Outcome.CLEAR, BOTH)
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES)
    in_storage(ledger, "a", Outcome.CLEAR, BOTH, key="copy", reused_from="key")
    at_the_door(ledger, "a", Outcome.CLEAR, BOTH, reused_from="key")
    assert outcome_of(ledger, "a") is Outcome.FLAGGED
    assert row_of(ledger, "copy") is not None


def test_what_a_human_cleared_is_not_flagged_until_that_is_taken_back(ledger) -> None:
    """Their decision is about the bytes."""
    at_the_door(ledger, "a", Outcome.FLAGGED, HASHES)
    ledger.reviews.decide([sha256_of("a")], Review.CLEARED)
    known = verdict(ledger, "a")
    assert (known.verdict.outcome, known.review) == (Outcome.FLAGGED, Review.CLEARED)
    assert in_storage(ledger, "a", Outcome.CLEAR, CLIP) == []
    assert outcome_of(ledger, "a", CLIP, "rules-1") is Outcome.CLEAR
    assert ledger.objects.retryable(STORAGE, 10) == []
    ledger.reviews.decide([sha256_of("a")], Review.NONE)
    assert outcome_of(ledger, "a") is Outcome.FLAGGED
    assert outcome_of(ledger, "a", CLIP, "rules-1") is None


def test_a_flag_outlives_the_object(ledger) -> None:
    """The key holds other bytes now, or was deleted: the flagged ones are known all the same."""
    in_storage(ledger, "a", Outcome.FLAGGED, BOTH)
    in_storage(ledger, "b", Outcome.CLEAR, BOTH)
    assert outcome_of(ledger, "a") is Outcome.FLAGGED
    assert outcome_of(ledger, "b") is Outcome.CLEAR


def test_what_was_let_in_unchecked_is_flagged_as_its_bytes_are(ledger) -> None:
    """Flagged in a storage by some, later found clear there by others: the list learns of the flag."""
    in_storage(ledger, "a", Outcome.FLAGGED, HASHES, key="one")
    in_storage(ledger, "a", Outcome.CLEAR, CLIP, key="two")
    ledger.uploads.record([upload("a")])
    assert ledger.uploads.get(sha256_of("a")).assessment.verdict.outcome is Outcome.FLAGGED
    ledger.uploads.record([upload("b")])
    at_the_door(ledger, "b", Outcome.FLAGGED, HASHES, answer=None)
    ledger.uploads.record([upload("b", at=None)])  # and in again
    in_storage(ledger, "b", Outcome.CLEAR, CLIP)
    row = ledger.uploads.get(sha256_of("b"))
    assert (row.answer, row.assessment.verdict.outcome) == (UploadAnswer.UNCHECKED, Outcome.FLAGGED)


def test_flags_of_before_there_was_a_table_for_them_are_taken_over(url) -> None:
    """From both tables; not those that the same detectors found clear since."""
    with old_ledger(url, "0004") as connection:
        insert(connection, "storages", id=2, name=STORAGE)
        for key, content, outcome, day in (
            ("a", "a", "flagged", 1),
            ("c", "c", "flagged", 1),
            ("copy of c", "c", "clear", 2),
        ):
            insert_object(
                connection,
                storage_id=2,
                key=key,
                sha256=bytes.fromhex(sha256_of(content)),
                outcome=outcome,
                checked_at=datetime(2026, 1, day, tzinfo=UTC),
            )
        insert(
            connection,
            "uploads",
            sha256=bytes.fromhex(sha256_of("b")),
            answer="refused",
            status="checked",
            outcome="flagged",
            detectors="hashes",
        )
    with open_ledger(url) as upgraded:
        assert outcome_of(upgraded, "a") is Outcome.FLAGGED
        assert outcome_of(upgraded, "b") is Outcome.FLAGGED
        assert outcome_of(upgraded, "c") is Outcome.CLEAR


@dataclass
class Expected:
    """All that the rule needs to know of some bytes."""

    flags: list[frozenset[str]] = field(default_factory=list)
    cleared: bool = False

    def judge(self, outcome, detectors) -> None:
        self.flags = [flag for flag in self.flags if not flag <= detectors]
        if outcome is Outcome.FLAGGED:
            self.flags.append(detectors)


DETECTOR_SETS = st.sampled_from([HASHES, CLIP, BOTH])
JUDGEMENTS = st.tuples(
    st.sampled_from(["door", "one", "two", "elsewhere"]),
    DETECTOR_SETS,
    st.sampled_from([Outcome.FLAGGED, Outcome.CLEAR, Outcome.BORDERLINE]),
    st.sampled_from(["rules-1", "rules-2"]),
)
HUMANS = st.sampled_from([Review.CLEARED, Review.CONFIRMED, Review.NONE])


@pytest.mark.long
def test_any_history_ends_as_the_rule_says(tmp_path) -> None:
    """Judgements by any detectors at the door and under any key, and humans' decisions, in any order: asked in every way."""
    numbers = itertools.count()
    with new_ledger(tmp_path / "a.db") as ledger:

        @given(st.lists(st.one_of(JUDGEMENTS, HUMANS), max_size=9))
        @settings(max_examples=examples(120), phases=[phase for phase in Phase if phase is not Phase.explain])
        def check(history) -> None:
            content, expected, seen = f"bytes {next(numbers)}", Expected(), False
            for event in history:
                if isinstance(event, Review):
                    if seen:
                        ledger.reviews.decide([sha256_of(content)], event)
                        expected.cleared = event is Review.CLEARED
                    continue
                place, detectors, outcome, rules = event
                if place == "door":
                    at_the_door(ledger, content, outcome, detectors, rules=rules)
                    seen = True
                else:
                    storage = OTHER if place == "elsewhere" else STORAGE
                    in_storage(
                        ledger, content, outcome, detectors, key=f"{content} {place}", rules=rules, storage=storage
                    )
                expected.judge(outcome, detectors)
                if place != "door" and not expected.cleared:
                    row = row_of(ledger, f"{content} {place}")
                    assert (row is not None) is bool(expected.flags)
                check_answers(ledger, content, expected)

        check()


def check_answers(ledger, content, expected) -> None:
    """What a pass, the hook and a hook without time would hear now."""
    by_rules = itertools.product([frozenset(), HASHES, CLIP, BOTH], ["rules-1", "rules-2"])
    for detectors, version in [(frozenset(), None), *by_rules]:
        known = verdict(ledger, content, detectors, version)
        outcome = None if known is None else known.verdict.outcome
        if expected.cleared:
            assert known is None or known.review is Review.CLEARED
        elif not expected.flags:
            assert outcome is not Outcome.FLAGGED
        elif version:
            assert outcome in (Outcome.FLAGGED, None)  # theirs, or they have to look
        else:
            assert outcome is Outcome.FLAGGED
