"""The limit on bytes a second, by a simulated clock: nothing here waits for real, except to see that a stop ends a wait."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.scan.passes import put, scanner_over
from support.scan.scanned_store import SWEEP

from lemmy_safety.scan.pipeline import PipelineStopped
from lemmy_safety.scan.rate import PassPace, RateLimit
from lemmy_safety.settings import load_settings
from lemmy_safety.wiring import engine_limits

PATIENCE_S = 20.0
SLACK_S = 0.1

mbits = st.floats(0.1, 1000)
sizes = st.integers(0, 1 << 17)
pauses = st.floats(0, 30)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def arrivals(rate: float, demands: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """When each reservation's bytes may come, if each is made so long after the one before."""
    clock = Clock()
    limit = RateLimit(rate, clock)
    came = []
    for idle_s, size in demands:
        clock.now_s += idle_s
        came.append((clock.now_s + limit.reserve(size), size))
    return came


@example(mbit=1.0, demands=[(0.0, 30_000), (60.0, 30_000), *[(0.0, 30_000)] * 20], window_s=1.0)
@given(mbits, st.lists(st.tuples(pauses, sizes), min_size=1, max_size=60), st.floats(0.5, 20))
def test_in_no_window_of_time_do_more_bytes_come_than_the_limit_and_one_piece(mbit, demands, window_s):
    """Any number of threads, after any idle time: no burst makes up for what was not used before."""
    rate = mbit * 125_000
    came = arrivals(rate, demands)
    for start_s, _ in came:
        within = [size for at_s, size in came if start_s <= at_s <= start_s + window_s]
        assert sum(within) <= rate * (window_s + SLACK_S) + max(size for _, size in demands) + 1e-6 * rate


@given(mbits, st.lists(sizes.filter(bool), min_size=1, max_size=60))
def test_when_threads_always_wait_the_whole_limit_is_used(mbit, pieces):
    """The limit is a limit and no brake: the last byte comes when all bytes take so long at that rate."""
    rate = mbit * 125_000
    last_s, _ = arrivals(rate, [(0.0, size) for size in pieces])[-1]
    assert last_s - 1000.0 == pytest.approx(sum(pieces) / rate, rel=1e-6)


def test_a_thread_that_wakes_up_late_loses_nothing():
    """A piece every 10 ms, each fetched 2 ms after its time: the next is due as if it had been on time."""
    clock = Clock()
    limit = RateLimit(100_000, clock)
    for number in range(1, 101):
        clock.now_s += limit.reserve(1000) + 0.002
        assert clock.now_s == pytest.approx(1000.0 + number * 0.01 + 0.002)


def test_the_end_of_a_pass_ends_the_wait_of_all_its_threads():
    """An hour to wait, and the pass is aborted: every thread hears of it, and so does one that asks later."""
    pace = PassPace(RateLimit(1.0))
    ended = []

    def wait() -> None:
        try:
            pace(3600)
        except PipelineStopped:
            ended.append(True)

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    pace.abort()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(ended) == 4
    with pytest.raises(PipelineStopped):
        pace(1)


class CountedRate(RateLimit):
    """Nothing waits, and what was reserved is known."""

    def __init__(self) -> None:
        super().__init__(1e12)
        self.reserved: list[int] = []

    def reserve(self, number: int) -> float:
        self.reserved.append(number)
        return 0.0


def test_every_byte_that_a_pass_reads_is_reserved(store, database):
    """By all fetch threads together, the large object in pieces; a second pass reads nothing, so it reserves nothing."""
    put(store, "large.png", os.urandom(1_000_000))
    rate = CountedRate()
    with scanner_over(store, database, rate=rate, dry_run=True) as scanner:
        summary = scanner.run(SWEEP)
        assert summary.bytes_read == sum(rate.reserved) == sum(file.stat().st_size for file in _files(store))
        assert max(rate.reserved) <= 100_000
        rate.reserved.clear()
        scanner.run(SWEEP)
        assert rate.reserved == []


@pytest.mark.long
def test_a_stop_ends_a_pass_that_waits_for_its_turn(store, database):
    """A byte an hour: the stop comes while all fetch threads wait, and no object counts as failed for that."""
    stop, waiting = threading.Event(), threading.Event()

    class Endless(RateLimit):
        def reserve(self, number: int) -> float:
            waiting.set()
            return super().reserve(number)

    with scanner_over(store, database, rate=Endless(1 / 3600), stop=stop) as scanner:
        ended = []
        thread = threading.Thread(target=lambda: ended.append(scanner.run(SWEEP)), daemon=True)
        thread.start()
        assert waiting.wait(PATIENCE_S)
        stop.set()
        thread.join(PATIENCE_S)
        assert ended
        assert ended[0].stopped
        assert not ended[0].failed
        assert ended[0].bytes_read == 0
        for thread in threading.enumerate():
            if thread.name.startswith("fetch"):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()


def _files(root):
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("mbit", "threads"), [("0.1", 2), ("1", 2), ("1.5", 3), ("2.1", 5), ("4", 8), ("5", 10), ("1000", 10)]
)
def test_a_slow_line_is_shared_by_few_reads(mbit, threads):
    """A server that sends to 10 clients, each of which takes a little a minute, would cut them off."""
    assert engine_limits(load_settings(environ={"LEMMY_SAFETY_MAX_MBIT": mbit})).threads == threads


def test_without_a_limit_all_threads_read():
    """And fewer than the limit would allow if that was asked for."""
    assert engine_limits(load_settings(environ={"LEMMY_SAFETY_THREADS": "3"})).threads == 3
    few = {"LEMMY_SAFETY_MAX_MBIT": "100", "LEMMY_SAFETY_THREADS": "3"}
    assert engine_limits(load_settings(environ=few)).threads == 3
    assert engine_limits(load_settings(environ={})).threads == 10
