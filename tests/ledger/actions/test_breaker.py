"""The circuit breaker counts in the ledger, over all processes, and stays tripped until a person says so."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.ledger.created import new_ledger
from support.ledger.results import NOON, STORAGE, StepClock, checked, flagged, record

from lemmy_safety.actions import ActionLimits, CircuitBreaker, Limit
from lemmy_safety.ledger import open_ledger
from lemmy_safety.ledger.schema.tables import breaker
from lemmy_safety.records import ActionState, PassSoFar, Review

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.ledger import Ledger

MANY = 10**6


def wanted(ledger: Ledger, number: int, *, first: int = 0) -> list[int]:
    """Actions on so many different pictures, by their numbers."""
    return [pending.id for pending in record(ledger, [flagged(f"f{first + index}") for index in range(number)])]


def guard_of(ledger: Ledger, **limits: float) -> CircuitBreaker:
    """With these limits and no others."""
    return CircuitBreaker(ledger, ActionLimits(**{"first": MANY, "per_day": MANY, "share": 100.0} | limits))  # type: ignore[arg-type]


def new_run(ledger: Ledger) -> int:
    return ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=frozenset({"clip"}))


def test_until_a_person_decides_only_the_first_actions_are_let_through(ledger) -> None:
    """Also on the next day."""
    guard = guard_of(ledger, first=3)
    ids = wanted(ledger, 5)
    assert [guard.admits(one, None) for one in ids] == [True, True, True, False, False]
    state = ledger.breaker.state()
    assert (state.is_tripped, state.limit) == (True, Limit.FIRST)
    assert "3 actions were carried out" in state.reason


@pytest.mark.parametrize("decision", [Review.CLEARED, Review.CONFIRMED])
def test_a_review_is_a_decision(ledger, decision) -> None:
    """From then on the first actions are no limit any more."""
    guard = guard_of(ledger, first=2)
    ids = wanted(ledger, 5)
    ledger.reviews.decide(["f0"], decision)
    assert all(guard.admits(one, None) for one in ids[1:])


def test_a_tripped_breaker_outlasts_midnight_and_a_restart(url) -> None:
    """What is intended stays intended; only a person lets it through."""
    clock = StepClock()
    with open_ledger(url, clock=clock) as ledger:
        ids = wanted(ledger, 4)
        ledger.breaker.note_decision()
        guard = guard_of(ledger, per_day=2)
        assert [guard.admits(one, None) for one in ids] == [True, True, False, False]
        assert ledger.breaker.state().limit == Limit.DAY
    clock.now += timedelta(days=1)
    with open_ledger(url, clock=clock) as ledger:
        guard = guard_of(ledger, per_day=2)
        assert guard.room() == 0
        assert not guard.admits(ids[2], None)
        assert ledger.breaker.state().is_tripped
        assert all(ledger.actions.is_intended(one) for one in ids[2:])
        ledger.breaker.arm()
        assert guard.room() == 2
        assert [guard.admits(one, None) for one in ids[2:]] == [True, True]


def test_a_day_that_ends_before_the_limit_is_reached_begins_a_new_count(url) -> None:
    clock = StepClock()
    with open_ledger(url, clock=clock) as ledger:
        ids = wanted(ledger, 4)
        ledger.breaker.note_decision()
        guard = guard_of(ledger, per_day=2)
        assert guard.admits(ids[0], None)
        assert guard.admits(ids[1], None)
        clock.now += timedelta(days=1)
        assert guard.room() == 2
        assert guard.admits(ids[2], None)
        assert guard.admits(ids[3], None)
        assert not ledger.breaker.state().is_tripped


def test_what_a_person_approved_passes_a_tripped_breaker_and_is_not_counted(ledger) -> None:
    """These very actions, and no others."""
    guard = guard_of(ledger, first=1)
    ids = wanted(ledger, 4)
    assert guard.admits(ids[0], None)
    assert not guard.admits(ids[1], None)
    assert ledger.actions.approve(ids[1:3]) == 2
    assert [guard.admits(one, None) for one in ids[1:]] == [True, True, False]
    ledger.breaker.arm()
    assert guard_of(ledger, per_day=2).room() == 1


def test_the_same_bytes_count_once_a_day(ledger) -> None:
    """Under other keys, and when they come back."""
    guard = guard_of(ledger, per_day=1)
    pending = record(ledger, [flagged("a", "same"), flagged("b", "same"), flagged("c", "same"), flagged("d")])
    *same, other = (one.id for one in pending)
    assert all(guard.admits(one, None) for one in same)
    assert not guard.admits(other, None)


def test_an_action_that_was_started_is_repeated_without_being_counted_again(ledger) -> None:
    """Its process was killed before the end was on record."""
    guard = guard_of(ledger, per_day=1)
    first, second = wanted(ledger, 2)
    assert guard.admits(first, None)
    assert guard.admits(first, None)
    ledger.actions.finish(first, ActionState.DONE)
    assert guard.room() == 0
    assert not guard.admits(second, None)


def test_a_started_action_also_waits_while_the_breaker_is_tripped(ledger) -> None:
    """Nothing is done then, whatever was begun."""
    guard = guard_of(ledger)
    (only,) = wanted(ledger, 1)
    assert guard.admits(only, None)
    ledger.breaker.trip(Limit.PERSON, "a person said no")
    assert not guard.admits(only, None)
    assert ledger.actions.is_intended(only)


def test_the_first_reason_stays(ledger) -> None:
    """It is the one that a person has to look into."""
    ledger.breaker.trip(Limit.DAY, "the first")
    ledger.breaker.trip(Limit.SHARE, "the second")
    assert ledger.breaker.state().reason == "the first"


def test_a_pass_is_held_to_its_own_share_and_the_next_one_starts_from_zero(ledger) -> None:
    """2 of 1,000 at 0.2 %; more when it has judged more."""
    guard = guard_of(ledger, share=0.2)
    ids = wanted(ledger, 6)
    run, later = new_run(ledger), new_run(ledger)
    assert [guard.admits(one, PassSoFar(run_id=run, judged=10)) for one in ids[:2]] == [True, True]
    assert guard.admits(ids[2], PassSoFar(run_id=run, judged=1500))
    assert not guard.admits(ids[3], PassSoFar(run_id=run, judged=1500))
    assert ledger.breaker.state().limit == Limit.SHARE
    ledger.breaker.arm()
    assert guard.admits(ids[3], PassSoFar(run_id=later))


def finish_run(ledger: Ledger, judged: int, **flagged_by: int) -> None:
    ledger.passes.finish(new_run(ledger), {"checked": judged, "flagged_by": flagged_by}, complete=True)


def test_a_detector_that_flags_tenfold_trips_it(ledger) -> None:
    """Its share of earlier passes is known from the counts that they left."""
    finish_run(ledger, 5000, clip=50)
    finish_run(ledger, 5000, clip=50)
    guard = guard_of(ledger)
    (only,) = wanted(ledger, 1)
    run = new_run(ledger)
    assert guard.admits(only, PassSoFar(run_id=run, judged=200, flagged_by={"clip": 20}))
    (other,) = wanted(ledger, 1, first=10)
    assert not guard.admits(other, PassSoFar(run_id=run, judged=199, flagged_by={"clip": 20}))
    assert ledger.breaker.state().reason == "clip flagged 20 of 199 objects in this pass, and 100 of 10,000 before"


def test_passes_of_a_version_that_did_not_count_by_detector_are_no_measure(ledger) -> None:
    """Nor is a pass that is still running."""
    ledger.passes.finish(new_run(ledger), {"checked": 50_000}, complete=True)
    new_run(ledger)
    assert ledger.breaker.recent_shares(10_000) == (0, {})


def test_only_the_latest_passes_are_a_measure(ledger) -> None:
    """As many as judged 10,000 together; what a detector did years ago says nothing."""
    finish_run(ledger, 100_000, clip=90_000)
    finish_run(ledger, 9000, clip=9)
    finish_run(ledger, 1000, clip=1, hashes=2)
    assert ledger.breaker.recent_shares(10_000) == (10_000, {"clip": 10, "hashes": 2})


def test_clear_objects_and_dry_runs_count_nothing(ledger) -> None:
    record(ledger, [checked(f"c{number}") for number in range(30)])
    record(ledger, [flagged(f"d{number}") for number in range(30)], dry_run=True)
    assert guard_of(ledger, per_day=5).room() == 5
    assert ledger.breaker.is_untouched()


@pytest.mark.long
def test_processes_at_once_do_not_exceed_a_limit_together(url) -> None:
    """Eight connections ask for 40 actions at the same moment; each decision is one transaction of the one writer."""
    with open_ledger(url) as ledger:
        ids = wanted(ledger, 40)
    start, admitted = threading.Barrier(8), []

    def ask(mine: list[int]) -> None:
        with open_ledger(url) as own:
            guard = guard_of(own, first=7)
            start.wait()
            admitted.extend(one for one in mine if guard.admits(one, None))

    threads = [threading.Thread(target=ask, args=(ids[turn::8],)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(admitted)) == len(admitted) == 7


class _SetClock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


#: An action on picture 0..5 in pass 0 or 1 or outside of passes (None), the next day, a resume, a person's decision.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("act"), st.integers(0, 5), st.sampled_from([None, 0, 1]), st.booleans()),
        st.sampled_from([("next day",), ("resume",), ("decide",)]),
    ),
    min_size=10,
    max_size=30,
)


@pytest.mark.long
@settings(max_examples=examples(60))
@given(steps=STEPS, first=st.integers(1, 4), per_day=st.integers(1, 5), in_pass=st.integers(1, 4))
def test_whatever_happens_the_limits_are_kept(steps, first: int, per_day: int, in_pass: int) -> None:
    """Told a second time in plain sets: pictures of each day, of each pass, and in all before a decision."""
    with TemporaryDirectory() as folder:
        clock = _SetClock()
        with new_ledger(Path(folder) / "ledger.db", clock=clock) as ledger:
            guard = guard_of(ledger, first=first, per_day=per_day, share=in_pass / 10)
            runs = [new_run(ledger), new_run(ledger)]
            today, ever, passes = set[int](), set[int](), (set[int](), set[int]())
            tripped = decided = False
            for turn, step in enumerate(steps):
                if step[0] == "next day":
                    clock.now += timedelta(days=1)
                    today.clear()
                elif step[0] == "resume":
                    ledger.breaker.arm()
                    tripped, decided = False, True
                elif step[0] == "decide":
                    ledger.breaker.note_decision()
                    decided = True
                else:
                    _, picture, run, approved = step
                    (pending,) = record(ledger, [flagged(f"key{turn}", f"picture{picture}")])
                    if approved:
                        ledger.actions.approve([pending.id])
                    within = set[int]() if run is None else passes[run]
                    expected = approved
                    if not approved and not tripped:
                        over = (
                            (not decided and len(ever - {picture}) >= first)
                            or len(today - {picture}) >= per_day
                            or len(within - {picture}) >= in_pass
                        )
                        expected = picture in today or not over
                        tripped = not expected
                    so_far = None if run is None else PassSoFar(run_id=runs[run])
                    assert guard.admits(pending.id, so_far) is expected, (turn, step)
                    if expected and not approved:
                        today.add(picture)
                        ever.add(picture)
                        within.add(picture)
                assert ledger.breaker.state().is_tripped is tripped, (turn, step)


def test_actions_of_a_version_without_a_breaker_are_no_first_actions(ledger) -> None:
    """An old database may hold thousands: the admin who upgrades still has 20 before a person must decide. What was only
    intended then counts when it is carried out.
    """
    ids = wanted(ledger, 4)
    before = guard_of(ledger)
    assert all(before.admits(one, None) for one in ids[:3])
    with ledger.database.writing() as connection:
        connection.execute(breaker.update().values(started_before=3))
    now = guard_of(ledger, first=1)
    assert now.room() == 1
    assert now.admits(ids[3], None)
    assert now.room() == 0


def test_what_a_person_cleared_since_it_was_queued_is_neither_started_nor_counted(ledger) -> None:
    """The breaker decides under the writer's lock, so a review either comes before it or sees a started action."""
    guard = guard_of(ledger, first=1)
    cleared, other = wanted(ledger, 2)
    ledger.reviews.decide(["f0"], Review.CLEARED)
    assert not guard.admits(cleared, None)
    assert ledger.breaker.started(NOON - timedelta(days=1)) == (0, 0)
    assert not ledger.breaker.state().is_tripped
    assert guard.admits(other, None)
