"""The routes for workers: jobs, and the uploads that were accepted unchecked. HTTP only; see ``protocol.py``.

Errors are JSON, because the legacy worker parses every answer as JSON.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from lemmy_safety.access.complaints import Complaints
from lemmy_safety.access.secrets import Secrets, fingerprint
from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import UploadResult
from lemmy_safety.relay.bounded_json import TooMuchJson, read_json
from lemmy_safety.relay.fields import moment
from lemmy_safety.relay.messages import decode_answer, decode_judged_page, encode_unchecked
from lemmy_safety.relay.protocol import (
    AFTER_PARAMETER,
    KEY_HEADER,
    PAGE,
    POP_PATH,
    RELAY_HEADER,
    RULES_HEADER,
    UNCHECKED_PATH,
    UNKNOWN_RULES,
    WAIT_PARAMETER,
    WORKER_HEADER,
    BadMessage,
    is_token,
    wanted_wait,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
    from datetime import datetime

    from lemmy_safety.ledger import Ledger, UploadRow
    from lemmy_safety.records import Assessment
    from lemmy_safety.relay.server.assignments import Item
    from lemmy_safety.relay.server.judging import RelayJudging

    HungUp = Callable[[MutableMapping[str, Any]], asyncio.Event]
    _Route = Callable[[Request], Coroutine[Any, Any, Response]]
    _Responses = dict[int | str, dict[str, Any]]

log = logging.getLogger(__name__)

#: The longest that a request for work is kept open: under the 60 s after which nginx assumes that we are dead.
_LONGEST_WAIT_S = 25.0

#: Seconds for a worker's message. It is sent at once, but perhaps over a slow home line.
_MESSAGE_S = 15.0

_SHA256 = re.compile(r"[0-9a-f]{64}")

_OF_RELAY = {RELAY_HEADER: "1", "Cache-Control": "no-store"}

_ERRORS: _Responses = {
    400: {"description": "The message is not what it should be."},
    403: {"description": "The key is missing or wrong."},
    413: {"description": "The message is over the limit."},
    503: {"description": "The relay's database does not answer, or there is no room."},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caller:
    """``name`` is empty for a worker that speaks only pictrs-safety's protocol."""

    name: str
    rules: str


def relay_router(judging: RelayJudging, ledger: Ledger, *, key: str, hung_up: HungUp) -> APIRouter:
    """The routes of one relay. ``key`` is the secret workers send; each answer says that it comes from a relay of ours.

    ``hung_up`` gives an event that is set when the peer of a request stops sending.
    """
    router = APIRouter()
    gate = _Gate(key)
    _add_pop(router, gate, judging, hung_up)
    _add_unchecked(router, gate, _Books(ledger, judging))
    return router


def _add_pop(router: APIRouter, gate: _Gate, judging: RelayJudging, hung_up: HungUp) -> None:
    async def pop(request: Request, caller: _Caller) -> Response:
        wait_s = wanted_wait(request.query_params.get(WAIT_PARAMETER), most=_LONGEST_WAIT_S)
        taking = judging.wait_for_work(caller.name, caller.rules, wait_s=wait_s)
        item = await _unless_gone(taking, request, hung_up(request.scope))
        data = None if item is None else item.job.upload.data
        if item is None or data is None:
            return Response(status_code=204, headers=_OF_RELAY)
        headers = {**_OF_RELAY, "Content-Disposition": f"attachment; filename={item.name}"}
        return Response(data, headers=headers, media_type=item.job.upload.media_type or "application/octet-stream")

    async def answer(request: Request, caller: _Caller) -> Response:
        late = judging.learn(caller.name, decode_answer(await _message(request)))
        if late is None:
            return _said(404, "No image found waiting for this result.")
        return JSONResponse({"message": "OK", "late": late}, 201, _OF_RELAY)

    media: _Responses = {200: {"description": "A medium; its name is in Content-Disposition.", "content": {"*/*": {}}}}
    nothing: _Responses = {204: {"description": "Nothing to do."}}
    router.get(POP_PATH, summary="An upload to judge, for a worker.", responses={**media, **nothing, **_ERRORS})(
        gate.guarded(pop)
    )
    gone: _Responses = {404: {"description": "No caller asked about it, or none waits any more."}}
    router.post(POP_PATH, summary="What a worker found out.", status_code=201, responses={**gone, **_ERRORS})(
        gate.guarded(answer)
    )


def _add_unchecked(router: APIRouter, gate: _Gate, books: _Books) -> None:
    async def unchecked(request: Request, _caller: _Caller) -> Response:
        page = await books.unchecked(after=_place(request.query_params.get(AFTER_PARAMETER)))
        return JSONResponse({"uploads": page}, 200, _OF_RELAY)

    async def settle(request: Request, _caller: _Caller) -> Response:
        await books.settle(decode_judged_page(await _message(request)))
        return JSONResponse({"message": "OK"}, 200, _OF_RELAY)

    router.get(UNCHECKED_PATH, summary="What was accepted without a verdict, for a worker.", responses=_ERRORS)(
        gate.guarded(unchecked)
    )
    router.post(UNCHECKED_PATH, summary="What became of those, from a worker.", responses=_ERRORS)(gate.guarded(settle))


async def _unless_gone(work: Coroutine[Any, Any, Item | None], request: Request, hung_up: asyncio.Event) -> Item | None:
    """Wait for a job, but not once the worker has closed the connection: the job would be lost on the way."""
    taking = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(hung_up.wait())
    lost = asyncio.ensure_future(_disconnected(request))
    try:
        ends: set[asyncio.Future[Any]] = {taking, gone, lost}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else None
    finally:
        for task in (taking, gone, lost):
            task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Gate:
    """Accepts callers that send the key."""

    def __init__(self, key: str) -> None:
        self._secrets = Secrets([key])
        self._complaints = Complaints()

    def guarded(self, handle: Callable[[Request, _Caller], Awaitable[Response]]) -> _Route:
        """The handler behind the key, with its expected failures as answers."""

        async def guarded(request: Request) -> Response:
            caller = self._caller(request)
            if caller is None:
                return _said(403, "Access Denied")
            try:
                return await handle(request, caller)
            except TooMuchJson:
                return _said(413, "too large")
            except BadMessage as error:
                return _said(400, str(error))
            except LedgerError as error:
                log.error("the database does not answer a worker: %s", error)  # noqa: TRY400 - expected, one line
                return _said(503, "the database does not answer")

        return guarded

    def _caller(self, request: Request) -> _Caller | None:
        offered = request.headers.get(KEY_HEADER, "")
        if not self._secrets.match([offered]):
            self._complain(offered)
            return None
        name = request.headers.get(WORKER_HEADER, "")
        rules = request.headers.get(RULES_HEADER, "")
        return _Caller(name=name if is_token(name) else "", rules=rules if is_token(rules) else UNKNOWN_RULES)

    def _complain(self, offered: str) -> None:
        if self._complaints.due() is not None:
            shown = fingerprint(offered) if offered else "none"
            log.warning("a worker was refused: its key is wrong (by SHA-256: %s)", shown)


class _Books:
    """The relay's ledger, outside the event loop."""

    def __init__(self, ledger: Ledger, judging: RelayJudging) -> None:
        self._ledger = ledger
        self._judging = judging

    async def unchecked(self, *, after: tuple[datetime, str] | None) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            return [encode_unchecked(row) for row in islice(self._ledger.uploads.unchecked(after=after), PAGE)]

        return await self._judging.in_thread(read)

    async def settle(self, judged: Sequence[tuple[str, Assessment]]) -> None:
        def write() -> None:
            asked = [(self._ledger.uploads.get(sha256), learned) for sha256, learned in judged]
            self._ledger.uploads.record([_judgement(row, learned) for row, learned in asked if row is not None])

        await self._judging.in_thread(write)


def _judgement(row: UploadRow, learned: Assessment) -> UploadResult:
    return UploadResult(
        sha256=row.sha256,
        size=row.size,
        media_type=row.media_type or "",
        answer=None,
        assessment=learned,
    )


async def _message(request: Request) -> object:
    """The JSON of a request.

    :raises BadMessage: it is not JSON, too large, or did not come in time.
    """
    try:
        async with asyncio.timeout(_MESSAGE_S):
            return await read_json(request.stream())
    except TimeoutError:
        raise BadMessage("it came too slowly") from None
    except ClientDisconnect:
        raise BadMessage("it was cut off") from None


def _place(text: str | None) -> tuple[datetime, str] | None:
    """:raises BadMessage: it is not a position in one of our lists."""
    if text is None:
        return None
    at, _, sha256 = text.partition(",")
    if not _SHA256.fullmatch(sha256):
        raise BadMessage("not a place in the list")
    return moment(at), sha256


def _said(status: int, text: str) -> Response:
    headers = {**_OF_RELAY, "Retry-After": "5"} if status == 503 else _OF_RELAY  # noqa: PLR2004 - service unavailable
    return JSONResponse({"message": text}, status, headers)
