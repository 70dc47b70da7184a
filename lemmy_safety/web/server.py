"""The whole service: listens, accepts uploads while the models load, and ends within five seconds of a stop.

uvicorn serves, in this process and on asyncio's own loop, so that it is the same on Windows. Its signal handling and
its logs are switched off: the command line handles signals, and a request log would contain secrets from paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import uvicorn

from lemmy_safety.access.addresses import is_loopback
from lemmy_safety.pictrs.hook_url import pictrs_setting
from lemmy_safety.uploads.bodies import BodyLimits, BodyReader
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.uploads.probe import LedgerProbe
from lemmy_safety.uploads.records import UploadEngine
from lemmy_safety.web.app import HookParts, build_app
from lemmy_safety.web.edge import MAX_HEAD_BYTES, Edge
from lemmy_safety.web.garbled import GarbledRequests
from lemmy_safety.web.h11_guard import guarded, hung_up
from lemmy_safety.web.incoming import IncomingBodies
from lemmy_safety.web.listening import hosts_in, listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

    from fastapi import APIRouter

    from lemmy_safety.access.rules import Access
    from lemmy_safety.ledger import Ledger

    HungUp = Callable[[MutableMapping[str, Any]], asyncio.Event]

log = logging.getLogger(__name__)

E = TypeVar("E", bound=UploadEngine)

#: After a stop, one after the other: seconds for pending verdicts, for answers without one, and for the records.
#: Together under the 4.3 s after which the command line ends the process itself.
_VERDICT_GRACE_S = 1.2
_ANSWER_GRACE_S = 2
_CLOSE_GRACE_S = 0.7

#: Seconds between two requests on one connection; nginx keeps its own for 60 s and handles their end.
_KEEP_ALIVE_S = 15

#: Connections that may be open per upload slot: waiting for their head or kept alive.
_CONNECTIONS_PER_UPLOAD = 2
_SPARE_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """``budget_s`` is the time for an answer, ``max_uploads`` how many are received and decided on at a time.

    ``host`` may name several addresses, separated by commas. ``head_timeout_s`` is for a request's line and headers: pict-rs and proxies send them at once.
    """

    host: str
    port: int
    budget_s: float
    max_uploads: int
    body: BodyLimits
    head_timeout_s: float = 10.0


def serve(
    *,
    make_engine: Callable[[Meters], E],
    ledger: Ledger,
    access: Access,
    options: ServerOptions,
    stop: threading.Event,
    listening: Callable[[str, int], None] | None = None,
    make_routers: Callable[[E, HungUp], Sequence[APIRouter]] = lambda _engine, _hung_up: (),
) -> None:
    """Serve until ``stop`` is set. ``make_engine`` is called inside the event loop, ``listening`` with the first host and port.

    ``make_routers`` adds routes; they get the engine, and a function that shows whether a request's peer has hung up.

    :raises SettingsError: it cannot listen on the address, or not without a (longer) secret.
    :raises LedgerReplaced: the database was deleted or replaced; a restart creates a new one, or uses the restored one.
    :raises LemmySafetyError: a detector cannot be opened.
    """
    hosts = hosts_in(options.host)
    for host in hosts:
        access.check_bind(host)
    if not access.needs_secret and not all(map(is_loopback, hosts)):
        log.warning("no secret is set: anyone in HOOK_NETWORKS is answered")
    with listeners(hosts, options.port) as sockets:
        asyncio.run(
            _Service(make_engine, ledger, access, options, make_routers).run(sockets, stop=stop, listening=listening)
        )


class _Service(Generic[E]):
    """What ``serve`` runs, in one event loop."""

    def __init__(
        self,
        make_engine: Callable[[Meters], E],
        ledger: Ledger,
        access: Access,
        options: ServerOptions,
        make_routers: Callable[[E, HungUp], Sequence[APIRouter]],
    ) -> None:
        self._make_engine = make_engine
        self._make_routers = make_routers
        self._ledger = ledger
        self._access = access
        self._options = options

    async def run(
        self, sockets: list[socket.socket], *, stop: threading.Event, listening: Callable[[str, int], None] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        meters = Meters()
        engine = self._make_engine(meters)
        bodies = IncomingBodies()
        reader = BodyReader(self._options.body, reclaim=engine.forget_late, make_way=bodies.make_way)
        probe = LedgerProbe(self._ledger)
        garbled = GarbledRequests(self._ledger.garbled, meters)
        parts = HookParts(
            engine=engine,
            reader=reader,
            probe=probe,
            garbled=garbled,
            meters=meters,
            access=self._access,
            budget_s=self._options.budget_s,
        )
        app = build_app(parts, routers=self._make_routers(engine, hung_up))
        edge = Edge(app, max_uploads=self._options.max_uploads, bodies=bodies, meters=meters)
        server = _Server(self._configuration(edge, meters))
        serving = asyncio.create_task(server.serve(sockets=sockets))
        stopped = _set_by(stop, loop)
        await asyncio.wait({serving, server.up}, return_when=asyncio.FIRST_COMPLETED)
        for host, port in (made.getsockname()[:2] for made in sockets):
            log.info("listening on %s port %d", host, port)
            log.info("%s", pictrs_setting(host, port, secret=self._access.needs_secret))
        if listening is not None:
            listening(*sockets[0].getsockname()[:2])
        loading = asyncio.create_task(engine.load())
        watching = asyncio.create_task(probe.watch())
        try:
            await _first_end(loading, stopped, serving, watching)
        finally:
            edge.refuse_uploads()
            await edge.until_answered(within_s=_VERDICT_GRACE_S)
            engine.end_waits()
            reader.stop()
            edge.refuse_all()
            server.should_exit = True
            await asyncio.wait({serving})
            await engine.close(within_s=_CLOSE_GRACE_S)
            watching.cancel()
            probe.close()
            garbled.close()
            loading.cancel()
        serving.result()

    def _configuration(self, app: Edge, meters: Meters) -> uvicorn.Config:
        # Its warnings are about strangers' requests, which the metrics count; its errors are bugs of ours.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        options = self._options
        return uvicorn.Config(
            app,
            http=guarded(
                head_timeout=options.head_timeout_s,
                most_connections=_CONNECTIONS_PER_UPLOAD * options.max_uploads + _SPARE_CONNECTIONS,
                rules=self._access,
                counts=meters,
            ),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # access/rules.py decides which proxies to trust
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_ANSWER_GRACE_S,
        )


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which also reports when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.get_running_loop().create_future()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set_result(None)


def _set_by(stop: threading.Event, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """A future that is done once the event is set."""
    stopped: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not stopped.done():
            stopped.set_result(None)

    def watch() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=watch, name="watch-stop", daemon=True).start()
    return stopped


async def _first_end(
    loading: asyncio.Task[None],
    stopped: asyncio.Future[None],
    serving: asyncio.Task[None],
    watching: asyncio.Task[None],
) -> None:
    """Wait for the stop, or for an error that makes serving pointless; raises that of loading or the ledger."""
    ends = {stopped, serving, watching}
    await asyncio.wait({loading, *ends}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if watching.done():
        watching.result()
