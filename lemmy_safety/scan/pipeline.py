"""Bounded stages joined by channels: the machinery of a pass, independent of pictures.

One stop signal ends everything; the first error of any worker fails the whole run with that error; a full channel
makes the stage before it wait. Threads are daemon threads: a worker stuck in a vendor's call cannot hold up the exit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from lemmy_safety.errors import LemmySafetyError, WorkerDied
from lemmy_safety.foreign import foreign

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = logging.getLogger(__name__)


class PipelineStopped(Exception):
    """Raised inside workers that wait when the run is stopped; never leaves this room."""


class Channel(Generic[T]):
    """A bounded first-in-first-out queue that can be closed (no more items) and aborted (drop everything)."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a channel holds at least one item")
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._aborted = False

    def put(self, item: T) -> None:
        """Wait for room, then add ``item``.

        :raises PipelineStopped: the channel was aborted, or was closed while a sender left behind still used it.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._capacity or self._aborted or self._closed)
            if self._aborted or self._closed:
                raise PipelineStopped
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T | None:
        """The next item, or None when the channel is closed and empty, or when ``timeout_s`` passed without one.

        :raises PipelineStopped: the channel was aborted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._aborted, timeout_s)
            if self._aborted:
                raise PipelineStopped
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def get_batch(self, size: int, wait_s: float) -> list[T]:
        """At least one item, up to ``size``, waiting at most ``wait_s`` after the first; empty at the end."""
        first = self.get()
        if first is None:
            return []
        batch = [first]
        deadline = time.monotonic() + wait_s
        while len(batch) < size:
            item = self.get(max(0.0, deadline - time.monotonic()))
            if item is None:
                break
            batch.append(item)
        return batch

    @property
    def is_full(self) -> bool:
        """Whether a ``put`` would wait now."""
        return len(self._items) >= self._capacity

    def wait_for_abort(self, timeout_s: float) -> None:
        """Wait for so long, without putting or getting anything.

        :raises PipelineStopped: the channel was aborted.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._aborted, timeout_s):
                raise PipelineStopped

    def close(self) -> None:
        """No more items will come; what is inside is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop what is inside and wake all waiting threads."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()


class Pipeline:
    """The threads of one pass. Add stages, then ``wait``."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._channels: list[Channel[object]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._running = 0
        self._error: BaseException | None = None

    def channel(self, capacity: int) -> Channel[T]:
        """A channel that is aborted when the pipeline fails or is stopped."""
        made: Channel[T] = Channel(capacity)
        self._channels.append(made)  # type: ignore[arg-type]
        return made

    def stage(self, name: str, work: Callable[[], None], *, workers: int, when_done: Callable[[], None]) -> None:
        """Start ``workers`` threads that each run ``work`` to its end; then ``when_done`` runs once.

        ``work`` takes from its channel until that is exhausted. ``when_done`` closes the next channel, also after a
        stop or an error, so that the next stage can end.
        """
        left = workers
        lock = threading.Lock()

        def run() -> None:
            nonlocal left
            try:
                work()
            except PipelineStopped:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever ends a worker must end the run
                self.fail(error)
            finally:
                with lock:
                    left -= 1
                    last = left == 0
                if last:
                    self._run_when_done(when_done)
                self._one_ended()

        with self._lock:
            self._running += workers
        for number in range(workers):
            thread = threading.Thread(target=run, name=f"{name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run_when_done(self, when_done: Callable[[], None]) -> None:
        try:
            when_done()
        except PipelineStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - same reason
            self.fail(error)

    def _one_ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._ended.set()

    def fail(self, error: BaseException) -> None:
        """Keep the first error and stop everything."""
        with self._lock:
            if self._error is None:
                self._error = error
        self.stop()

    @property
    def failed(self) -> bool:
        """Whether a worker has ended with an error."""
        return self._error is not None

    def stop(self) -> None:
        """Abort the channels; workers end at their next put or get."""
        for channel in self._channels:
            channel.abort()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for all workers; True when all have ended."""
        return self._ended.wait(timeout_s)

    def raise_error(self) -> None:
        """Raise the first worker's error: our own unchanged, any other as WorkerDied with the original as cause."""
        error = self._error
        if error is None:
            return
        if isinstance(error, LemmySafetyError):
            raise error
        raise WorkerDied(f"A worker ended with {type(error).__name__}: {foreign(error)}.") from error
