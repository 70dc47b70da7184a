"""A client that asks as pict-rs does (``external_validation``), on a bare socket, and that can misbehave on purpose.

HTTP/1.1, ``Transfer-Encoding: chunked`` without a Content-Length, the media type as Content-Type, and a User-Agent; no
authentication. 0.4 and 0.5 send the file and nothing else; 0.6 sends it in a form, with its storage key.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

USER_AGENT = "pict-rs v0.5.0-main"

#: Longer than anything a test waits for on purpose.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def head(path: str = "/validate", media_type: str = "image/png", method: str = "POST", **headers: str) -> bytes:
    """The request line and headers as pict-rs sends them; more by keyword, with _ for -."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"content-type: {media_type}",
        f"user-agent: {USER_AGENT}",
        "accept: */*",
        "host: 127.0.0.1",
        "transfer-encoding: chunked",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunks(data: bytes, size: int = 65_536) -> bytes:
    """The body as chunks, without the last, empty one."""
    parts = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


END = b"0\r\n\r\n"

#: As pict-rs 0.6.0-rc.6 draws one for each request.
BOUNDARY = "765725a7e25a0655-ec2678100a30bcbd-8fbac1a777ae9f55-c971bccdac4b71d3"
KEY = "01/a2/29/9d/ef/e6/73/81/94/0f/016a16c0b0c8.png"


def form(data: bytes, disposition: str | None = None, boundary: str = BOUNDARY, *, more: str = "") -> bytes:
    """The body of pict-rs 0.6: one part, without a type, named by its key. ``more`` are further lines of its head."""
    named = disposition or f"form-data; name*=utf-8''{quote(KEY, safe='')}"
    opening = f"--{boundary}\r\nContent-Disposition: {named}\r\n{more}\r\n"
    return opening.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def form_head(path: str = "/validate", *types: str, **headers: str) -> bytes:
    """The head of pict-rs 0.6, with its two Content-Types, or with those given."""
    first, *others = types or ("image/png", f"multipart/form-data; boundary={BOUNDARY}")
    lines = "".join(f"content-type: {other}\r\n" for other in others)
    return head(path, first, **headers)[:-2] + lines.encode() + b"\r\n"


def ask_with_form(port: int, data: bytes, path: str = "/validate", **headers: str) -> Answer:
    """One upload, as pict-rs 0.6 asks about it."""
    return exchange(port, form_head(path, **headers) + chunks(form(data)) + END)


def exchange(port: int, request: bytes) -> Answer:
    """Send these bytes on a connection of their own."""
    with Connection(port) as connection:
        connection.send(request)
        return connection.answer()


class Connection:
    """One connection, used request by request or byte by byte."""

    def __init__(self, port: int, *, caller: str = "") -> None:
        """``caller`` is the address of this machine to ask from; the system chooses when it is empty."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(caller, 0))
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, bodiless: bool = False) -> Answer:
        """The next answer; ConnectionError when the server closed instead. ``bodiless``: to a HEAD."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        top, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *rest = top.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        length = 0 if bodiless else int(headers.get("content-length", "0"))
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(int(first.split()[1]), headers, body)

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("closed without an answer")
        self._received += data

    def is_silent(self, *, within_s: float) -> bool:
        """Whether the server neither answers nor closes for so long."""
        self.socket.settimeout(within_s)
        try:
            self._receive()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)
        return False

    def is_closed(self) -> bool:
        """Wait for the server to close; False when it sends something instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def ask(port: int, data: bytes, path: str = "/validate", media_type: str = "image/png", **headers: str) -> Answer:
    """One upload, as pict-rs asks about it."""
    with Connection(port) as connection:
        connection.send(head(path, media_type, **headers) + chunks(data) + END)
        return connection.answer()


def get(port: int, path: str, **headers: str) -> Answer:
    lines = [f"GET {path} HTTP/1.1", "host: 127.0.0.1", *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items())]
    with Connection(port) as connection:
        connection.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        return connection.answer()
