"""Judges the uploads of a remote server: a machine with a graphics card at home, and Lemmy elsewhere.

It asks a pictrs-safety server or a relay of ours for uploads, judges them like ``serve`` does (``uploads/judging.py``),
sends the results, and records them. Nothing connects to this machine. Media are only in memory, here as everywhere.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemmy_safety.outgoing import ServerTrouble
from lemmy_safety.relay.worker.answering import WORTH_TELLING_S, Answering
from lemmy_safety.relay.worker.backoff import Backoff
from lemmy_safety.relay.worker.client import WorkerClient
from lemmy_safety.relay.worker.mirror import UncheckedMirror
from lemmy_safety.relay.worker.server_address import is_open_to_listeners
from lemmy_safety.relay.worker.slots import Slots
from lemmy_safety.uploads.bodies import BodyLimits, BodyReader
from lemmy_safety.uploads.judging import UploadJudging
from lemmy_safety.uploads.probe import LedgerProbe
from lemmy_safety.uploads.recorder import UploadRecorder
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.scan.inspection import Inspector
    from lemmy_safety.uploads.metrics import Meters

log = logging.getLogger(__name__)

#: Seconds that a relay may keep a request open. Proxies on the way close silent connections after 30 s and more.
_WAIT_S = 20.0

#: Seconds between two requests to a server that cannot wait. pictrs-safety considers a worker gone after 5 s of
#: silence, and checks for an answer once a second itself.
_PAUSE_S = 0.3

#: Seconds between two checks of what a relay accepted unchecked.
_MIRROR_EVERY_S = 30.0

#: After a stop: for media that are being judged and their answers, then for records and models. With what the rest of the
#: program needs, under 5 s.
_ANSWER_GRACE_S = 2.5
_CLOSE_GRACE_S = 1.2

#: Requests open at the same time; each brings one medium.
_MOST_POLLERS = 8

#: Media held for each one in the largest batch: one being judged, one decoded, and a spare of each.
_HELD_PER_BATCH = 4
_LEAST_HELD = 16

#: From a relay, hold no more than can be judged within this many seconds: one batch and the next. The others had better
#: stay there: the relay hands out first what can still be answered in time, to the next free worker.
_AHEAD_S = 2.0

#: This many until it is known how long they take.
_HELD_AT_FIRST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """``accept_unchecked`` is sent to a pictrs-safety server when no verdict was possible; a relay decides by itself.

    ``memory_bytes`` bounds the undecoded media. In a ``dry_run`` flagged media are recorded and accepted.
    """

    url: str
    key: str
    max_bytes: int
    memory_bytes: int
    decode_workers: int
    accept_unchecked: bool
    dry_run: bool = False


def work(
    *,
    inspector: Inspector,
    ledger: Ledger,
    options: WorkerOptions,
    meters: Meters,
    stop: threading.Event,
    working: Callable[[str], None] | None = None,
) -> None:
    """Judge until ``stop`` is set; ``working`` is called with the server's address when the models are loaded.

    :raises SettingsError: the server's address or key is wrong.
    :raises LedgerReplaced: the database was deleted or replaced.
    :raises LemmySafetyError: a detector cannot be opened.
    """
    asyncio.run(_Worker(inspector, ledger, options, meters).run(stop, working))


class _Worker:
    """What ``work`` runs, in one event loop."""

    def __init__(self, inspector: Inspector, ledger: Ledger, options: WorkerOptions, meters: Meters) -> None:
        self._inspector = inspector
        self._ledger = ledger
        self._options = options
        self._meters = meters
        self._pollers = min(_MOST_POLLERS, max(2, inspector.batch_size))
        self._held = max(_LEAST_HELD, _HELD_PER_BATCH * inspector.batch_size)
        self._handling: set[asyncio.Task[None]] = set()

    async def run(self, stop: threading.Event, working: Callable[[str], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._met = asyncio.Event()
        self._recorder = UploadRecorder(self._ledger.uploads, self._meters)
        self._judging = UploadJudging(
            inspector=self._inspector,
            ledger=self._ledger,
            queue=self._held + self._pollers,
            decode_workers=self._options.decode_workers,
            meters=self._meters,
            on_learned=lambda _job, _learned: None,
        )
        limits = BodyLimits(
            max_bytes=self._options.max_bytes, memory_bytes=self._options.memory_bytes, timeout_s=WORTH_TELLING_S
        )
        client = WorkerClient(
            url=self._options.url,
            key=self._options.key,
            worker=secrets.token_hex(8),
            rules=self._inspector.ruleset.rules_version,
            reader=BodyReader(limits, reclaim=self._judging.forget_late),
        )
        self._slots = Slots(lambda: self._places(client))
        self._backoff = Backoff(client.url)
        if is_open_to_listeners(client.url):
            log.warning("media and the key travel to %s in clear; use https or a tunnel", client.url)
        watch = WorkerThreads("watch-stop")
        stopped = watch.run(stop.wait)
        watch.close()
        async with client:
            try:
                await self._work(client, stopped, working)
            finally:
                await self._end()

    async def _work(
        self, client: WorkerClient, stopped: asyncio.Future[bool], working: Callable[[str], None] | None
    ) -> None:
        loading = asyncio.create_task(self._judging.load())
        either: set[asyncio.Future[Any]] = {loading, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            return  # the loading thread is left behind
        loading.result()
        if working is not None:
            working(client.url)
        answering = Answering(
            client=client,
            judging=self._judging,
            recorder=self._recorder,
            backoff=self._backoff,
            accept_unchecked=self._options.accept_unchecked,
            dry_run=self._options.dry_run,
        )
        tasks = [asyncio.create_task(self._poll(client, number, answering)) for number in range(self._pollers)]
        tasks.append(asyncio.create_task(self._mirror(client)))
        probe = LedgerProbe(self._ledger)
        tasks.append(asyncio.create_task(probe.watch()))
        ends: set[asyncio.Future[Any]] = {stopped, *tasks}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # they end only with an error
        finally:
            for task in tasks:
                task.cancel()
            probe.close()
            if self._handling:
                await asyncio.wait(self._handling, timeout=_ANSWER_GRACE_S)

    async def _end(self) -> None:
        for task in list(self._handling):
            task.cancel()
        await self._recorder.flush(within_s=_CLOSE_GRACE_S / 2)
        self._recorder.close()
        await self._judging.close(within_s=_CLOSE_GRACE_S / 2)

    def _places(self, client: WorkerClient) -> int:
        """The most media held at a time. pictrs-safety queues ten and accepts the rest: from it we take all we can."""
        if not client.is_relay:
            return self._held
        takes_s = self._judging.per_medium_s
        if takes_s is None:
            return _HELD_AT_FIRST
        return max(2, min(self._held, int(_AHEAD_S / max(takes_s, 1e-9))))

    async def _poll(self, client: WorkerClient, number: int, answering: Answering) -> None:
        """One request after the other; only the first poller asks a server that cannot wait and has nothing."""
        while True:
            await self._slots.enter()
            popped = None
            asked_at = self._backoff.now()
            try:
                # The first request is answered at once, and shows which server it is.
                popped = await client.pop(wait_s=_WAIT_S if client.is_relay else 0.0)
            except ServerTrouble as error:
                await self._backoff.after(error)
                continue
            finally:
                if popped is None:
                    self._slots.leave()
            self._backoff.answered(asked_at=asked_at)
            self._met.set()
            if popped is not None:
                self._more.set()
                task = asyncio.create_task(answering.handle(popped))
                self._handling.add(task)
                task.add_done_callback(self._handled)
            elif not client.is_relay:
                await self._pause(leads=number == 0)
            elif self._backoff.now() - asked_at < _PAUSE_S:  # it should hold the request, not answer at once
                await asyncio.sleep(_PAUSE_S)

    async def _pause(self, *, leads: bool) -> None:
        self._more.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S if leads else None):
                await self._more.wait()

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        self._slots.leave()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("fault while answering about an upload", exc_info=error)

    async def _mirror(self, client: WorkerClient) -> None:
        """Mirror what the relay accepted unchecked, once the server is known to be a relay."""
        mirror = UncheckedMirror(client, self._ledger)
        try:
            await self._met.wait()
            while True:
                if client.is_relay:
                    await mirror.look()
                await asyncio.sleep(_MIRROR_EVERY_S)
        finally:
            mirror.close()
