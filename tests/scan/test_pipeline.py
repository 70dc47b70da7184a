"""The stage machinery by itself: order, bounds, stop, failure."""

from __future__ import annotations

import threading

import pytest

from lemmy_safety.errors import StorageUnreachable, WorkerDied
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.scan.pipeline import Channel, Pipeline, PipelineStopped

PATIENCE_S = 20.0


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_channel_hands_items_out_in_order_and_then_says_that_it_is_closed():
    """What went in first comes out first; after close, what is inside is still handed out, then None for ever."""
    channel = Channel(10)
    for number in range(5):
        channel.put(number)
    channel.close()
    assert [channel.get() for _ in range(7)] == [0, 1, 2, 3, 4, None, None]


def test_a_full_channel_makes_the_sender_wait_until_there_is_room():
    """Backpressure: the third item of a channel of two is only in after one was taken."""
    channel = Channel(2)
    done = threading.Event()

    def send():
        for number in range(3):
            channel.put(number)
        done.set()

    in_thread(send)
    assert not done.wait(0.1)
    assert channel.get() == 0
    assert done.wait(PATIENCE_S)


def test_a_batch_is_what_has_come_when_the_short_wait_is_over():
    """A lone sample is not held back for company that does not come."""
    channel = Channel(10)
    channel.put("lone")
    assert channel.get_batch(8, 0.01) == ["lone"]
    for number in range(5):
        channel.put(number)
    assert channel.get_batch(3, PATIENCE_S) == [0, 1, 2]
    channel.close()
    assert channel.get_batch(3, PATIENCE_S) == [3, 4]
    assert channel.get_batch(3, PATIENCE_S) == []


@pytest.mark.parametrize("wait", ["put", "get"])
def test_an_aborted_channel_wakes_whoever_waits_on_it(wait):
    """No one hangs on a channel of a run that was stopped."""
    channel = Channel(1)
    if wait == "put":
        channel.put("full")
    ended = threading.Event()

    def hang():
        with pytest.raises(PipelineStopped):
            channel.put("more") if wait == "put" else channel.get()
        ended.set()

    in_thread(hang)
    channel.abort()
    assert ended.wait(PATIENCE_S)


def test_a_channel_without_room_is_refused():
    """A capacity of 0 would block for ever, so it is a programming error at once."""
    with pytest.raises(ValueError, match="at least one"):
        Channel(0)


def test_everything_put_in_at_one_end_comes_out_at_the_other_exactly_once():
    """Two stages of several workers neither lose nor repeat an item."""
    pipeline = Pipeline()
    numbers, squares = pipeline.channel(3), pipeline.channel(3)
    seen = []

    def square():
        while (number := numbers.get()) is not None:
            squares.put(number * number)

    def collect():
        while (number := squares.get()) is not None:
            seen.append(number)

    pipeline.stage("collect", collect, workers=1, when_done=lambda: None)
    pipeline.stage("square", square, workers=4, when_done=squares.close)
    pipeline.stage("count", lambda: [numbers.put(n) for n in range(500)], workers=1, when_done=numbers.close)
    assert pipeline.wait(PATIENCE_S)
    pipeline.raise_error()
    assert sorted(seen) == [n * n for n in range(500)]


@pytest.mark.parametrize(
    ("thrown", "expected"), [(StorageUnreachable("down"), StorageUnreachable), (RuntimeError("bug"), WorkerDied)]
)
def test_a_dead_worker_ends_the_run_with_its_own_error(thrown, expected):
    """The first error stops all stages; ours is raised as it is, any other with the original as its cause."""
    pipeline = Pipeline()
    channel = pipeline.channel(1)

    def die():
        channel.get()
        raise thrown

    def feed():
        while True:
            channel.put("x")

    pipeline.stage("die", die, workers=1, when_done=lambda: None)
    pipeline.stage("feed", feed, workers=1, when_done=channel.close)
    assert pipeline.wait(PATIENCE_S)
    assert pipeline.failed
    with pytest.raises(expected) as caught:
        pipeline.raise_error()
    assert caught.value is thrown or caught.value.__cause__ is thrown


def test_an_error_in_the_closing_step_of_a_stage_ends_the_run_too():
    """What runs after the last worker is part of the run, not a place where errors vanish."""
    pipeline = Pipeline()

    def close_badly():
        raise StorageUnreachable("down at the end")

    pipeline.stage("work", lambda: None, workers=2, when_done=close_badly)
    assert pipeline.wait(PATIENCE_S)
    with pytest.raises(StorageUnreachable):
        pipeline.raise_error()


def test_the_byte_budget_is_never_exceeded_but_lets_a_single_giant_through():
    """Bytes in flight stay under the limit; an object larger than all of it passes alone."""
    budget = ByteBudget(100)
    most = 0
    lock = threading.Lock()

    def work(size):
        nonlocal most
        for _ in range(200):
            budget.acquire(size)
            with lock:
                most = max(most, budget.used)
            budget.release(size)

    threads = [in_thread(lambda size=size: work(size)) for size in (10, 40, 60, 99)]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert most <= 100
    budget.acquire(1000)
    assert budget.used == 1000
    budget.release(1000)
    assert budget.used == 0


def test_room_that_is_given_back_belongs_at_once_to_who_waits_for_it():
    """In their order, before their threads have run: else it seemed full to anyone who looked in between."""
    budget = ByteBudget(10)
    budget.acquire(10)
    ended = threading.Semaphore(0)
    for size in (6, 8, 4):
        waits = threading.Event()

        def wait(size=size, waits=waits):
            budget.acquire(size, when_waiting=waits.set)
            ended.release()

        in_thread(wait)
        assert waits.wait(PATIENCE_S)
    assert budget.waiting == 3
    budget.release(10)
    assert (budget.used, budget.waiting) == (10, 1)  # 6 and 4; 8 does not fit yet
    budget.release(6)
    assert (budget.used, budget.waiting) == (4, 1)
    budget.release(4)
    assert (budget.used, budget.waiting) == (8, 0)
    for _ in range(3):
        assert ended.acquire(timeout=PATIENCE_S)


def test_waiting_for_the_byte_budget_ends_when_the_run_is_stopped():
    """A reader that waits for room does not outlive its run."""
    budget = ByteBudget(10)
    budget.acquire(10)
    ended = threading.Event()

    def wait():
        with pytest.raises(PipelineStopped):
            budget.acquire(1)
        ended.set()

    in_thread(wait)
    budget.abort()
    assert ended.wait(PATIENCE_S)
