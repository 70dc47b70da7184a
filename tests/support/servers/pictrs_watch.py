"""A port before a real pict-rs that passes every request on, and notes it; a test can act in the middle of one."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Headers that belong to one connection, and those that http.server writes itself.
_NOT_PASSED_ON = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "date", "server", "content-length", "host"}
)

_PATIENCE_S = 180.0


class PictrsWatch:
    """What is asked of a pict-rs, as (method, path), from any number of connections."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.port = 0
        self.requests: list[tuple[str, str]] = []
        #: Called with method and path before a request is passed on, and when pict-rs has answered it but the answer is
        #: not passed on yet. If it returns True, the connection is closed without an answer.
        self.before: Callable[[str, str], bool] = _never
        self.after: Callable[[str, str], bool] = _never
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> Counter[str]:
        """Requests by method and path; one public path is like another."""
        with self.lock:
            return Counter(
                f"{method} {path if path.startswith('/internal/') else '/image'}" for method, path in self.requests
            )

    def forget(self) -> None:
        """Begin to count again."""
        with self.lock:
            self.requests.clear()


def _never(_method: str, _path: str) -> bool:
    return False


@contextmanager
def watch(behind: int) -> Iterator[PictrsWatch]:
    """Watch what is asked of the pict-rs on the port ``behind``; it may be away at times."""
    seen = PictrsWatch(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path = self.path.partition("?")[0]
            with seen.lock:
                seen.requests.append((self.command, path))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
            try:
                if seen.before(self.command, path):
                    self.close_connection = True
                    return
                answer = client.request(self.command, self.path, headers=headers, content=body)
            except httpx.TransportError:
                self.close_connection = True
                return
            if seen.after(self.command, path):
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            length = answer.headers.get("content-length", "0") if self.command == "HEAD" else str(len(answer.content))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with (
        httpx.Client(base_url=f"http://127.0.0.1:{behind}", timeout=_PATIENCE_S, trust_env=False) as client,
        _Server(("127.0.0.1", 0), Handler) as server,
    ):
        seen.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in the middle is what tests do here, and no fault."""
