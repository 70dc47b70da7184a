"""From a rate to a time, and how far it may be off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.scan.estimate.projection import project, spread
from lemmy_safety.scan.estimate.trial import Trial, steady_steps
from lemmy_safety.scan.progress import Bottleneck, PassCounts


def trial(steps_s, *, mean_size=1000.0, bottleneck=Bottleneck.JUDGING):
    return Trial(
        objects=len(steps_s),
        finished=len(steps_s),
        counts=PassCounts(),
        steps_s=tuple(steps_s),
        mean_size=mean_size,
        bottleneck=bottleneck,
    )


def test_an_even_rate_gives_the_time_within_a_tenth():
    """200 objects in 100 s are 100,000 in 50,000 s; less than a tenth of uncertainty is never claimed."""
    told = project(trial([0.5] * 200), objects=100_000, size=1)
    assert (told.low_s, told.high_s, told.per_s) == (pytest.approx(45_000), pytest.approx(55_000), 2.0)


def test_the_range_holds_the_true_time_about_as_often_as_it_should():
    """Log-normal costs, as files have them: some take 50 times as long as others. 95 % is aimed at."""
    mean, held, tries = 1.0, 0, 400
    draw = random.Random(5)
    for _ in range(tries):
        costs = [draw.lognormvariate(-0.5, 1.0) for _ in range(200)]
        told = project(trial(costs), objects=1000, size=1)
        held += told.low_s <= 1000 * mean <= told.high_s
    assert 0.88 < held / tries <= 1.0


@pytest.mark.parametrize("bursts", [8, 25])
@pytest.mark.parametrize("size", [4, 8, 11])
def test_bursts_of_results_do_not_look_like_uncertainty(bursts, size):
    """A model answers in batches: a wait, then all results at once. The rate is even all the same."""
    assert spread(([4.0] + [0.0] * (size - 1)) * bursts) == pytest.approx(0.1)


def test_a_few_results_give_a_wide_range():
    """Ten results say little."""
    told = project(trial([1.0] * 10), objects=100, size=1)
    assert (told.low_s, told.high_s) == (50.0, 150.0)


def test_without_a_result_there_is_no_time():
    """A model that takes minutes for an object."""
    assert project(trial([]), objects=100, size=1) is None


def test_when_the_line_is_the_limit_sizes_count_as_well():
    """The sample's files are half as large as all are on average: it may take up to twice as long."""
    told = project(trial([1.0] * 200, mean_size=500.0, bottleneck=Bottleneck.FETCHING), objects=1000, size=1_000_000)
    assert told.low_s == pytest.approx(900)
    assert told.high_s == pytest.approx(2200)


def test_a_limit_on_the_rate_of_reading_bounds_the_time():
    """1 GB at 1 MB/s takes 1,000 s, whatever the machine can do; a limit that is never reached changes nothing."""
    fast = trial([0.01] * 200)
    bounded = project(fast, objects=1000, size=1_000_000_000, most_bytes_per_s=1e6)
    assert (bounded.low_s, bounded.high_s, bounded.is_rate_limited) == (1000, 1000, True)
    free = project(fast, objects=1000, size=1_000_000_000, most_bytes_per_s=1e12)
    assert (free.high_s, free.is_rate_limited) == (pytest.approx(11), False)


@given(st.lists(st.floats(0, 1e6), max_size=400), st.integers(0, 10**7), st.integers(0, 10**13))
def test_any_trial_gives_a_range_or_nothing(steps_s, objects, size):
    """Never a negative time, and never one that ends before it begins."""
    told = project(trial(steps_s), objects=objects, size=size)
    assert told is None or 0 <= told.low_s <= told.high_s


@pytest.mark.parametrize("size", [1, 8, 32, 128])
def test_the_first_batch_is_start_up_and_not_part_of_the_rate(size):
    """Batches of one a second, the first one after three: whatever their size, the rate is that of the later ones."""
    at_s = [3.0 + batch + 1e-6 * place for batch in range(max(10, 400 // size)) for place in range(size)]
    steps = steady_steps(at_s)
    assert len(steps) / sum(steps) == pytest.approx(size, rel=0.05)


def test_one_batch_alone_took_its_time_from_the_start():
    """Eight results at once after 50 s are not 8 results in no time."""
    steps = steady_steps([50.0 + 1e-6 * place for place in range(8)])
    assert len(steps) / sum(steps) == pytest.approx(8 / 50)
    assert steady_steps([]) == ()
