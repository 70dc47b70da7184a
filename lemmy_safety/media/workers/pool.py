"""Decoding in worker processes: a crash, a hang or an endless allocation costs the one object that caused it.

Every process has its own pipes and is used by one thread at a time, so a failure of one of them cannot
affect another one's medium. (Pools that share a queue between their processes cannot promise that: one that is killed
while it holds the queue's lock takes the others with it.) No byte of a picture touches a disk: pipes are memory.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
import time
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError, WorkerDied
from lemmy_safety.media.base import DecodedMedia, Decoder
from lemmy_safety.media.decoding import InlineDecoder, looks, without_the_rest
from lemmy_safety.media.workers.messages import Fault, OutOfMemory, Refused, Rest, Task
from lemmy_safety.media.workers.process import WorkerLost, WorkerProcess
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from lemmy_safety.media.base import MediaLimits
    from lemmy_safety.media.workers.messages import Answer, DecodeFunction

log = logging.getLogger(__name__)

#: Seconds between checks of busy processes: they exceed their time by at most this, and their memory by what they fill
#: in it.
_TICK_S: Final = 0.05
#: Processes that may fail in a row before their first medium; after that it is not an accident.
_MOST_STARTS: Final = 3
#: Seconds between those, so that a system without free processes can recover.
_PAUSE_S: Final = 0.5
#: How long ``close`` waits for killed processes, in all.
_CLOSE_S: Final = 0.5
_MEBI: Final = 1024 * 1024
_MADE_WAY: Final = "ended after its share of the time, because others waited"


@dataclass(slots=True)
class _Slot:
    """The place of one process. ``lent`` while a caller has it; only that caller uses the process.

    ``data`` is what its process then decodes, since ``given_at``; ``made_way``: it was ended to free the place.
    """

    worker: WorkerProcess | None = None
    lent: bool = False
    data: bytes | None = None
    given_at: float = 0.0
    made_way: bool = False


class ProcessDecoder(Decoder):
    """Decodes in ``workers`` processes; callers beyond that number wait for their turn.

    The processes start with the first medium, all at once, and run until ``close``.
    """

    def __init__(
        self,
        limits: MediaLimits,
        *,
        workers: int,
        timeout_s: float,
        memory_bytes: int,
        decode: DecodeFunction = looks,
        quiet: bool = True,
    ) -> None:
        """``timeout_s`` is for one medium, from when a process has it; ``memory_bytes`` is for one process, above what
        it
        needs to start. ``decode`` is a module's function that decodes. ``quiet`` discards what libraries print.

        :raises ValueError: a number is not above 0.
        """
        if workers < 1 or timeout_s <= 0 or memory_bytes < 1:
            raise ValueError("decoding takes at least one process, and time and memory above 0")
        self._inline = InlineDecoder(limits)
        self._task = Task(decode=decode, limits=limits, timeout_s=timeout_s, memory_bytes=memory_bytes)
        pickle.dumps(self._task)  # refuses a function that does not belong to a module here, not in every process
        self._quiet = quiet
        self._lock = threading.Lock()
        self._started = False
        self._closing = threading.Event()
        self._lent = threading.Event()
        self._slots = [_Slot() for _ in range(workers)]
        # Once closed it contains a None: each waiter that takes it puts it back for the next one.
        self._free: SimpleQueue[_Slot | None] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    @property
    def version(self) -> str:
        task = self._task
        return f"{self._inline.version} within {task.timeout_s:g} s and {task.memory_bytes / _MEBI:g} MiB"

    def start(self) -> None:
        """Start the processes without waiting for them: the caller can do other work meanwhile. Twice is fine."""
        with self._lock:
            if self._started or self._closing.is_set():
                return
            threading.Thread(target=self._watch, name="decode-watch", daemon=True).start()
            self._started = True
        for slot in self._slots:
            try:
                self._filled(slot)
            except WorkerLost as error:
                log.debug("a decoding process could not be started yet: %s", error)  # its first medium tries again

    def decode(self, data: bytes) -> DecodedMedia:
        """As in the contract. A medium that breaks its process is UNREADABLE with ``decoder_broke``.

        :raises MediaError: as in the contract, or DETECTOR_FAILED: ``close`` came first, nothing is known of the
            medium.
        :raises WorkerDied: no process can be started, whatever the medium.
        """
        self.start()
        slot = self._free.get()
        try:
            if slot is None or self._closing.is_set():
                raise _stopped()
            slot.lent = True
            self._lent.set()
            return self._decoded_in(slot, data)
        finally:
            if slot is not None:
                with self._lock:
                    slot.data = None
                if slot.worker is not None and not slot.worker.fit:
                    self._replace(slot)
                slot.lent = False
            self._free.put(slot)

    def make_way(self, data: bytes, *, share_s: float) -> bool:
        """As in the contract. The time counts from when a process has the medium, like that of ``timeout_s``."""
        with self._lock:
            for slot in self._slots:
                if slot.data is data and slot.worker is not None and time.monotonic() >= slot.given_at + share_s:
                    slot.made_way = True
                    slot.worker.end(_MADE_WAY)
                    return True
        return False

    def shown_so_far(self, data: bytes) -> DecodedMedia | None:
        with self._lock:
            for slot in self._slots:
                if slot.data is data and slot.worker is not None:
                    return slot.worker.alone
        return None

    def _decoded_in(self, slot: _Slot, data: bytes) -> DecodedMedia:
        worker = self._given_to(slot, data)
        with self._lock:
            slot.data, slot.given_at, slot.made_way = data, time.monotonic(), False
        try:
            answer = worker.answer()
        except WorkerLost as error:
            if self._closing.is_set():
                raise _stopped() from error
            if slot.made_way and worker.alone is None:
                raise MediaError(ItemStatus.DETECTOR_FAILED, _MADE_WAY) from error
            if not slot.made_way:
                log.warning("a medium of %d bytes cost a decoding process: %s", len(data), error)
            if worker.alone is not None:
                return without_the_rest(worker.alone, str(error))
            raise MediaError(ItemStatus.UNREADABLE, str(error), decoder_broke=True) from error
        if worker.alone is None:
            return self._media(answer)
        return self._whole(worker.alone, answer)

    def _given_to(self, slot: _Slot, data: bytes) -> WorkerProcess:
        """The process that now has the medium. If a process ends before that, the medium is not to blame."""
        for attempt in range(_MOST_STARTS):
            if attempt:
                self._closing.wait(_PAUSE_S)
            try:
                worker = self._filled(slot)
                worker.wait_until_ready()
                worker.give(data)
            except WorkerLost as error:
                lost = error
                self._empty(slot)
            else:
                return worker
            if self._closing.is_set():
                raise _stopped() from lost
        raise WorkerDied(f"No decoding process can be started: {lost}.") from lost

    def _whole(self, alone: DecodedMedia, rest: Answer) -> DecodedMedia:
        """What a file shows together with its other content; errors in that content do not affect the file itself."""
        if isinstance(rest, Rest):
            return replace(alone, info=rest.info, frames=(*alone.frames, *rest.frames), pdqs=(*alone.pdqs, *rest.pdqs))
        try:
            return self._media(rest)
        except MediaError as error:
            return without_the_rest(alone, error.reason)

    def _media(self, answer: Answer) -> DecodedMedia:
        match answer:
            case DecodedMedia():
                return answer
            case Refused():
                raise MediaError(answer.status, answer.reason, decoder_broke=answer.decoder_broke)
            case OutOfMemory():
                raise MediaError(ItemStatus.UNREADABLE, self._task.out_of_memory, decoder_broke=True)
            case Fault():
                log.error("fault in the decoder\n%s", answer.trace)
                raise MediaError(ItemStatus.UNREADABLE, f"fault in the decoder: {answer.exception}", decoder_broke=True)
        raise MediaError(ItemStatus.UNREADABLE, "fault in the decoder: no answer", decoder_broke=True)

    def _filled(self, slot: _Slot) -> WorkerProcess:
        with self._lock:
            if self._closing.is_set():
                raise WorkerLost("stopped")
            if slot.worker is None:
                try:
                    slot.worker = WorkerProcess(self._task, quiet=self._quiet)
                except OSError as error:
                    raise WorkerLost(f"{type(error).__name__}: {error}") from error
            return slot.worker

    def _empty(self, slot: _Slot) -> None:
        if slot.worker is not None:
            slot.worker.end("replaced")
            slot.worker.clear_away()
            slot.worker = None

    def _replace(self, slot: _Slot) -> None:
        """Start the next process while others work, so that the next medium waits less for it."""
        self._empty(slot)
        with contextlib.suppress(WorkerLost):  # its first medium tries again
            self._filled(slot)

    def _watch(self) -> None:
        """Enforce the limits of the processes in use."""
        while not self._closing.is_set():
            self._lent.clear()
            lent = [slot for slot in self._slots if slot.lent]
            for slot in lent:
                worker = slot.worker
                if worker is not None:
                    worker.check()
            if lent:
                self._closing.wait(_TICK_S)
            else:
                self._lent.wait()

    def close(self) -> None:
        """End all processes, whatever they do; waiting callers get DETECTOR_FAILED."""
        with self._lock:
            self._closing.set()
        self._lent.set()
        for slot in self._slots:
            worker = slot.worker
            if worker is not None:
                worker.end("stopped")
        deadline = time.monotonic() + _CLOSE_S
        with contextlib.suppress(Empty):
            # The caller that has a lent process cleans it up.
            while (idle := self._free.get_nowait()) is not None:
                if idle.worker is not None:
                    idle.worker.clear_away(max(0.0, deadline - time.monotonic()))
                    idle.worker = None
        self._free.put(None)


def _stopped() -> MediaError:
    return MediaError(ItemStatus.DETECTOR_FAILED, "stopped before it was decoded")
