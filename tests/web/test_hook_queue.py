"""Which uploads are judged next, and how many together."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.web.backlog import Backlog
from lemmy_safety.web.speed import JudgeSpeed
from lemmy_safety.web.threads import WorkerThreads


@dataclass(eq=False)
class Waiting:
    name: str
    awaited: bool = True
    frames: int = 1


def test_awaited_first_then_late_each_in_order():
    """Who is still waited for goes first; among equals, first come first served."""
    backlog = Backlog()
    a, b, c, d = (Waiting(name, awaited=name in "bd") for name in "abcd")
    for item in (a, b, c, d):
        backlog.put(item)
    assert backlog.in_order() == [b, d, a, c]
    assert backlog.late() is a
    backlog.take(a)
    a.awaited = b.awaited = False
    assert backlog.in_order() == [d, b, c]
    assert len(backlog) == 3


def test_batches_grow_with_speed():
    """Without experience one at a time; then as many as fit into the time for a batch, up to the detectors' number."""
    queue = [Waiting(str(number)) for number in range(100)]
    speed = JudgeSpeed()
    assert speed.choose(queue, 32) == (queue[:1], True)
    speed.note(1, 0.25)
    assert speed.choose(queue, 32) == (queue[:4], True)
    for _ in range(30):
        speed.note(10, 0.01)
    assert speed.choose(queue, 32) == (queue[:32], True)
    assert speed.choose(queue[:3], 32) == (queue[:3], False)


def test_one_medium_of_many_frames_is_a_batch_of_its_own():
    """A video that takes longer than a batch should is still judged, alone."""
    queue = [Waiting("video", frames=500), Waiting("picture")]
    speed = JudgeSpeed()
    speed.note(1, 0.1)
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
        speed.note(count, seconds)
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
