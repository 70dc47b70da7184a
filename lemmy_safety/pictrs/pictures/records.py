"""What is known of a picture, and the two answers to the question which picture an object belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

ORIGINAL: Final = "original"
MOTION: Final = "motion"
VARIANT: Final = "variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name in URLs. ``origin_url`` is what a proxied picture is a copy of; None if it is none, or not known."""

    name: str
    origin_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Some bytes that pict-rs keeps, with everything that belongs to them.

    ``sha256`` and ``size`` are those of the original; None before pict-rs 0.5.20 if only an alias was known.
    ``motion`` (the still of a moving picture) and ``variants`` (keys by operation) are None if pict-rs's database is
    not asked: its HTTP interface does not tell them.
    """

    sha256: str | None
    size: int | None
    format: str
    aliases: tuple[Alias, ...]
    original: str
    created_at: datetime | None
    motion: str | None = None
    variants: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object's picture. ``part``: what the object is of it; ``operation`` only of a variant: ``thumbnail/256/webp``."""

    picture: Picture
    part: str
    operation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """Why it is not known which picture an object belongs to, as a sentence."""

    reason: str


Resolution: TypeAlias = Found | Unresolved
