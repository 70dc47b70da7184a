"""Sends requests to pict-rs, one at a time, within limits on time, bytes and rate. Knows statuses, and no question.

Every request has one deadline from the connection to the last byte, so a server that trickles bytes is given up as
well. httpx cannot do that in threads, so an event loop of our own runs each request.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from lemmy_safety import __version__
from lemmy_safety.errors import (
    NotPictrs,
    PictrsError,
    PictrsLoginRefused,
    PictrsReadOnly,
    PictrsUnreachable,
    SettingsError,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.outgoing import PROXY_LOGIN, ServerTrouble, login_wanted, transport_by, trouble_by_way_of
from lemmy_safety.pictrs.api.answers import Answer, json_object
from lemmy_safety.pictrs.api.tunnelled import Tunnelled
from lemmy_safety.proxies import proxy_for
from lemmy_safety.server_urls import checked_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from lemmy_safety.pictrs.api.pace import Pace
    from lemmy_safety.pictrs.tunnel import Tunnel

_KEY_HEADER: Final = "X-Api-Token"
_CONNECT_S = 5.0

#: Bytes of the largest answer. A page of 100 pictures has about 50 KB; a picture can have thousands of aliases.
MOST_BYTES: Final = 8 * 1024 * 1024

#: Seconds before each further try.
_PAUSES_S = (0.5, 2.0)

_OK, _CREATED, _MULTIPLE, _BAD_REQUEST, _SERVER_ERRORS = 200, 201, 300, 400, 500
_UNAUTHORIZED, _FORBIDDEN = 401, 403

#: It, or a proxy before it, has no time at the moment.
_BUSY = frozenset({429, 502, 503, 504})

_MOST_SHOWN = 200


class Requests:
    """One pict-rs. May be used from several threads; their requests follow one another."""

    def __init__(
        self, *, url: str, key: str, pace: Pace, what: str = "PICTRS_URL", tunnel: Tunnel | None = None
    ) -> None:
        """``tunnel`` leads to the URL's host and port, and is closed with the connections; no proxy is used then.

        :raises SettingsError: the URL or the key is impossible, or a proxy or certificates cannot be used.
        """
        self.url = checked_url(url, what=what, example="http://127.0.0.1:8080")
        if not key.isascii() or not key.isprintable():
            raise SettingsError(
                "PICTRS_API_KEY holds a character that no HTTP header can have.",
                hint="Copy it from pict-rs's settings.",
            )
        self.sent = 0
        """Requests so far, with those that were tried again."""
        self._key = key
        self._pace = pace
        self._tunnel = tunnel
        self._proxy = proxy_for(self.url) if tunnel is None else None
        self._lock = threading.Lock()
        self._runner = asyncio.Runner()
        self._http: httpx.AsyncClient | None = None
        # httpx logs each request with its URL, and there are thousands.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._http is not None:
                self._runner.run(self._http.aclose())
            self._runner.close()
        if self._tunnel is not None:
            self._tunnel.close()

    def internal(self, method: str, path: str, *, patience_s: float, repeat: bool = True, **question: Any) -> Answer:
        """Ask something that needs the key. Answers with an error status that says nothing about the question raise.

        ``repeat``: whether it may be sent again if it is not known whether it arrived.

        :raises PictrsUnreachable: no answer, or none at the moment.
        :raises PictrsLoginRefused: the key is wrong.
        :raises PictrsReadOnly: it was asked to change something.
        :raises NotPictrs: it cannot be pict-rs.
        :raises PictrsError: a failure of its own.
        """
        answer = self._persistent(method, path, patience_s=patience_s, repeat=repeat, with_key=True, **question)
        if answer.status == _UNAUTHORIZED:
            raise PictrsLoginRefused(f"pict-rs at {self.url} refuses PICTRS_API_KEY.")
        if answer.status == _FORBIDDEN:
            raise PictrsLoginRefused(
                f"{self.url} forbids requests to pict-rs (403).",
                hint="pict-rs itself never answers that: allow this machine in the proxy or firewall before it.",
            )
        if answer.status == _BAD_REQUEST and answer.code == "read-only":
            raise PictrsReadOnly(f"pict-rs at {self.url} is in read-only mode.")
        if _MULTIPLE <= answer.status < _BAD_REQUEST:
            there = ascii(foreign(answer.headers.get("location", "")))[1:-1][:_MOST_SHOWN]
            where = f" to {there}" if there else ""
            raise NotPictrs(f"{self.url} answers with a redirect{where}, and pict-rs never does.")
        if answer.status >= _SERVER_ERRORS:
            raise _failure(self.url, answer)
        return answer

    def public(self, method: str, path: str, *, patience_s: float, **question: Any) -> Answer:
        """Ask something that everybody may ask, without the key.

        :raises PictrsUnreachable: no answer, or none at the moment.
        """
        answer = self._persistent(method, path, patience_s=patience_s, repeat=True, with_key=False, **question)
        if answer.status >= _SERVER_ERRORS:
            raise _failure(self.url, answer)
        return answer

    def _persistent(
        self, method: str, path: str, *, patience_s: float, repeat: bool, with_key: bool, **question: Any
    ) -> Answer:
        last = PictrsUnreachable("")
        for pause_s in (0.0, *_PAUSES_S):
            if pause_s:
                self._pace.rest(pause_s)
            try:
                answer = self._once(method, path, patience_s=patience_s, with_key=with_key, **question)
            except PictrsUnreachable as error:  # of the tunnel: nothing was sent
                last = error
                continue
            except ServerTrouble as trouble:
                last = PictrsUnreachable(f"pict-rs at {self.url} cannot be reached: {trouble}.")
                last.__cause__ = trouble
                if repeat or _was_not_sent(trouble):
                    continue
                raise last from trouble
            if answer.status not in _BUSY:
                return answer
            last = PictrsUnreachable(f"pict-rs at {self.url} is not ready ({answer.status}).")
            if not repeat:
                break
        raise last

    def _once(self, method: str, path: str, *, patience_s: float, with_key: bool, **question: Any) -> Answer:
        headers = {_KEY_HEADER: self._key} if with_key else {}
        with self._lock:
            self._pace.wait_for_turn()
            if self._tunnel is not None:
                self._tunnel.ready()
            self.sent += 1
            try:
                return self._runner.run(self._exchange(method, path, patience_s, {"headers": headers, **question}))
            except ServerTrouble as trouble:
                failure = self._tunnel.failure() if self._tunnel is not None else None
                if failure is not None:
                    raise failure from trouble
                raise

    async def _exchange(self, method: str, path: str, patience_s: float, question: Mapping[str, Any]) -> Answer:
        if self._http is None:
            self._http = self._client()
        with trouble_by_way_of(self._proxy):
            async with asyncio.timeout(patience_s), self._http.stream(method, path, **question) as response:
                if response.status_code == PROXY_LOGIN and self._proxy is not None:
                    raise login_wanted(self._proxy)
                data = await _bounded(response)
                headers = dict(response.headers.items())
        return Answer(status=response.status_code, headers=headers, body=json_object(data))

    def _client(self) -> httpx.AsyncClient:
        transport: httpx.AsyncBaseTransport = transport_by(self._proxy)
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"User-Agent": f"lemmy-safety/{__version__}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(None, connect=_CONNECT_S),  # the deadline of the whole request is our own
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            transport=transport if self._tunnel is None else Tunnelled(transport, self._tunnel),
        )


async def _bounded(response: httpx.Response) -> bytes:
    """The body.

    :raises ServerTrouble: it is larger than any answer of pict-rs, or compressed: a few bytes can become gigabytes.
    """
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ServerTrouble("it sent a compressed answer, which was not asked for")
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > MOST_BYTES:
            raise ServerTrouble(f"its answer is longer than {MOST_BYTES // 1024 // 1024} MiB")
    return bytes(data)


def _was_not_sent(trouble: ServerTrouble) -> bool:
    return isinstance(trouble.__cause__, (httpx.ConnectError, httpx.ConnectTimeout))


def _failure(url: str, answer: Answer) -> PictrsError:
    code = ascii(foreign(answer.code))[1:-1][:_MOST_SHOWN]
    return PictrsError(f"pict-rs at {url} answers {answer.status}{f' ({code})' if code else ''}.")
