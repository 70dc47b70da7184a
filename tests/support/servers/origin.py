"""A second web server, from which pict-rs fetches pictures to show them (``/image/original?proxy=URL``)."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Origin:
    """Files by their name, and how often each was fetched as a whole."""

    def __init__(self) -> None:
        self.port = 0
        self.files: dict[str, tuple[bytes, str]] = {}
        self.fetched: dict[str, int] = {}

    def offer(self, name: str, data: bytes, media_type: str) -> str:
        """Serve a file from now on; returns its URL."""
        self.files[name] = (data, media_type)
        self.fetched[name] = 0
        return f"http://127.0.0.1:{self.port}/{name}"


@contextmanager
def origin() -> Iterator[Origin]:
    """A server on a loopback address, which pict-rs asks only if ``client.allow_local_connections`` is set.

    It knows ETags: pict-rs 0.6 fetches a picture at every view from a server that does not.
    """
    offered = Origin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            if name not in offered.files:
                self.send_error(404)
                return
            data, media_type = offered.files[name]
            tag = f'"{hashlib.sha256(data).hexdigest()}"'
            same = self.headers.get("If-None-Match") == tag
            self.send_response(304 if same else 200)
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", "max-age=3600")
            if not same:
                offered.fetched[name] += 1
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if not same:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        offered.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield offered
        finally:
            server.shutdown()
            thread.join()
