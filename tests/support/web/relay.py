"""Relays and workers for tests, on loopback ports, with real ledgers; and the other side's software in our own words."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from support.web.hook import MAX_BYTES, CountingDecoder
from support.web.pictrs_client import Answer, ask, get

from lemmy_safety.access.rules import Access
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.policy import build_policy
from lemmy_safety.relay.server.engine import RelayOptions
from lemmy_safety.relay.server.service import Relay
from lemmy_safety.relay.worker.service import WorkerOptions, work
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.uploads.bodies import BodyLimits
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.web.server import ServerOptions, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lemmy_safety.detectors.base import Detector
    from lemmy_safety.ledger import Ledger, UploadRow

KEY = "key-of-the-workers-0123456789"
PATIENCE_S = 30.0


def until(condition, what: str = "what was waited for") -> None:
    """Look again and again until it is so; what happens in another thread or process gives no other sign."""
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"{what} did not happen")


@dataclass
class Running:
    """A service in a thread of its own. ``ended_with`` is what it ended with."""

    ledger: Ledger
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    ended_with: list[BaseException] = field(default_factory=list)
    port: int = 0

    def end(self) -> None:
        self.stop.set()
        assert self.thread is not None
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "it does not stop"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, data: bytes, path: str = "/validate", **how: str) -> Answer:
        return ask(self.port, data, path, **how)

    def ask_later(self, data: bytes, **how: str) -> Asked:
        return Asked(self, data, how)

    def recorded(self, data: bytes, *, verdict: bool = True) -> UploadRow:
        """What is on record of these bytes, as soon as it is: an answer with a verdict does not wait for the disk."""
        sha256 = hashlib.sha256(data).hexdigest()

        def there() -> bool:
            row = self.ledger.uploads.get(sha256)
            return row is not None and (
                not verdict or (row.assessment is not None and row.assessment.verdict is not None)
            )

        until(there, "the record")
        row = self.ledger.uploads.get(sha256)
        assert row is not None
        return row

    def metric(self, line: str) -> float:
        for shown in get(self.port, "/metrics").body.decode().splitlines():
            name, _, value = shown.rpartition(" ")
            if name == f"lemmy_safety_hook_{line}":
                return float(value)
        raise AssertionError(f"no metric {line}")


class Asked:
    """An upload that is asked about in a thread, as pict-rs waits for its answer."""

    def __init__(self, service: Running, data: bytes, how: dict[str, str]) -> None:
        self._got: list[Answer] = []
        self._thread = threading.Thread(target=lambda: self._got.append(service.ask(data, **how)), daemon=True)
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join(PATIENCE_S)
        assert self._got, "no answer"
        return self._got[0]


def _run(running: Running, name: str, target) -> threading.Event:
    begun = threading.Event()

    def run() -> None:
        try:
            target(begun)
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            running.ended_with.append(error)
            begun.set()

    running.thread = threading.Thread(target=run, name=name, daemon=True)
    running.thread.start()
    return begun


@contextmanager
def running_relay(
    folder: Path,
    *,
    accept_unchecked: bool = True,
    dry_run: bool = False,
    budget_s: float = 20.0,
    queue: int = 64,
    port: int = 0,
    name: str = "relay.db",
    access: Access | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Running]:
    with open_ledger(sqlite_url(folder / name)) as ledger:
        running = Running(ledger)

        def serve_it(begun: threading.Event) -> None:
            def note(_host: str, port: int) -> None:
                running.port = port
                begun.set()

            options = RelayOptions(accept_unchecked=accept_unchecked, queue=queue, budget_s=budget_s, dry_run=dry_run)
            relay = Relay(ledger=ledger, key=KEY, options=options)
            serve(
                make_engine=relay.engine,
                make_routers=relay.routes,
                ledger=ledger,
                access=access or Access(networks=["127.0.0.0/8"]),
                options=ServerOptions(
                    host="127.0.0.1",
                    port=port,
                    budget_s=budget_s,
                    max_uploads=64,
                    body=BodyLimits(max_bytes=max_bytes, memory_bytes=20_000_000, timeout_s=20.0),
                ),
                stop=running.stop,
                listening=note,
            )

        assert _run(running, "relay", serve_it).wait(PATIENCE_S)
        assert not running.ended_with, running.ended_with
        try:
            yield running
        finally:
            running.end()


@contextmanager
def running_worker(
    folder: Path,
    url: str,
    *,
    detectors: Sequence[Detector] = (),
    key: str = KEY,
    accept_unchecked: bool = True,
    dry_run: bool = False,
    name: str = "worker.db",
    wait_until_working: bool = True,
) -> Iterator[Running]:
    """A worker with the hashes detector, and others if given."""
    with open_ledger(sqlite_url(folder / name)) as ledger, CountingDecoder() as decoder:
        running = Running(ledger)
        inspector = Inspector(
            detectors=[HashesDetector(), *detectors],
            policy=build_policy(nudenet_flags=False),
            decoder=decoder,
            frame_bytes=50_000_000,
        )

        def work_it(begun: threading.Event) -> None:
            work(
                inspector=inspector,
                ledger=ledger,
                options=WorkerOptions(
                    url=url,
                    key=key,
                    max_bytes=MAX_BYTES,
                    memory_bytes=20_000_000,
                    decode_workers=2,
                    accept_unchecked=accept_unchecked,
                    dry_run=dry_run,
                ),
                meters=Meters(),
                stop=running.stop,
                working=lambda _url: begun.set(),
            )

        begun = _run(running, "worker", work_it)
        if wait_until_working:
            assert begun.wait(PATIENCE_S)
        try:
            yield running
        finally:
            running.end()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(port: int, method: str, path: str, *, key: str | None = KEY, body: Any = None, **headers: str) -> Reply:
    """One request of a worker, by hand."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["apikey"] = key
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    if data is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body=data, headers=sent)
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class AncestorWorker:
    """What the ancestor's worker does: asks, takes the name from behind the first "=", and says yes or no."""

    def __init__(self, port: int, key: str = KEY) -> None:
        self._port = port
        self._key = key

    def pop(self) -> tuple[str, bytes] | None:
        reply = call(self._port, "GET", "/api/v1/pop", key=self._key)
        assert reply.status in (200, 204), reply
        if reply.status == 204:
            return None
        return reply.headers["content-disposition"].split("=", 1)[1], reply.body

    def pop_soon(self) -> tuple[str, bytes]:
        popped: list[tuple[str, bytes]] = []

        def one() -> bool:
            got = self.pop()
            if got is not None:
                popped.append(got)
            return got is not None

        until(one, "an upload to judge")
        return popped[0]

    def tell(self, name: str, *, csam: bool) -> Reply:
        body = {"image": name, "is_csam": csam, "is_nsfw": csam}
        return call(self._port, "POST", "/api/v1/pop", key=self._key, body=body)


class _MortalServer(ThreadingHTTPServer):
    """When it goes, its connections go, as those of a process that ends do; threads would go on answering."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        self.shutdown()
        # Before those that were not accepted yet are refused: nobody is answered after that.
        for connection in list(self._connections):
            with suppress(OSError):  # it has gone by itself
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class PictrsSafetyServer:
    """A server of uploads as pictrs-safety is: one answer to a question for work, at once, and results by file name."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, bytes]] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.gone: set[str] = set()
        self.override: list[tuple[int, dict[str, str], bytes]] = []
        self._lock = threading.Lock()
        self._server: _MortalServer | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                outer._get(self)

            def do_POST(self) -> None:
                outer._post(self)

        self._server = _MortalServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str, data: bytes) -> None:
        with self._lock:
            self.waiting.append((name, data))

    def result(self, name: str) -> dict[str, Any]:
        until(lambda: name in self.results, f"a result for {name}")
        return self.results[name]

    def _send(self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(body)

    def _json(self, handler: BaseHTTPRequestHandler, status: int, fields: dict[str, Any]) -> None:
        self._send(handler, status, {"Content-Type": "application/json"}, json.dumps(fields).encode())

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked += 1
            if self.override:
                self._send(handler, *self.override.pop(0))
                return
            if handler.headers.get("apikey") != KEY:
                self._json(handler, 403, {"message": "Access Denied"})
                return
            if handler.path.partition("?")[0] != "/api/v1/pop":
                self._json(handler, 404, {"message": "not found"})
                return
            if not self.waiting:
                self._send(handler, 204, {}, b"")
                return
            name, data = self.waiting.pop(0)
        headers = {"Content-Disposition": f"attachment; filename={name}", "Content-Type": "image/png"}
        self._send(handler, 200, headers, data)

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        fields = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if handler.headers.get("apikey") != KEY:
            self._json(handler, 403, {"message": "Access Denied"})
            return
        assert isinstance(fields["is_csam"], bool)
        assert isinstance(fields["is_nsfw"], bool)
        with self._lock:
            self.results[fields["image"]] = fields
        if fields["image"] in self.gone:
            self._json(handler, 404, {"message": "No image found waiting for this result."})
        else:
            self._json(handler, 201, {"message": "OK"})
