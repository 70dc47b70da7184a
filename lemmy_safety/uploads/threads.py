"""Threads and tasks that work for an event loop.

The threads are daemon threads: one that is stuck in a decoder, a model or a database must not delay the exit of the
process, as a thread of ``concurrent.futures`` would.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class WorkerThreads:
    """A fixed number of threads that run calls in order. Created and used by one event loop."""

    def __init__(self, name: str, count: int = 1) -> None:
        self._calls: queue.SimpleQueue[_Call[object] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run ``work``; the future gets its result or exception. Cancelling it stops work that has not begun."""
        call = _Call(work, self._loop)
        self._calls.put(call)  # type: ignore[arg-type]
        return call.future

    def close(self) -> None:
        """Let the threads end after their queued calls. Returns at once."""
        for _ in range(self._count):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.do()
            del call  # or the last call, with all that it refers to, would live until the next one


class Tasks:
    """Background tasks. Created and used by one event loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run it in the background."""
        task = asyncio.create_task(work)
        self._running.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._running.discard)


class _Call(Generic[T]):
    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self.future: asyncio.Future[T] = loop.create_future()

    def do(self) -> None:
        if self.future.cancelled():
            return
        error: BaseException | None = None
        result: T | None = None
        try:
            result = self._work()
        except BaseException as caught:  # noqa: BLE001 - handed to the caller that waits
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: no caller waits
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self.future.done():  # cancelled
            return
        if error is None:
            self.future.set_result(result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(error)
