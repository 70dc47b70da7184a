"""A small model hub on this machine: answers the requests of huggingface_hub for the files it is given."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ModelHub(ThreadingHTTPServer):
    """Serves ``files`` (path on the hub, such as ``owner/name/resolve/main/file``, to bytes); other paths are 404.

    ``silent`` accepts connections and never answers, like a network that swallows packets. ``requests`` notes method
    and path of everything asked.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], *, silent: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = files
        self.silent = silent
        self.requests: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # with it, a body waits 40 ms for the client to acknowledge its headers
    server: ModelHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        content = self._answer()
        if content is not None:
            self.wfile.write(content)

    def _answer(self) -> bytes | None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.silent:
            self.server.closing.wait(120)
            self.close_connection = True
            return None
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean; ``requests`` has it all."""


@contextlib.contextmanager
def running_hub(files: dict[str, bytes], *, silent: bool = False) -> Iterator[ModelHub]:
    """A hub that serves for the length of a ``with`` block."""
    hub = ModelHub(files, silent=silent)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
        thread.join(10)
