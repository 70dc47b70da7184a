"""How much a pass may act on, and when a detector flags unusually often: pure rules, for any numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.actions import ActionLimits
from lemmy_safety.actions.guard import LEAST_JUDGED, allowed_in_pass, midnight, unusual_detector
from lemmy_safety.records import PassSoFar

NUMBERS = st.integers(0, 10_000_000)
SHARES = st.floats(0.001, 100)


def so_far(judged: int, **flagged_by: int) -> PassSoFar:
    return PassSoFar(run_id=1, judged=judged, flagged_by=flagged_by)


def test_the_defaults_are_those_of_the_docs() -> None:
    """20 first actions, 200 a day, 2 % of a pass, which is 20 of the first 1,000: docs/limits.md says so."""
    limits = ActionLimits()
    assert (limits.first, limits.per_day, limits.share) == (20, 200, 2.0)
    assert allowed_in_pass(0, limits.share) == allowed_in_pass(1000, limits.share) == 20
    assert allowed_in_pass(400_000, limits.share) == 8000


@given(judged=NUMBERS, share=SHARES)
def test_a_pass_may_act_on_its_share_and_never_on_more(judged: int, share: float) -> None:
    """On one object at least, or a small share would stop everything; a pass counts as 1,000 objects at least."""
    allowed = allowed_in_pass(judged, share)
    assert 1 <= allowed <= max(1, max(LEAST_JUDGED, judged) * share / 100)
    assert allowed > max(LEAST_JUDGED, judged) * share / 100 - 1


@given(judged=NUMBERS, more=NUMBERS, share=SHARES)
def test_judging_more_never_allows_less(judged: int, more: int, share: float) -> None:
    """What was allowed when an object was acted on stays allowed."""
    assert allowed_in_pass(judged, share) <= allowed_in_pass(judged + more, share)


@given(judged=st.integers(1, 100_000), flagged=NUMBERS, before=st.integers(0, LEAST_JUDGED - 1))
def test_without_enough_objects_before_no_detector_is_unusual(judged: int, flagged: int, before: int) -> None:
    """Fewer than 1,000 objects judged before are no measure."""
    assert unusual_detector(so_far(judged, clip=flagged), before, {}) is None


@given(judged=st.integers(1, 100_000), flagged=st.integers(0, 19), before=st.integers(0, 100_000))
def test_a_detector_is_not_unusual_before_it_has_flagged_twenty(judged: int, flagged: int, before: int) -> None:
    """A few uploads in a row are no fault."""
    assert unusual_detector(so_far(judged, clip=flagged), before, {"clip": 0}) is None


@given(
    judged=st.integers(20, 100_000),
    flagged=st.integers(20, 100_000),
    before=st.integers(LEAST_JUDGED, 100_000),
    flagged_before=st.integers(0, 100_000),
)
def test_a_detector_is_unusual_beyond_ten_times_its_share(
    judged: int, flagged: int, before: int, flagged_before: int
) -> None:
    """Exactly ten times its share is still usual. One that never flagged counts as if it had flagged one."""
    flagged, flagged_before = min(flagged, judged), min(flagged_before, before)
    found = unusual_detector(so_far(judged, clip=flagged), before, {"clip": flagged_before})
    assert (found is not None) == (flagged * before > 10 * max(1, flagged_before) * judged)
    if found is not None:
        assert f"clip flagged {flagged:,} of {judged:,}" in found
        assert f"{flagged_before:,} of {before:,} before" in found


def test_the_detector_that_is_unusual_is_the_one_named() -> None:
    """Among several, the others being usual."""
    found = unusual_detector(so_far(1000, clip=10, hashes=300), 10_000, {"clip": 100, "hashes": 3})
    assert found is not None
    assert found.startswith("hashes flagged 300 of 1,000")


def test_a_pass_that_has_judged_nothing_has_no_unusual_detector() -> None:
    """It finishes what an earlier pass intended."""
    assert unusual_detector(so_far(0, clip=30), 10_000, {}) is None


@given(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants it naive
def test_a_day_begins_at_midnight_utc(moment: datetime) -> None:
    """At most 24 hours ago, never later than now, and the same for each moment of a day."""
    began = midnight(moment)
    assert timedelta(0) <= moment - began < timedelta(days=1)
    assert began.date() == moment.date()
    assert midnight(began) == began
