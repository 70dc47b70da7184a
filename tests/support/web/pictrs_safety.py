"""The other side's software in our own words: pictrs-safety's server of uploads, and its worker."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from support.web.service import PATIENCE_S, until

#: What workers show to all servers of uploads in tests.
KEY = "key-of-the-workers-0123456789"


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
        # Before those that were not accepted yet are refused: no one is answered after that.
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
            disable_nagle_algorithm = True  # with it, a body waits 40 ms for the client to acknowledge its headers

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                outer.get(self)

            def do_POST(self) -> None:
                outer.post(self)

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

    def get(self, handler: BaseHTTPRequestHandler) -> None:
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

    def post(self, handler: BaseHTTPRequestHandler) -> None:
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
