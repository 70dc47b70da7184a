"""What is left of a pass, against the true end of simulated ones. The clock is simulated, so hours take a second."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from lemmy_safety.scan.forecast import Forecast
from lemmy_safety.scan.progress import Bottleneck, PassCounts, Total

TICK_S = 0.2
QUEUE = 40
#: Known objects are skipped this fast.
LISTED_PER_S = 20_000


def simulated(objects, *, per_s, counted_after_s=5.0, stage=Bottleneck.JUDGING):
    """One pass over ``objects`` (False: known, True: must be read), as its counts and outlook at each tick.

    ``per_s`` gives the objects a second that the engine finishes, by the number finished so far. The count of what
    there is comes ``counted_after_s`` after the engine first had to be waited for.
    """
    forecast, ticks, to_read = Forecast(), [], sum(objects)
    seen = skipped = done = 0
    progress = now_s = 0.0
    counted_at = None
    while True:
        room = LISTED_PER_S * TICK_S
        while seen < len(objects) and room >= 1 and seen - skipped - done < QUEUE:
            skipped += not objects[seen]
            seen += 1
            room -= 1
        is_behind = seen - skipped - done >= QUEUE
        if is_behind and counted_at is None:
            counted_at = now_s + counted_after_s
        total = None
        if counted_at is not None and now_s >= counted_at:
            total = Total(objects=len(objects), size=0, to_read=to_read, size_to_read=0, is_exact=True)
        counts = PassCounts(seen=seen, skipped=skipped, checked=done, seconds=now_s)
        ticks.append(
            (
                counts,
                forecast.update(counts, stage if is_behind else Bottleneck.LISTING, total, listed=seen == len(objects)),
            )
        )
        if seen == len(objects) and seen - skipped == done:
            return ticks
        now_s += TICK_S
        progress = min(progress + per_s(done) * TICK_S, seen - skipped)
        done = int(progress)


def told(ticks):
    """(the time left that was shown, the true one) wherever one was shown and at least a minute was left."""
    end_s = ticks[-1][0].seconds
    shown = [
        (outlook.seconds_left, end_s - counts.seconds) for counts, outlook in ticks if outlook.seconds_left is not None
    ]
    return [pair for pair in shown if pair[1] >= 60.0]


FRESH = [True] * 20_000
RESUMED = [False] * 200_000 + [True] * 20_000
NEW_AT_THE_END = [False] * 396_000 + [True] * 4_000
SCATTERED = list(chain.from_iterable(repeat([False] * 49 + [True], 8_000)))
KNOWN_IN_THE_MIDDLE = [True] * 8_000 + [False] * 300_000 + [True] * 8_000


@pytest.mark.parametrize(
    "objects",
    [FRESH, RESUMED, NEW_AT_THE_END, SCATTERED, KNOWN_IN_THE_MIDDLE],
    ids=["fresh", "resumed", "new at the end", "scattered", "known in the middle"],
)
def test_the_time_left_is_true_whatever_part_is_known(objects):
    """At a steady rate it is right within a tenth from the first time that it is shown until the last minute."""
    pairs = told(simulated(objects, per_s=lambda _done: 10.0))
    assert len(pairs) > 1000
    assert all(0.9 <= shown / true <= 1.1 for shown, true in pairs)


def test_no_time_is_shown_while_only_known_objects_are_skipped():
    """Skipping is fast and says nothing about what comes after it."""
    ticks = simulated(RESUMED, per_s=lambda _done: 10.0)
    skipping = [outlook for counts, outlook in ticks if counts.seen < 200_000]
    assert len(skipping) > 10
    assert all(outlook.seconds_left is None for outlook in skipping)


def test_no_time_is_shown_before_the_objects_are_counted():
    """Neither a rate alone nor the total of an earlier pass says how many objects are new."""
    earlier = Total(objects=20_000, size=0, to_read=None, size_to_read=None, is_exact=False)
    forecast = Forecast()
    for tick in range(1000):
        counts = PassCounts(seen=40 + tick, checked=tick, seconds=tick * TICK_S)
        outlook = forecast.update(counts, Bottleneck.JUDGING, earlier, listed=False)
    assert outlook.seconds_left is None


@pytest.mark.long
def test_a_store_that_becomes_slower_is_followed_within_minutes():
    """The second half costs five times as much. Five minutes into it, the time left is right again."""
    ticks = simulated(FRESH, per_s=lambda done: 10.0 if done < 10_000 else 2.0)
    later = [(counts, outlook) for counts, outlook in ticks if counts.done > 10_000 + 2.0 * 310]
    assert all(0.9 <= shown / true <= 1.1 for shown, true in told(later))


def test_loading_models_does_not_count_as_slowness():
    """The daemon loads its models with the first image: two minutes without a result."""
    forecast = Forecast()
    total = Total(objects=10_000, size=0, to_read=10_000, size_to_read=0, is_exact=True)
    for tick in range(1500):
        now_s = tick * TICK_S
        done = max(0, int((now_s - 120.0) * 10.0))
        counts = PassCounts(seen=done + QUEUE, checked=done, seconds=now_s)
        outlook = forecast.update(counts, Bottleneck.JUDGING, total, listed=False)
    assert outlook.seconds_left == pytest.approx((10_000 - done) / 10.0, rel=0.05)


def test_the_bottleneck_is_the_one_of_the_last_seconds():
    """The most frequent of the last ten seconds, and it stays while the queues run empty at the end."""
    forecast = Forecast()
    for tick in range(200):
        stage = Bottleneck.FETCHING if tick < 100 else Bottleneck.JUDGING
        odd = Bottleneck.DECODING if tick % 3 == 0 else stage
        outlook = forecast.update(PassCounts(seen=500, seconds=tick * TICK_S), odd, None, listed=False)
        if tick == 99:
            assert outlook.bottleneck is Bottleneck.FETCHING
    assert outlook.bottleneck is Bottleneck.JUDGING
    for tick in range(200, 400):
        counts = PassCounts(seen=500, seconds=tick * TICK_S)
        outlook = forecast.update(counts, Bottleneck.LISTING, None, listed=True)
    assert outlook.bottleneck is Bottleneck.JUDGING


def test_its_memory_does_not_grow_with_the_pass():
    """A sweep of days keeps a window of minutes."""
    forecast = Forecast()
    for tick in range(10_000):
        forecast.update(
            PassCounts(seen=tick, checked=tick, seconds=tick * TICK_S), Bottleneck.FETCHING, None, listed=False
        )
    assert len(forecast._samples) < 400
