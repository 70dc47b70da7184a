"""A relay that was taken over: a real HTTP server on loopback that sends what it likes, and counts what was read of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from lemmy_safety.relay.protocol import RELAY_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HEAD = f"HTTP/1.1 200 OK\r\n{RELAY_HEADER}: 1\r\n".encode()

#: What ends a server's part of an "endless" answer, so that a test of a client that reads all of it ends too.
ENOUGH = 64 * 1024 * 1024


class HostileRelay:
    """``answer`` makes the raw bytes of an answer from method and path; ``sent`` are bytes that went out, ``seen`` requests."""

    def __init__(self, answer: Callable[[str, str], Iterable[bytes]]) -> None:
        self.answer = answer
        self.sent = 0
        self.seen: list[tuple[str, str]] = []
        self.heads: list[dict[str, str]] = []
        self.over = threading.Event()
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[HostileRelay]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # with it, a body waits 40 ms for the client to acknowledge its headers

            def log_message(self, *_: object) -> None: ...

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                outer.seen.append((self.command, self.path))
                outer.heads.append(dict(self.headers))
                with suppress(OSError):  # the client hangs up when it has enough
                    for piece in outer.answer(self.command, self.path):
                        self.wfile.write(piece)
                        outer.sent += len(piece)
                        if outer.over.is_set() or outer.sent > ENOUGH:
                            break
                self.close_connection = True

            def do_GET(self) -> None:
                self.handle_any()

            def do_POST(self) -> None:
                self.handle_any()

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self.over.set()
            server.shutdown()
            server.server_close()


def plain(body: bytes, *headers: str, status: str = "200 OK") -> list[bytes]:
    """An answer of a relay with a length. It says that the connection ends, else the next question could meet that end."""
    lines = [f"HTTP/1.1 {status}", f"{RELAY_HEADER}: 1", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ["\r\n".join(lines).encode() + b"\r\n\r\n" + body]


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """An answer of a relay without a length."""
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
