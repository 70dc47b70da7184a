"""The first check of every request: how many at a time, and how large a head. Also sends early answers.

A plain ASGI wrapper around the application. It reads no secrets and makes no decision about uploads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.web.h11_guard import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.web.incoming import IncomingBodies, IncomingBody

log = logging.getLogger(__name__)

#: The Retry-After, in seconds, when there is no room for a request.
RETRY_AFTER_S = 5

#: Request line and headers together; pict-rs sends about 200 bytes, a proxy adds a few hundred.
MAX_HEAD_BYTES = 16 * 1024

#: If a caller is answered before its body was read, this much of the body is read and discarded, for this long.
#: Otherwise closing the connection resets it, and the caller may never see the answer.
_DRAIN_BYTES = 256 * 1024
_DRAIN_S = 1.0

#: The routes that take uploads; all others are quick.
_UPLOADS = ("/validate", "/api/v1/scan/")

#: Not an error of the request: the answer to a refused upload.
_REFUSED = 406
_TIMEOUT = 408
_FIRST_ERROR = 400


class Edge:
    """Wraps the application of one service."""

    def __init__(self, app: ASGIApp, *, max_uploads: int, bodies: IncomingBodies, meters: Meters) -> None:
        """``max_uploads`` are received and decided on at a time; other requests are not limited here. Beyond that a
        stalled body of ``bodies`` gives way; if there is none, a new upload gets 503.
        """
        self._app = app
        self._max_uploads = max_uploads
        self._bodies = bodies
        self._meters = meters
        self._open = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._refusing_uploads = False
        self._refusing_all = False

    def refuse_uploads(self) -> None:
        """Accept no more uploads. Those already accepted go on, and so do other requests, like workers' answers."""
        self._refusing_uploads = True

    def refuse_all(self) -> None:
        """Accept no more requests on open connections."""
        self._refusing_all = True

    async def until_answered(self, *, within_s: float) -> None:
        """Wait until each accepted upload was answered, at most for ``within_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nobody_waits.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._meters)
        if _head_size(scope) > MAX_HEAD_BYTES:
            await exchange.answer(431, "request head too large")
        elif exchange.has_two_ends:
            await exchange.answer(400, "both a length and chunks")
        elif self._refusing_all:
            await exchange.answer(503, "stopping")
        elif not scope["path"].startswith(_UPLOADS):
            await self._pass_on(scope, exchange)
        elif self._refusing_uploads:
            await exchange.answer(503, "stopping")
        elif self._open >= self._max_uploads and not await self._has_made_way():
            await exchange.answer(503, "busy")
        else:
            self._count(1)
            # Once answered, it no longer takes a slot: a refused caller may be slow to read its answer.
            exchange.is_upload(self._bodies, when_answered=partial(self._count, -1))
            try:
                await self._pass_on(scope, exchange)
            finally:
                exchange.settle()

    async def _has_made_way(self) -> bool:
        """Whether there is a slot now, possibly that of a stalled body."""
        await asyncio.sleep(0)  # bytes that arrived for others meanwhile count as their progress
        return self._open < self._max_uploads or self._bodies.make_way()

    def _count(self, change: int) -> None:
        self._open += change
        if self._open:
            self._nobody_waits.clear()
        else:
            self._nobody_waits.set()
        self._meters.uploads_open(self._open)

    async def _pass_on(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the server is stopping, and this took too long
            await exchange.answer(503, "stopping")
        except Exception:
            log.exception("fault in the web application")
            await exchange.answer(500, "fault")


class _Exchange:
    """One request and its answer, watched for how much of the body is still to come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, meters: Meters) -> None:
        self._receive = receive
        self._send = send
        self._meters = meters
        self._answered = False
        self._on_answer: Callable[[], None] | None = None
        self._on_drain: Callable[[], None] = scope.get(ANSWERED, lambda: None)
        self._bodies: IncomingBodies | None = None
        self._body: IncomingBody | None = None
        names = {name for name, _ in scope["headers"]}
        ends = names & {b"content-length", b"transfer-encoding"}
        self._body_left = bool(ends)
        #: The end of the body is ambiguous then, and a proxy in front of us may see it elsewhere: what we take for the
        #: next request would be part of this one to it (RFC 9112, 6.1).
        self.has_two_ends = len(ends) > 1
        # A caller that asks first whether to send its body (100-continue), and gets a refusal, sends none.
        self._asks_first = b"expect" in names

    def is_upload(self, bodies: IncomingBodies, *, when_answered: Callable[[], None]) -> None:
        """Its body is one of ``bodies``. ``when_answered`` is called once, when the answer begins, when the body gives
        way, or when the request ends.
        """
        self._on_answer = when_answered
        self._bodies, self._body = bodies, bodies.begin(self.settle)

    def settle(self) -> None:
        """Call ``when_answered``, unless it was already called."""
        self._leave_bodies()
        call, self._on_answer = self._on_answer, None
        if call is not None:
            call()

    def _leave_bodies(self) -> None:
        if self._bodies is not None and self._body is not None:
            self._bodies.leave(self._body)
        self._body = None

    async def receive(self) -> Message:
        message = await (self._receive() if self._body is None else self._body.wait(self._receive))
        self._asks_first = False
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_left = False
            self._leave_bodies()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answered = True
            self.settle()
            status = message["status"]
            if self._body_left and status != _TIMEOUT and not self._asks_first:
                await self._drain()
            if self._body_left or self.has_two_ends:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            if status >= _FIRST_ERROR and status != _REFUSED:
                self._meters.rejected(status)
        await self._send(message)

    async def _drain(self) -> None:
        self._on_drain()
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_S):
                while self._body_left and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return

    async def answer(self, status: int, text: str) -> None:
        """Answer without the application, unless it has begun its answer."""
        if self._answered:
            return
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        if status == 503:  # noqa: PLR2004 - service unavailable
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _head_size(scope: Scope) -> int:
    line = len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
