"""The HTTP side of the hook: routes, statuses and their description under ``/openapi.json``.

2xx accepts and 406 refuses; the body says no more than that. A request that is not a valid upload gets a fitting
status, and is not recorded.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from lemmy_safety import __version__
from lemmy_safety.access.complaints import Complaints
from lemmy_safety.access.rules import Refusal
from lemmy_safety.access.secrets import BY_ADDRESS, fingerprint
from lemmy_safety.pictrs.media import START_BYTES, may_be_stored
from lemmy_safety.uploads.bodies import BadBody, BodyFault
from lemmy_safety.uploads.metrics import CONTENT_TYPE
from lemmy_safety.uploads.records import AnswerKind, Cause, Decision, Garbled, ModelState
from lemmy_safety.web.edge import RETRY_AFTER_S
from lemmy_safety.web.forms import FileInForm, begins_as_form, form_of
from lemmy_safety.web.openapi import ANSWERS, BODY, ID, PLAIN, SECRET, add_security_schemes, security_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastapi import APIRouter

    from lemmy_safety.access.rules import Access
    from lemmy_safety.uploads.bodies import BodyReader
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.probe import LedgerProbe
    from lemmy_safety.uploads.records import Upload, UploadEngine
    from lemmy_safety.web.garbled import GarbledRequests

    _Handler = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)

_REFUSED = 406
_UNAVAILABLE = 503

_STATUSES = {
    BodyFault.BAD: 400,
    BodyFault.TOO_SLOW: 408,
    BodyFault.TOO_LARGE: 413,
    BodyFault.ENCODED: 415,
    BodyFault.NO_ROOM: _UNAVAILABLE,
}


class Readiness(BaseModel):
    """The answer of ``/ready``. ``requests`` is set only while incoming requests cannot be from pict-rs."""

    model: ModelState
    database: Literal["writable", "failing"]
    requests: Literal["garbled"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookParts:
    """What the routes use. ``budget_s`` runs from a request's head to the answer."""

    engine: UploadEngine
    reader: BodyReader
    probe: LedgerProbe
    garbled: GarbledRequests
    meters: Meters
    access: Access
    budget_s: float


class Doorkeeper:
    """Accepts callers or answers 401 or 403, from headers alone."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._complaints = Complaints()

    def turn_away(self, request: Request, *more: str, by_address: bool = False) -> Response | None:
        """None if the caller is allowed; ``more`` are secrets from the path."""
        headers = request.headers
        peer = None if request.client is None else request.client.host
        caller = self._access.caller(peer, headers.getlist("x-forwarded-for"))
        offered = [*more, *headers.getlist("x-api-key")]
        for value in headers.getlist("authorization"):
            scheme, _, credentials = value.partition(" ")
            if scheme.lower() == "bearer":
                offered.append(credentials.strip())
        refusal = self._access.refusal(caller, offered, by_address=by_address)
        if refusal is None:
            return None
        self._complain(f"{caller or peer} was refused: {refusal.value}", offered)
        if refusal is Refusal.SECRET:
            return PlainTextResponse("unauthorized", 401, {"WWW-Authenticate": "Bearer"})
        return PlainTextResponse("forbidden", 403)

    def _complain(self, text: str, offered: Sequence[str]) -> None:
        unsaid = self._complaints.due()
        if unsaid is not None:
            shown = ", ".join(fingerprint(secret) for secret in offered) or "none"
            log.warning("%s (secrets by SHA-256: %s; %d more since the last line)", text, shown, unsaid)


def build_app(parts: HookParts, *, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The application of one service; ``routers`` add routes, which check access themselves."""
    app = FastAPI(
        title="lemmy-safety upload hook",
        version=__version__,
        description="pict-rs asks here before it accepts an upload.",
        docs_url=None,  # these pages would load scripts from a third-party server
        redoc_url=None,
        redirect_slashes=False,
    )
    doorkeeper = Doorkeeper(parts.access)
    _add_hook(app, parts, doorkeeper)
    _add_service(app, parts, doorkeeper)
    for router in routers:
        app.include_router(router)
    if parts.access.needs_secret:
        add_security_schemes(app)
    return app


def _add_hook(app: FastAPI, parts: HookParts, doorkeeper: Doorkeeper) -> None:
    def route(path: str, summary: str, **documented: Any) -> Callable[[_Handler], _Handler]:
        how = {"requestBody": BODY, **documented}
        return app.post(path, summary=summary, response_class=PlainTextResponse, responses=ANSWERS, openapi_extra=how)

    @route("/validate", "Decide on an upload.", security=security_of(parts.access))
    async def validate(request: Request) -> Response:
        return doorkeeper.turn_away(request) or await _decide(parts, request)

    @route("/validate/{secret}", "Decide on an upload; the secret is in the path.", parameters=[SECRET])
    async def validate_with_secret(request: Request) -> Response:
        return doorkeeper.turn_away(request, request.path_params["secret"]) or await _decide(parts, request)

    @route("/api/v1/scan/{id}", "Decide on an upload, where pictrs-safety was configured before.", parameters=[ID])
    async def scan(request: Request) -> Response:
        given = request.path_params["id"]
        refusal = doorkeeper.turn_away(request, given, by_address=given.upper() == BY_ADDRESS)
        return refusal or await _decide(parts, request)


async def _decide(parts: HookParts, request: Request) -> Response:
    loop = asyncio.get_running_loop()
    began = loop.time()
    length = request.headers.get("content-length", "")
    try:
        upload = await _receive(parts, request, announced=int(length) if length.isdecimal() else None)
    except BadBody as error:
        if error.garbled is not None:
            parts.garbled.note(error.garbled, ", ".join(request.headers.getlist("content-type")))
        status = _STATUSES[error.fault]
        retry = {"Retry-After": str(RETRY_AFTER_S)} if status == _UNAVAILABLE else None
        return PlainTextResponse(error.text, status, retry)
    try:
        decision = await parts.engine.validate(upload, deadline=began + parts.budget_s)
    except Exception:
        # Not even the setting for such cases could be applied, so nothing may be accepted.
        log.exception("fault of the engine")
        upload.drop()
        decision = Decision(kind=AnswerKind.UNCHECKED_REFUSED, cause=Cause.FAULT)
    parts.meters.answered(decision, loop.time() - began)
    return PlainTextResponse("accepted") if decision.accepted else PlainTextResponse("refused", _REFUSED)


async def _receive(parts: HookParts, request: Request, *, announced: int | None) -> Upload:
    """The file in a request of either form.

    :raises BadBody: it cannot be decided on.
    """
    codings = {
        name.strip().lower() for value in request.headers.getlist("content-encoding") for name in value.split(",")
    }
    if not codings <= {"", "identity"}:
        raise BadBody(BodyFault.ENCODED, "compressed", Garbled.ENCODED)
    types = request.headers.getlist("content-type")
    form = form_of(types)
    envelope = None if form.boundary is None else FileInForm(form.boundary)
    try:
        upload = await parts.reader.read(
            request.stream(), media_type=form.media_type, announced=announced, envelope=envelope
        )
    except ClientDisconnect:
        raise BadBody(BodyFault.BAD, "body cut off") from None
    if may_be_stored((upload.data or b"")[:START_BYTES]):
        parts.garbled.note_understood()
    elif form.is_form and form.boundary is None:
        upload.drop()
        raise BadBody(BodyFault.BAD, "a form without a boundary", Garbled.FORM)
    elif begins_as_form(upload.data or b""):
        # Not the file's own bytes: the recorded hash could never be found in the storage.
        upload.drop()
        raise BadBody(BodyFault.BAD, "a form that is not announced as one", Garbled.FORM)
    else:
        parts.garbled.note(Garbled.NOT_MEDIA, ", ".join(types))
    return upload


def _add_service(app: FastAPI, parts: HookParts, doorkeeper: Doorkeeper) -> None:
    @app.get("/health", summary="Whether the process answers.", response_class=PlainTextResponse, responses=PLAIN)
    async def health() -> Response:
        return PlainTextResponse("ok")

    @app.get(
        "/ready",
        summary="Whether uploads can be judged and recorded.",
        responses={503: {"model": Readiness}},
        response_model_exclude_none=True,
    )
    async def ready(response: Response) -> Readiness:
        writable = await parts.probe.writable()
        garbled = parts.garbled.too_many
        if garbled or not writable or parts.engine.model != "ready":
            response.status_code = _UNAVAILABLE
        return Readiness(
            model=parts.engine.model,
            database="writable" if writable else "failing",
            requests="garbled" if garbled else None,
        )

    @app.get(
        "/metrics",
        summary="Counts for Prometheus; needs the secret where one is set.",
        response_class=PlainTextResponse,
        responses={**PLAIN, 401: ANSWERS[401], 403: ANSWERS[403]},
        openapi_extra={"security": security_of(parts.access)},
    )
    async def metrics(request: Request) -> Response:
        refusal = doorkeeper.turn_away(request)
        if refusal is not None:
            return refusal
        parts.meters.held(parts.reader.bytes_held)
        parts.meters.unchecked_open(await parts.probe.unchecked_open())
        parts.meters.breaker_tripped(await parts.probe.breaker_tripped())
        return Response(parts.meters.exposition(), media_type=CONTENT_TYPE)
