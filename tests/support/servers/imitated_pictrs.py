"""An HTTP server that answers as a test says: as pict-rs 0.4, which cannot be built here, and with faults.

What real servers answer is tested with real ones (``pictrs_process.py``).
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "key-of-the-admin-0123456789"


class Imitation:
    """What it answers, and what it was asked. ``answer`` may be replaced at any time."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.keys: list[str | None] = []
        self.ended = threading.Event()
        self.answer: Callable[[Request], None] = lambda request: request.send(404)


class Request(BaseHTTPRequestHandler):
    """One request, with its path and parameters."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.route = parts.path
        self.question = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.length = int(self.headers.get("Content-Length") or 0)
        self.data = self.rfile.read(self.length)
        imitation = self.server.imitation
        imitation.asked.append((self.command, self.route, self.question))
        imitation.keys.append(self.headers.get("X-Api-Token"))
        imitation.answer(self)

    do_GET = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def send(self, status: int, body: object = None, **headers: str) -> None:
        """JSON of anything but bytes; nothing of None."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cut(self) -> None:
        """End the connection in the middle of an answer."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        self.close_connection = True

    def trickle(self, data: bytes) -> None:
        """Send a byte every 50 ms until the test ends, so that no single wait is long."""
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.server.imitation.ended.wait(0.05):
                break
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def imitated_pictrs() -> Iterator[Imitation]:
    """Start it; it answers 404 with no body until told otherwise."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients of these tests hang up early."""

    with Server(("127.0.0.1", 0), Request) as server:
        server.imitation = imitation = Imitation(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield imitation
        finally:
            imitation.ended.set()
            server.shutdown()
            thread.join()


def version_04(pictures: dict[str, tuple[list[str], str]]) -> Callable[[Request], None]:
    """pict-rs 0.4, from its source: no list, no codes, statuses of its own. ``pictures``: aliases and key by alias."""

    def answer(request: Request) -> None:
        found: Any = pictures.get(request.question.get("alias", ""))
        match request.command, request.route:
            case _, route if route.startswith("/internal/") and request.headers.get("X-Api-Token") != KEY:
                request.send(401, {"msg": "Invalid API Key"})
            case "GET", "/internal/aliases":
                request.send(200, {"msg": "ok", "aliases": found[0] if found else []})
            case "GET", "/internal/identifier" if found:
                request.send(200, {"msg": "ok", "identifier": found[1]})
            case "GET", "/internal/identifier":
                request.send(404, {"msg": "No identifier associated with provided alias"})
            case "POST", "/internal/purge" if found:
                request.send(200, {"msg": "ok", "aliases": found[0]})
            case "POST", "/internal/purge":
                request.send(400, {"msg": "No images associated with provided alias"})
            case _:
                request.send(404)

    return answer
