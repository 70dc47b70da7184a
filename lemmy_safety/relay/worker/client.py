"""A worker's side of the protocol of uploads over HTTP; see ``protocol.py``. It keeps no media and decides nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self

import httpx

from lemmy_safety import __version__
from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.outgoing import (
    PROXY_LOGIN,
    ServerTrouble,
    login_wanted,
    transport_by,
    trouble_by_way_of,
)
from lemmy_safety.proxies import proxy_for
from lemmy_safety.relay.bounded_json import read_json
from lemmy_safety.relay.messages import decode_unchecked_page
from lemmy_safety.relay.protocol import (
    AFTER_PARAMETER,
    KEY_HEADER,
    POP_PATH,
    RELAY_HEADER,
    RULES_HEADER,
    UNCHECKED_PATH,
    WAIT_PARAMETER,
    WORKER_HEADER,
    BadMessage,
    name_in,
)
from lemmy_safety.relay.worker.server_address import checked_url
from lemmy_safety.uploads.bodies import BadBody, BodyFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from types import TracebackType

    from lemmy_safety.uploads.bodies import BodyReader
    from lemmy_safety.uploads.records import Upload

_CONNECT_S = 5.0
_ANSWER_S = 15.0
#: pict-rs gives up on an upload after 30 s, so a medium that takes longer is useless.
_MEDIUM_S = 30.0

_OK = 200
_CREATED = 201
_NOTHING = 204
_FORBIDDEN = 403
_DENIED = frozenset({401, _FORBIDDEN})
_NOT_FOUND = 404

#: Answers that mean, on first contact, that there is no such server at this address.
_WRONG_ADDRESS = frozenset({301, 302, 307, 308, 404, 405})

#: Maximum characters of a header shown to a person.
_MOST_SHOWN = 200

_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Popped:
    """A medium to judge. ``upload`` is None if it is too large or empty: ``reason`` says which."""

    name: str
    upload: Upload | None
    too_large: bool = False
    reason: str = ""


class WorkerClient:
    """Talks to one server. Belongs to one event loop."""

    def __init__(self, *, url: str, key: str, worker: str, rules: str, reader: BodyReader) -> None:
        """:raises SettingsError: the URL is invalid, or a proxy or certificates cannot be used."""
        self.url = checked_url(url)
        self._proxy = proxy_for(self.url)
        self._reader = reader
        # httpx logs each request, and there is one every few seconds even when nothing happens.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        #: None until the server has answered; then whether it is a relay of ours.
        self.is_relay: bool | None = None
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={
                KEY_HEADER: key,
                WORKER_HEADER: worker,
                RULES_HEADER: rules,
                "User-Agent": f"lemmy-safety-worker/{__version__}",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, pool=None),
            # Ignore the server's cookies: a jar would grow with every answer, and be sent back.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            transport=transport_by(self._proxy),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def pop(self, *, wait_s: float) -> Popped | None:
        """Something to judge; None if there is nothing, after ``wait_s`` if the server can wait.

        :raises ServerTrouble: it did not answer, or not validly.
        :raises SettingsError: the key or the address is wrong.
        """
        question = {WAIT_PARAMETER: f"{wait_s:g}"}
        async with self._answer("GET", POP_PATH, wait_s=wait_s, medium_s=_MEDIUM_S, params=question) as response:
            if response.status_code == _NOTHING:
                self._note_success(response)
                return None
            if response.status_code != _OK:
                raise self._unexpected(response)
            name = name_in(response.headers.get("content-disposition", ""))
            self._note_success(response)
            return await self._read(name, response)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, *, wait_s: float = 0.0, medium_s: float = 0.0, **question: Any
    ) -> AsyncIterator[httpx.Response]:
        """An answer's head; the caller reads the body, within bounds, or leaves it unread.

        The whole answer has to come within the time for a head and for a body (``wait_s`` more if the server may hold
        the request, ``medium_s`` if it may send a medium). So a server that trickles bytes, or sends endless heads, is
        given up too.

        :raises ServerTrouble: it did not come, came too late, or was not valid HTTP.
        """
        patience = httpx.Timeout(_ANSWER_S + wait_s, connect=_CONNECT_S, pool=None)
        with _trouble_with_messages(), trouble_by_way_of(self._proxy):
            async with (
                asyncio.timeout(2 * _ANSWER_S + wait_s + medium_s),
                self._http.stream(method, path, timeout=patience, **question) as response,
            ):
                if response.status_code == PROXY_LOGIN and self._proxy is not None:
                    raise login_wanted(self._proxy)
                # We asked for no compression. A few bytes can expand into gigabytes.
                if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                    raise BadMessage("a compressed answer")
                yield response

    async def _read(self, name: str, response: httpx.Response) -> Popped:
        length = response.headers.get("content-length", "")
        try:
            upload = await self._reader.read(
                response.aiter_raw(),
                media_type=response.headers.get("content-type", ""),
                announced=int(length) if _LENGTH.fullmatch(length) else None,
            )
        except BadBody as error:
            if error.fault in (BodyFault.BAD, BodyFault.TOO_LARGE):
                too_large = error.fault is BodyFault.TOO_LARGE
                return Popped(name=name, upload=None, too_large=too_large, reason=error.text)
            raise ServerTrouble(f"a medium did not get here: {error.text}") from error
        return Popped(name=name, upload=upload)

    async def answer(self, message: Mapping[str, Any]) -> bool:
        """Send a result. Returns whether it was in time.

        :raises ServerTrouble: it is not known whether it arrived.
        :raises SettingsError: the key is wrong.
        """
        async with self._answer("POST", POP_PATH, json=message) as response:
            if response.status_code == _NOT_FOUND:
                return False
            if response.status_code != _CREATED:
                raise self._unexpected(response)
            said = await read_json(response.aiter_raw()) if self.is_relay else {}
            return not (isinstance(said, dict) and said.get("late") is True)

    async def unchecked(self, *, after: str | None) -> list[object]:
        """A page of what a relay accepted unchecked.

        :raises ServerTrouble: it did not answer, or not validly.
        """
        params = {} if after is None else {AFTER_PARAMETER: after}
        async with self._answer("GET", UNCHECKED_PATH, params=params) as response:
            if response.status_code != _OK:
                raise self._unexpected(response)
            return decode_unchecked_page(await read_json(response.aiter_raw()))

    async def settle(self, judged: list[dict[str, Any]]) -> None:
        """Report the later results of some of them to a relay.

        :raises ServerTrouble: it is not known whether it arrived.
        """
        async with self._answer("POST", UNCHECKED_PATH, json={"judged": judged}) as response:
            if response.status_code != _OK:
                raise self._unexpected(response)

    def _note_success(self, response: httpx.Response) -> None:
        self.is_relay = RELAY_HEADER in response.headers

    def _unexpected(self, response: httpx.Response) -> Exception:
        status = response.status_code
        if status in _DENIED:
            return SettingsError(
                f"{self.url} refuses PICTRS_SAFETY_APIKEY ({status}).",
                hint="Set it to the key that the server knows: RELAY_APIKEY of a relay, FEDIVERSE_SAFETY_WORKER_AUTH of "
                f"pictrs-safety.{self._doubt_about_the_proxy(response)}",
            )
        if status in _WRONG_ADDRESS and self.is_relay is None:
            there = ascii(foreign(response.headers.get("location", "")))[1:-1][:_MOST_SHOWN]
            hint = (
                f"It points to {there}: use that." if there else "PICTRS_SAFETY_URL is its address without /api/v1/pop."
            )
            return SettingsError(f"There is no pictrs-safety server or relay at {self.url} ({status}).", hint=hint)
        return ServerTrouble(f"it answered with status {status}")

    def _doubt_about_the_proxy(self, response: httpx.Response) -> str:
        """Without TLS a proxy's 403 looks like the server's: the other possible fix, for the end of a hint."""
        may_be_its = response.status_code == _FORBIDDEN and RELAY_HEADER not in response.headers
        if self._proxy is None or not may_be_its or not self.url.startswith("http://"):
            return ""
        return f" Or {self._proxy.refusal(_FORBIDDEN)}. {self._proxy.hint}"


@contextmanager
def _trouble_with_messages() -> Iterator[None]:
    try:
        yield
    except BadMessage as error:
        raise ServerTrouble(f"it sent {error}") from error
