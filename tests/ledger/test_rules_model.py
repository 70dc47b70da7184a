"""The rules against a model of them: whatever happens in whatever order, the promises of the ledger hold."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.examples import examples
from support.ledger.results import RULES, checked, failed, record, sha256_of, stored

from lemmy_safety.ledger import Known, open_ledger, sqlite_url
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger

KEYS = st.sampled_from(["a", "b"])
WORDS = ["one", "twos"]
CONTENTS = st.sampled_from(WORDS)
OUTCOMES = st.sampled_from([Outcome.FLAGGED, Outcome.FLAGGED, Outcome.CLEAR])
FINISHED = st.sampled_from([ActionState.DONE, ActionState.REFUSED, ActionState.FAILED])


class Database:
    """One file for all examples."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers = itertools.count(1)
        self.ledger = open_ledger(url)

    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.url)


@dataclass
class Expected:
    """What we know of a key: the verdict on which content, and how far the action has come."""

    content: str
    outcome: Outcome | None
    state: ActionState = ActionState.NONE
    status: ItemStatus = ItemStatus.CHECKED
    empty: bool = False  # no picture can be made of it, for certain
    hashed: bool = False  # its hash is known without a verdict


class LedgerMachine(RuleBasedStateMachine):
    """A storage in which objects come, change and vanish, and a ledger that is told of it."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        # A storage and contents of its own for each example: making a database for each takes far longer.
        self.number = next(database.numbers)
        self.storage = f"local:/{self.number}"
        self.rows: dict[str, Expected] = {}
        self.reviews: dict[str, Review] = {}
        self.unhashed_reviews: dict[str, tuple[str, Review]] = {}
        self.intents: dict[int, str] = {}
        self.present_intent: dict[str, int] = {}

    @property
    def ledger(self) -> Ledger:
        return self.database.ledger

    def key(self, name: str) -> str:
        return f"{self.number}/{name}"

    def own(self, content: str) -> str:
        return f"{content} of {self.number}"

    def record(self, result, *, dry_run: bool = False):
        return record(self.ledger, [result], storage=self.storage, dry_run=dry_run)

    def take(self, pending) -> None:
        for one in pending:
            content = next(text for text in WORDS if stored(one.obj.key, self.own(text)) == one.obj)
            assert one.sha256 == sha256_of(self.own(content))
            assert self.rows[one.obj.key].content == content, "an action on bytes that were not judged"
            self.intents[one.id] = one.obj.key
            self.present_intent[one.obj.key] = one.id

    @rule(key=KEYS, content=CONTENTS, outcome=OUTCOMES, dry_run=st.booleans())
    def judge(self, key, content, outcome, dry_run) -> None:
        key = self.key(key)
        before = self.rows.get(key)
        row = self.rows[key] = Expected(content, outcome)
        # A decision on an object that could not be read yet is one on its bytes as soon as their hash is known.
        unhashed = self.unhashed_reviews.pop(key, None)
        if unhashed is not None and unhashed[0] == content and self.review_of(row) is Review.NONE:
            self.reviews[content] = unhashed[1]
        cleared = self.reviews.get(content) is Review.CLEARED
        if outcome is Outcome.FLAGGED and not cleared:
            kept = (
                before is not None
                and before.content == content
                and before.state is ActionState.INTENDED
                and not before.empty
            )
            if not dry_run or kept:
                row.state = ActionState.INTENDED
        if not (dry_run and row.state is ActionState.INTENDED):
            self.present_intent.pop(key, None)
        pending = self.record(checked(key, outcome, self.own(content)), dry_run=dry_run)
        assert bool(pending) is (outcome is Outcome.FLAGGED and not dry_run and not cleared)
        self.take(pending)

    @rule(key=KEYS, content=CONTENTS, status=st.sampled_from([s for s in ItemStatus if s is not ItemStatus.CHECKED]))
    def fail(self, key, content, status) -> None:
        key = self.key(key)
        before = self.rows.get(key)
        kept = (
            before is not None
            and before.outcome is not None
            and (before.content == content or status is ItemStatus.GONE)
        )
        if kept:
            before.status = status
        else:
            self.rows[key] = Expected(content, None, status=status)
            self.present_intent.pop(key, None)
            if self.unhashed_reviews.get(key, (content,))[0] != content:
                self.unhashed_reviews.pop(key)
        assert self.record(failed(key, status, self.own(content))) == []

    @rule(key=KEYS, content=CONTENTS, broke=st.booleans(), act=st.booleans(), dry_run=st.booleans())
    def find_unreadable(self, key, content, broke, act, dry_run) -> None:
        key = self.key(key)
        before = self.rows.get(key)
        result = failed(
            key, ItemStatus.UNREADABLE, self.own(content), sha256=sha256_of(self.own(content)), decoder_broke=broke
        )
        unhashed = self.unhashed_reviews.get(key)
        if before is not None and before.outcome is not None and before.content == content:
            before.status = ItemStatus.UNREADABLE  # it could be read once
            wanted = False
        else:
            self.unhashed_reviews.pop(key, None)
            row = self.rows[key] = Expected(content, None, status=ItemStatus.UNREADABLE, empty=not broke, hashed=True)
            if unhashed is not None and unhashed[0] == content and self.review_of(row) is Review.NONE:
                self.reviews[content] = unhashed[1]
            open_to_action = row.empty and self.reviews.get(content) is not Review.CLEARED
            wanted = open_to_action and act and not dry_run
            kept = (
                before is not None
                and before.content == content
                and before.state is ActionState.INTENDED
                and before.empty
            )
            if wanted or (open_to_action and kept):
                row.state = ActionState.INTENDED
            if wanted or row.state is not ActionState.INTENDED:
                self.present_intent.pop(key, None)
        pending = record(
            self.ledger,
            [result],
            storage=self.storage,
            dry_run=dry_run,
            action=None,
            unreadable_action="delete" if act else None,
        )
        assert bool(pending) is wanted
        assert all(one.unreadable for one in pending)
        self.take(pending)

    @rule(key=KEYS, unreadable=st.booleans())
    def intend(self, key, unreadable) -> None:
        key = self.key(key)
        row = self.rows.get(key)
        pending = self.ledger.actions.intend(
            self.storage, [key], ActionPlan("delete", "delete" if unreadable else None)
        )
        wanted = (
            row is not None
            and (row.outcome is Outcome.FLAGGED or (row.empty and unreadable))
            and row.status is not ItemStatus.GONE
            and self.review_of(row) is not Review.CLEARED
            and row.state in (ActionState.NONE, ActionState.FAILED, ActionState.INTENDED)
        )
        assert bool(pending) is wanted
        if row is not None and wanted:
            row.state = ActionState.INTENDED
        self.take(pending)

    @precondition(lambda self: self.intents)
    @rule(data=st.data(), state=FINISHED)
    def finish(self, data, state) -> None:
        number = data.draw(st.sampled_from(sorted(self.intents)))
        self.ledger.actions.finish(number, state)
        key = self.intents.pop(number)
        if self.present_intent.get(key) == number:  # else it was on an earlier judgement, and changes nothing
            self.rows[key].state = state

    @rule(key=KEYS, decision=st.sampled_from(Review))
    def review(self, key, decision) -> None:
        key = self.key(key)
        result = self.ledger.reviews.decide([key], decision)
        row = self.rows.get(key)
        if row is None:
            assert result.unknown == (key,)
            return
        if not self.is_hashed(row):
            self.unhashed_reviews[key] = (row.content, decision)
            return
        self.reviews[row.content] = decision
        assert {one.key for one in result.changed} == {
            name for name, other in self.rows.items() if self.is_hashed(other) and other.content == row.content
        }
        for other in self.rows.values():
            if other.content == row.content and decision is Review.CLEARED and other.state is ActionState.INTENDED:
                other.state = ActionState.NONE

    def is_hashed(self, row) -> bool:
        return row.outcome is not None or row.hashed

    @rule()
    def restart(self) -> None:
        self.database.reopen()

    def review_of(self, row: Expected) -> Review:
        return self.reviews.get(row.content, Review.NONE)

    def actual(self):
        return {row.key: row for row in self.ledger.reviews.flagged(storage=self.storage, include_settled=True)}

    @invariant()
    def every_flagged_row_is_in_exactly_the_state_it_should_be(self) -> None:
        actual = self.actual()
        flagged = {key: row for key, row in self.rows.items() if row.outcome is Outcome.FLAGGED}
        assert {key: (row.action_state, row.assessment.status) for key, row in actual.items()} == {
            key: (row.state, row.status) for key, row in flagged.items()
        }
        pending = self.ledger.actions.unfinished(self.storage)
        unfinished = {one.obj.key for one in pending}
        assert unfinished == {key for key, row in self.rows.items() if row.state is ActionState.INTENDED}
        assert {one.obj.key for one in pending if one.unreadable} == {key for key in unfinished if self.rows[key].empty}
        assert all(self.ledger.actions.is_intended(one.id) for one in pending)
        listed = {row.key: row for row in self.ledger.reviews.unreadable(storage=self.storage, include_settled=True)}
        assert {key: row.action_state for key, row in listed.items() if not row.assessment.decoder_broke} == {
            key: row.state for key, row in self.rows.items() if row.empty
        }
        assert [key for key in unfinished if {**actual, **listed}[key].review is Review.CLEARED] == []

    @invariant()
    def only_unchanged_objects_are_known(self) -> None:
        for content in WORDS:
            objects = [stored(key, self.own(content)) for key in map(self.key, "ab")]
            found = self.ledger.objects.known(self.storage, objects, RULES)
            for key, answer in found.items():
                row = self.rows[key]
                assert row.content == content
                assert row.status is not ItemStatus.GONE
                assert row.state not in (ActionState.DONE, ActionState.REFUSED)
                assert row.outcome is not None or row.status.settled
                actionable = row.outcome is Outcome.FLAGGED or row.empty
                waiting = actionable and row.state in (ActionState.NONE, ActionState.FAILED)
                assert (answer is Known.PENDING) is (waiting and self.review_of(row) is not Review.CLEARED)

    @invariant()
    def what_is_to_be_retried_is_what_failed_or_was_refused(self) -> None:
        failing = {
            key
            for key, row in self.rows.items()
            if not row.status.settled
            or (
                row.state is ActionState.REFUSED
                and (row.outcome is Outcome.FLAGGED or row.empty)
                and row.status is not ItemStatus.GONE
            )
        }
        assert set(self.ledger.objects.retryable(self.storage, 10)) == failing


@pytest.mark.long
def test_the_rules_hold_whatever_happens(tmp_path) -> None:
    """Judged, failed, gone, changed, intended, finished late or early, reviewed, restarted: in any order."""
    database = Database(sqlite_url(tmp_path / "a.db"))
    run_state_machine_as_test(
        lambda: LedgerMachine(database),
        settings=settings(
            max_examples=examples(60),
            stateful_step_count=15,
            phases=[phase for phase in Phase if phase is not Phase.explain],  # it traces every line, and takes minutes
        ),
    )
    database.ledger.close()
