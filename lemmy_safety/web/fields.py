"""Fields of a peer's JSON, each with its type and its bounds; see ``messages.py``. No message quotes what the peer sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from lemmy_safety.web.wire import BadMessage

if TYPE_CHECKING:
    import re

Fields: TypeAlias = Mapping[str, Any]
Kind = TypeVar("Kind", bound=StrEnum)

#: More than any picture has of anything, and what the smallest integer column of a database holds.
_MOST_NUMBER: Final = 2**31 - 1

#: Far above every score of a detector, far below what arithmetic could fail on.
_MOST_SCORE: Final = 1e9

#: Characters of a word of ours.
_MOST_WORD: Final = 100

#: An ISO 8601 time with microseconds and zone has 32 characters.
_MOST_TIME_TEXT: Final = 40

#: pict-rs began in 2020, so no upload is older; clocks of two machines may differ by a day, and not by more.
EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(days=1)


def mapping(value: object) -> Fields:
    """:raises BadMessage: it is no object."""
    if not isinstance(value, dict):
        raise BadMessage("not an object of JSON")
    return value


def part(fields: Fields, name: str) -> Fields | None:
    """An object inside, or None where there is none.

    :raises BadMessage: it is something else.
    """
    value = fields.get(name)
    return None if value is None else mapping(value)


def entries(fields: Fields, name: str, *, most: int) -> list[Any]:
    """:raises BadMessage: it is no list, or has more than ``most`` entries."""
    value = fields.get(name)
    if not isinstance(value, list):
        raise BadMessage(f"{name} is no list")
    if len(value) > most:
        raise BadMessage(f"{name} has more than {most} entries")
    return value


def text(fields: Fields, name: str, default: str | None = None, *, most: int) -> str:
    """:raises BadMessage: it is no text, longer than ``most`` characters, or no Unicode (half of a surrogate pair)."""
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadMessage(f"{name} is no text")
    if len(value) > most:
        raise BadMessage(f"{name} is longer than {most} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadMessage(f"{name} is not Unicode") from None
    return value


def matching(fields: Fields, name: str, pattern: re.Pattern[str]) -> str:
    """:raises BadMessage: it is no text that matches as a whole."""
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadMessage(f"{name} is not as it should be")
    return value


def flag(fields: Fields, name: str) -> bool:
    """:raises BadMessage: it is neither true nor false."""
    value = fields.get(name)
    if not isinstance(value, bool):
        raise BadMessage(f"{name} is no flag")
    return value


def one_of(kind: type[Kind], fields: Fields, name: str) -> Kind:
    """:raises BadMessage: it is none of the values of ``kind``."""
    value = text(fields, name, most=_MOST_WORD)
    try:
        return kind(value)
    except ValueError:
        raise BadMessage(f"{name} is none of those that there are") from None


def whole(fields: Fields, name: str, *, most: int = _MOST_NUMBER) -> int:
    """A whole number from 0.

    :raises BadMessage: it is none, or above ``most``.
    """
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise BadMessage(f"{name} is not a number from 0 to {most}")
    return value


def score(fields: Fields, name: str) -> float:
    """:raises BadMessage: it is no number, or none that a score can be."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_score(value):
        raise BadMessage(f"{name} is not a score")
    return float(value)


def _is_score(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= _MOST_SCORE


def moment(value: object, *, now: datetime | None = None) -> datetime:
    """A time with its zone, from 2020 to a day ahead of ``now`` (this machine's clock).

    :raises BadMessage: it is none.
    """
    if not isinstance(value, str) or len(value) > _MOST_TIME_TEXT:
        raise BadMessage("not a time")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise BadMessage("not a time") from None
    if at.tzinfo is None:
        raise BadMessage("a time without a zone")
    if not EARLIEST <= at <= (now or datetime.now(UTC)) + _AHEAD:
        raise BadMessage("a time before 2020, or more than a day ahead; is a clock wrong?")
    return at
