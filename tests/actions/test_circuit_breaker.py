"""The circuit breaker lets a bounded number of different pictures through, over all processes, and then waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.ledger.created import new_ledger
from support.ledger.results import STORAGE, checked, failed, flagged, record

from lemmy_safety.actions import ActionLimits, CircuitBreaker, Limit
from lemmy_safety.actions.guard import LEAST_JUDGED, allowed_in_pass, midnight, unusual_detector
from lemmy_safety.records import ActionState, ItemStatus, PassSoFar, Review

MANY = 1_000_000
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    with new_ledger(tmp_path / "ledger.db", clock=clock) as opened:
        yield opened


def limits(first: int = MANY, per_day: int = MANY, share: float = 100.0) -> ActionLimits:
    return ActionLimits(first=first, per_day=per_day, share=share)


def admitted(ledger, wanted: ActionLimits, pending, so_far: PassSoFar | None = None) -> int:
    """How many of these actions a new process would let through, each of which it then carries out."""
    breaker, done = CircuitBreaker(ledger, wanted), 0
    for one in pending:
        if breaker.admits(one.id, so_far):
            ledger.actions.finish(one.id, ActionState.DONE, "deleted")
            done += 1
    return done


def intended(ledger, number: int, name: str = "k"):
    return record(ledger, [flagged(f"{name}{index}") for index in range(number)])


def test_twenty_go_through_until_a_person_has_decided_once(ledger) -> None:
    """Then it is tripped, and stays so, also for what comes later and for a process that knows of no limit."""
    pending = intended(ledger, 30)
    assert admitted(ledger, limits(first=20), pending) == 20
    state = ledger.breaker.state()
    assert (state.is_tripped, state.limit, state.decided_at) == (True, Limit.FIRST, None)
    assert admitted(ledger, limits(), intended(ledger, 1, "later")) == 0
    assert len(ledger.actions.unfinished(STORAGE)) == 11


@pytest.mark.parametrize("decision", [Review.CLEARED, Review.CONFIRMED])
def test_a_review_lifts_the_first_limit(ledger, decision) -> None:
    """A person has looked; the limits by day and by pass go on."""
    record(ledger, [flagged("looked at")], dry_run=True)
    ledger.reviews.decide(["looked at"], decision)
    assert admitted(ledger, limits(first=20, per_day=25), intended(ledger, 30)) == 25
    assert ledger.breaker.state().limit == Limit.DAY


def test_it_stays_tripped_over_midnight_and_a_new_day_counts_from_nothing(ledger, clock) -> None:
    """Midnight alone arms nothing; after a person has, a day's worth goes through again."""
    pending = intended(ledger, 12)
    assert admitted(ledger, limits(per_day=5), pending) == 5
    clock.now = NOON + timedelta(hours=12, seconds=1)
    assert admitted(ledger, limits(per_day=5), pending[5:]) == 0
    ledger.breaker.arm()
    assert admitted(ledger, limits(per_day=5), pending[5:]) == 5
    assert ledger.breaker.state().is_tripped


def test_what_a_person_approved_goes_through_and_is_not_counted(ledger) -> None:
    """Also while it is tripped; what was flagged later waits."""
    pending = intended(ledger, 10)
    assert admitted(ledger, limits(first=2), pending) == 2
    ledger.actions.approve([one.id for one in pending[2:]])
    later = intended(ledger, 1, "later")
    assert admitted(ledger, limits(first=2), [*pending[2:], *later]) == 8
    assert ledger.breaker.started(midnight(NOON)) == (2, 2)


def test_the_same_bytes_count_once_a_day(ledger, clock) -> None:
    """A picture that comes back is deleted again, however often, and the next day it counts again."""
    results = [flagged(f"copy{number}", "the same") for number in range(6)]
    assert admitted(ledger, limits(per_day=1), record(ledger, results)) == 6
    clock.now += timedelta(days=1)
    again = record(ledger, [flagged("tomorrow", "the same"), flagged("another")])
    assert admitted(ledger, limits(per_day=1), again) == 1
    assert ledger.breaker.state().limit == Limit.DAY


def test_an_action_that_was_started_and_killed_is_finished(ledger) -> None:
    """It was counted before it was carried out, so that it is not counted twice."""
    (only,) = intended(ledger, 1)
    assert CircuitBreaker(ledger, limits(first=1)).admits(only.id, None)
    assert CircuitBreaker(ledger, limits(first=1)).admits(only.id, None)
    assert not ledger.breaker.state().is_tripped


def test_unreadable_objects_count_too(ledger) -> None:
    """A broken decoder makes everything unreadable."""
    results = [failed(f"k{number}", ItemStatus.UNREADABLE, sha256=f"{number:064x}") for number in range(5)]
    pending = record(ledger, results, action=None, unreadable_action="delete")
    assert admitted(ledger, limits(first=3), pending) == 3


def test_a_pass_acts_on_two_percent_of_what_it_judged(ledger) -> None:
    """Of 1,000 at least; another pass has a share of its own."""
    pending = intended(ledger, 50)
    run = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=["hashes"])
    assert admitted(ledger, limits(share=2.0), pending, PassSoFar(run_id=run, judged=300)) == 20
    assert ledger.breaker.state().limit == Limit.SHARE
    ledger.breaker.arm()
    assert admitted(ledger, limits(share=2.0), pending[20:], PassSoFar(run_id=run, judged=1_500)) == 10
    ledger.breaker.arm()
    other = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=["hashes"])
    assert admitted(ledger, limits(share=2.0), pending[30:], PassSoFar(run_id=other, judged=0)) == 20


def test_a_detector_that_flags_more_than_ever_trips_it(ledger) -> None:
    """Five in 10,000 before; thirty in 1,000 now. Twenty flags are needed, and its own share counts, not another's."""
    for _ in range(2):
        earlier = ledger.passes.start(STORAGE, "sweep", dry_run=True, detectors=["clip"])
        counts = {"checked": 5_000, "flagged_by": {"hashes": 5}}
        ledger.passes.finish(earlier, counts, complete=True)
    run = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=["clip"])
    pending = intended(ledger, 3)
    assert admitted(ledger, limits(), pending[:1], PassSoFar(run_id=run, judged=1_000, flagged_by={"hashes": 19})) == 1
    assert admitted(ledger, limits(), pending[1:2], PassSoFar(run_id=run, judged=3_000, flagged_by={"hashes": 30})) == 1
    assert admitted(ledger, limits(), pending[2:], PassSoFar(run_id=run, judged=1_000, flagged_by={"hashes": 30})) == 0
    state = ledger.breaker.state()
    assert state.limit == Limit.DETECTOR
    assert state.reason == "hashes flagged 30 of 1,000 objects in this pass, and 10 of 10,000 before"


def test_without_enough_earlier_objects_no_detector_is_unusual(ledger) -> None:
    """The first sweep has nothing to be compared with; runs of versions that did not count are left out."""
    old = ledger.passes.start(STORAGE, "sweep", dry_run=True, detectors=["clip"])
    ledger.passes.finish(old, {"checked": 90_000}, complete=True)
    assert ledger.breaker.recent_shares(10_000) == (0, {})
    assert unusual_detector(PassSoFar(run_id=1, judged=20, flagged_by={"clip": 20}), 0, {}) is None


def test_room_says_how_many_would_go_through(ledger) -> None:
    """As a command shows it before it asks."""
    breaker = CircuitBreaker(ledger, limits(first=20, per_day=200))
    assert breaker.room() == 20
    admitted(ledger, limits(first=20, per_day=200), intended(ledger, 5))
    assert breaker.room() == 15
    ledger.breaker.note_decision()
    assert breaker.room() == 195
    ledger.breaker.trip(Limit.PERSON, "a person said no")
    assert breaker.room() == 0


def test_what_is_clear_never_asks_it(ledger) -> None:
    """No action, no count."""
    assert record(ledger, [checked("a")]) == []
    assert ledger.breaker.is_untouched()


@given(st.integers(0, 10**8), st.floats(0.001, 100))
def test_the_share_of_a_pass_is_never_none_and_never_more_than_said(judged: int, share: float) -> None:
    """At least one, so that a share of nothing is not a trap; otherwise at most the percent of what was judged."""
    allowed = allowed_in_pass(judged, share)
    assert 1 <= allowed <= max(1, max(LEAST_JUDGED, judged) * share / 100)


@given(
    number=st.integers(0, 5_000),
    now=st.integers(1, 50_000),
    before=st.integers(0, 5_000),
    judged=st.integers(0, 20_000),
)
def test_a_detector_is_unusual_only_above_ten_times_its_share(number: int, now: int, before: int, judged: int) -> None:
    """Whatever the numbers are: never below 20 flags, below 1,000 judged before, or at ten times the share or less."""
    words = unusual_detector(PassSoFar(run_id=1, judged=now, flagged_by={"clip": number}), judged, {"clip": before})
    expected = number >= 20 and judged >= 1_000 and number / now > 10 * max(1, before) / judged
    if words is None:
        assert not expected or number * judged == pytest.approx(10 * max(1, before) * now)
    else:
        assert number >= 20
        assert judged >= 1_000


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=30), st.integers(1, 5))
def test_no_order_of_actions_exceeds_a_day(tmp_path_factory, actions, per_day: int) -> None:
    """Bytes (0 to 8), approved or not, in any order: never more different ones a day without approval."""
    with new_ledger(tmp_path_factory.mktemp("day") / "ledger.db", clock=Clock()) as opened:
        breaker, through = CircuitBreaker(opened, limits(per_day=per_day)), set()
        for number, (content, approved) in enumerate(actions):
            (pending,) = record(opened, [flagged(f"key{number}", f"bytes{content}")])
            if approved:
                opened.actions.approve([pending.id])
            if breaker.admits(pending.id, None):
                if not approved:
                    through.add(content)
            else:
                assert not approved
                assert opened.breaker.state().is_tripped
        assert len(through) <= per_day
