"""What pict-rs answers, as types. Nothing here relies on texts of messages, which differ between versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lemmy_safety.errors import PictrsError
from lemmy_safety.pictrs.hashes import StoredHash


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. ``body`` is None if it is not a JSON object."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any] | None

    @property
    def is_of_pictrs(self) -> bool:
        """Whether it has the form that every internal answer has, except ``limits`` and that of an unknown route."""
        return self.body is not None and isinstance(self.body.get("msg"), str)

    @property
    def code(self) -> str:
        """The code of an error from 0.5 on; empty if there is none."""
        code = (self.body or {}).get("code")
        return code if isinstance(code, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashEntry:
    """A picture in a list of pict-rs. ``created_at`` is when it was examined, and None if that is not recorded."""

    hash: StoredHash
    aliases: tuple[str, ...]
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HashPage:
    """Pictures, the newest first. ``current`` and ``next`` are slugs: of this page, and of the one with older ones."""

    entries: tuple[HashEntry, ...]
    current: str | None
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A picture that was given to pict-rs."""

    alias: str
    delete_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the head of a picture's public page shows. ``hash`` is None before 0.5.20, and with a public endpoint."""

    hash: StoredHash | None
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What pict-rs recorded about a picture when it came."""

    width: int
    height: int
    frames: int | None
    content_type: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings that a pict-rs from 0.6.0-rc.5 shows. The URL may hold a secret: never show it."""

    external_validation: str | None
    external_validation_timeout_s: float


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer consists of; None for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def aliases_of(answer: Answer) -> tuple[str, ...]:
    """:raises PictrsError: there is none in it."""
    return _texts(answer.body or {}, "aliases")


def identifier_of(answer: Answer) -> str:
    """:raises PictrsError: there is none in it."""
    return _text(answer.body or {}, "identifier")


def page_of(answer: Answer) -> HashPage:
    """:raises PictrsError: there is none in it."""
    page = (answer.body or {}).get("page")
    if not isinstance(page, dict) or not isinstance(page.get("hashes"), list):
        raise _not_understood("page")
    return HashPage(
        entries=tuple(_entry(each) for each in page["hashes"]),
        current=_optional_text(page, "current"),
        next=_optional_text(page, "next"),
    )


def imported_of(answer: Answer) -> Imported:
    """:raises PictrsError: there is none in it."""
    files = (answer.body or {}).get("files")
    if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], dict):
        raise _not_understood("files")
    return Imported(alias=_text(files[0], "file"), delete_token=_text(files[0], "delete_token"))


def details_of(answer: Answer) -> Details:
    """:raises PictrsError: there is none in it."""
    body = answer.body or {}
    frames = body.get("frames")
    return Details(
        width=_number(body, "width"),
        height=_number(body, "height"),
        frames=frames if isinstance(frames, int) else None,
        content_type=_text(body, "content_type"),
        created_at=_moment(body.get("created_at")),
    )


def limits_of(answer: Answer) -> Limits | None:
    """None if these are not pict-rs's limits."""
    body = answer.body or {}
    if "external_validation" not in body:
        return None
    url, timeout = body["external_validation"], body.get("external_validation_timeout")
    return Limits(
        external_validation=url if isinstance(url, str) else None,
        external_validation_timeout_s=float(timeout) if isinstance(timeout, (int, float)) else 0.0,
    )


def _entry(found: object) -> HashEntry:
    if not isinstance(found, dict):
        raise _not_understood("hashes")
    try:
        stored = StoredHash.from_hex(_text(found, "hex"))
    except ValueError as error:
        raise _not_understood("hex") from error
    details = found.get("details")
    created_at = _moment(details.get("created_at")) if isinstance(details, dict) else None
    return HashEntry(hash=stored, aliases=_texts(found, "aliases"), created_at=created_at)


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise _not_understood(name)
    return value


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)


def _texts(body: dict[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _not_understood(name)
    return tuple(value)


def _number(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int):
        raise _not_understood(name)
    return value


def _not_understood(name: str) -> PictrsError:
    return PictrsError(
        f"pict-rs's answer is not understood: {name} is missing or of another type.",
        hint="This pict-rs is newer than this program, or something between them changes its answers.",
    )
