"""An S3 server that answers what a test tells it to, for faults that a real server cannot be made to show."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EMPTY_LISTING = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>pictrs</Name><KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)


class Request(BaseHTTPRequestHandler):
    """One request, with ways to answer it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # with it, a body waits 40 ms for the client to acknowledge its headers
    server: ScriptedS3

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """A whole answer; with HEAD, its headers only."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, more: str = "") -> None:
        """S3's way to say no: the code in XML, or nothing but the status where a HEAD asked."""
        self.send(
            status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message>{more}</Error>'.encode()
        )

    def send_part(self, body: bytes, promised: int) -> None:
        """Promise more bytes than come, then break off."""
        self.send(200, body, {"Content-Length": str(promised)})
        self.close_connection = True

    def answer(self) -> None:
        self.server.seen.append((self.command, self.path))
        self.server.script(self)

    do_GET = do_HEAD = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *args: object) -> None:
        pass


class ScriptedS3(ThreadingHTTPServer):
    """``script`` answers each request; ``seen`` lists them as (method, path?query)."""

    daemon_threads = True

    def __init__(self, script: Callable[[Request], None]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.script = script
        self.seen: list[tuple[str, str]] = []
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def scripted_s3(script: Callable[[Request], None]) -> Iterator[ScriptedS3]:
    with ScriptedS3(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
