"""What ``/openapi.json`` says about the routes besides what the framework finds out itself.

It has to be true: a test fires generated requests at a running service and compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lemmy_safety.access.rules import Access


def _text(description: str, *exactly: str, **more: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if exactly:
        schema["enum"] = list(exactly)
    return {"description": description, "content": {"text/plain": {"schema": schema}}, **more}


_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}}

#: Of the routes that decide on uploads, by status.
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: _text("pict-rs may keep it.", "accepted"),
    400: _text("The body was empty, cut off or a form that is not one file, or the request was not HTTP."),
    401: _text("The secret is missing or wrong."),
    403: _text("The caller's address is in none of the allowed networks."),
    406: _text("pict-rs is to refuse it.", "refused"),
    408: _text("The request came too slowly."),
    413: _text("The file is over the limit."),
    415: _text("The body is compressed."),
    431: _text("The request's head is over the limit."),
    503: _text("There was no room for the request; nothing was decided.", headers=_RETRY_AFTER),
}

PLAIN: dict[int | str, dict[str, Any]] = {200: _text("As described.")}

_MEDIUM = {"schema": {"type": "string", "format": "binary", "minLength": 1}}

_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": _MEDIUM["schema"]},
        "required": ["file"],
        "additionalProperties": False,
    }
}

#: Content-Type is the medium's own; it is recorded, and otherwise not trusted.
BODY: dict[str, Any] = {
    "description": (
        "The medium itself, chunked or with a Content-Length, under any Content-Type; "
        "or a form with the medium as its one part, under any name."
    ),
    "required": True,
    "content": {
        "image/*": _MEDIUM,
        "video/*": _MEDIUM,
        "application/octet-stream": _MEDIUM,
        "multipart/form-data": _FORM,
    },
}

SECRET: dict[str, Any] = {
    "name": "secret",
    "in": "path",
    "required": True,
    "description": "The shared secret; anything where none is set.",
    "schema": {"type": "string"},
}

ID: dict[str, Any] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The shared secret; without one, anything, or IPADDR where networks are set.",
    "schema": {"type": "string"},
}

_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}


def security_of(access: Access) -> list[dict[str, list[str]]]:
    """The ``security`` of a route that expects the secret in a header."""
    return [{name: []} for name in _SCHEMES] if access.needs_secret else []


def add_security_schemes(app: FastAPI) -> None:
    """Describe in the document how the secret is sent; all routes must have been added."""
    document = app.openapi()  # cached by the application, so it serves this document
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
