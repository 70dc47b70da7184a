"""Which uploads are judged next, and how many together."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.uploads.backlog import Backlog
from lemmy_safety.uploads.judge_speed import JudgeSpeed
from lemmy_safety.uploads.threads import WorkerThreads


@dataclass(eq=False)
class Waiting:
    name: str
    awaited: bool = True
    frames: int = 1
    half: float = math.inf
    deadline: float = math.inf


def test_awaited_first_then_late_each_in_order():
    """Who is still waited for goes first; among equals, first come first served."""
    backlog = Backlog()
    a, b, c, d = (Waiting(name, awaited=name in "bd") for name in "abcd")
    for item in (a, b, c, d):
        backlog.put(item)
    assert backlog.in_order(0.0) == [b, d, a, c]
    assert backlog.late() is a
    backlog.remove(a)
    a.awaited = b.awaited = False
    assert backlog.in_order(0.0) == [d, b, c]
    assert len(backlog) == 3


def asked(name: str, since: float, *, budget_s: float = 8.0, frames: int = 1) -> Waiting:
    return Waiting(name, frames=frames, half=since + budget_s / 2, deadline=since + budget_s)


def test_who_has_waited_for_half_of_their_time_stands_back():
    """In the first half of their time as they came; in the second, who has most of it left."""
    backlog = Backlog()
    items = {name: asked(name, since) for name, since in (("a", 0), ("b", 1), ("c", 5), ("d", 6))}
    for item in items.values():
        backlog.put(item)
    assert [item.name for item in backlog.in_order(3.0)] == ["a", "b", "c", "d"]
    assert [item.name for item in backlog.in_order(7.0)] == ["c", "d", "b", "a"]


def test_what_takes_longer_than_there_is_time_is_last():
    """A long video does not make those late who could be in time."""
    backlog = Backlog()
    for item in (asked("video", 0, frames=90), asked("picture", 1), asked("clip", 2, frames=25)):
        backlog.put(item)
    order = backlog.in_order(3.0, takes_s=lambda item: item.frames * 0.1)
    assert [item.name for item in order] == ["picture", "clip", "video"]


@pytest.mark.parametrize(("judged_a_second", "asked_a_second"), [(5, 6), (5, 20), (1, 4), (20, 30)])
def test_under_any_load_as_many_are_in_time_as_can_be_judged(judged_a_second, asked_a_second):
    """With more uploads a second than can be judged, nearly each that is judged is answered in time."""
    backlog, now, judged, in_time, asked_so_far = Backlog(), 0.0, 0, 0, 0
    while now < 60.0:
        while asked_so_far <= now * asked_a_second:
            backlog.put(asked(str(asked_so_far), asked_so_far / asked_a_second))
            asked_so_far += 1
        for item in backlog:
            item.awaited = now < item.deadline
        item = backlog.in_order(now)[0]
        backlog.remove(item)
        judged += 1
        now += (1.5 if judged % 2 else 0.5) / judged_a_second
        in_time += now <= item.deadline
    assert judged >= 59 * judged_a_second
    assert in_time >= 0.98 * judged


def test_batches_grow_with_speed():
    """Without experience one at a time; then as many as fit into the time for a batch, up to the detectors' number."""
    queue = [Waiting(str(number)) for number in range(100)]
    speed = JudgeSpeed()
    assert speed.choose(queue, 32) == (queue[:1], True)
    speed.note(1, 1, 0.25)
    assert speed.choose(queue, 32) == (queue[:4], True)
    for _ in range(30):
        speed.note(10, 10, 0.01)
    assert speed.choose(queue, 32) == (queue[:32], True)
    assert speed.choose(queue[:3], 32) == (queue[:3], False)


def test_decoding_stops_ahead_of_a_judge_who_has_enough():
    """Enough is the next batch; without experience it is never enough, so that all is decoded while models load."""
    queue = [Waiting(str(number)) for number in range(100)]
    speed = JudgeSpeed()
    assert not speed.is_enough(queue, 32)
    speed.note(2, 4, 1.0)
    assert (speed.per_medium_s, speed.takes_s(Waiting("video", frames=8))) == (0.5, 2.0)
    assert not speed.is_enough(queue[:4], 32)
    assert speed.is_enough(queue[:5], 32)
    assert speed.is_enough(queue[:3], 3)


def test_one_medium_of_many_frames_is_a_batch_of_its_own():
    """A video that takes longer than a batch should is still judged, alone."""
    queue = [Waiting("video", frames=500), Waiting("picture")]
    speed = JudgeSpeed()
    speed.note(1, 1, 0.1)
    assert speed.choose(queue, 32) == (queue[:1], True)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=40),
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 100), st.floats(0, 100)), max_size=5),
)
def test_a_batch_is_never_empty_nor_over_the_most(frames, most, history):
    """Whatever was measured, a batch is the beginning of the queue, at least one and at most ``most``."""
    queue = [Waiting(str(number), frames=count) for number, count in enumerate(frames)]
    speed = JudgeSpeed()
    for count, seconds in history:
        speed.note(1, count, seconds)
    batch, full = speed.choose(queue, most)
    assert 1 <= len(batch) <= most
    assert batch == queue[: len(batch)]
    assert full or batch == queue


def test_threads_hand_back_results_and_errors():
    """A call's result or exception comes back to the loop; a cancelled wait leaves the thread working for others."""

    async def run():
        threads = WorkerThreads("test", 2)
        assert await threads.run(lambda: 41 + 1) == 42
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        gate = threading.Event()
        waiting = threads.run(gate.wait)
        waiting.cancel()
        gate.set()
        assert await threads.run(threading.current_thread) is not threading.current_thread()
        threads.close()

    asyncio.run(run())
