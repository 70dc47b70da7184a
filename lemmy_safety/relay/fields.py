"""What a field of a message may be, and how a message is read.

All input comes from outside and is checked: wrong or too large values raise a ``BadMessage`` with one short line that
quotes none of the input. Unknown fields are ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lemmy_safety.relay.protocol import BadMessage

#: Maximum characters of text for people, of names, and of a medium's name on the wire.
MOST_TEXT: Final = 2000
MOST_NAME: Final = 200

#: Above any count or size of a picture, and the limit of the smallest integer column of a database.
_MOST_NUMBER: Final = 2**31 - 1

#: Far above every score of a detector, far below what arithmetic could fail on.
_MOST_SCORE: Final = 1e9

#: An ISO 8601 time with microseconds and zone has 32 characters.
_MOST_TIME_TEXT: Final = 40

#: pict-rs began in 2020, so no upload is older; clocks of two machines may differ by at most a day.
_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(days=1)

#: Maximum characters of an error about a bad message.
_MOST_SAID: Final = 120


def moment(value: object, *, now: datetime | None = None) -> datetime:
    """A time with its zone, from 2020 to a day ahead of ``now`` (this machine's clock).

    :raises BadMessage: it is not one.
    """
    if not isinstance(value, str) or len(value) > _MOST_TIME_TEXT:
        raise BadMessage("not a time")
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise BadMessage("not a time") from None
    if at.tzinfo is None:
        raise BadMessage("a time without a zone")
    if not _EARLIEST <= at <= (now or datetime.now(UTC)) + _AHEAD:
        raise BadMessage("a time before 2020, or more than a day ahead; is a clock wrong?")
    return at


Text = Annotated[str, Field(max_length=MOST_TEXT)]
Name = Annotated[str, Field(max_length=MOST_NAME)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,100}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0, le=_MOST_NUMBER)]
Score = Annotated[float, Field(ge=-_MOST_SCORE, le=_MOST_SCORE, allow_inf_nan=False)]


class Message(BaseModel):
    """An object of JSON. Types are strict: only the words of our enumerations are converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


M = TypeVar("M", bound=Message)

#: Replaces messages of the library that name its classes or list all allowed values.
_PLAINER: Final = {"model_type": "not an object of JSON", "enum": "none of those that there are"}


def read(kind: type[M], message: object, *, now: datetime | None = None) -> M:
    """:raises BadMessage: a field is missing, of another type, or out of its bounds."""
    try:
        return kind.model_validate(message, context=now)
    except ValidationError as error:
        # Only the first error, without the peer's input.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = _PLAINER.get(first["type"], first["msg"].removeprefix("Value error, "))[:_MOST_SAID]
        raise BadMessage(f"{where}: {what}" if where else what) from None


def cut(said: str, most: int) -> str:
    """Text to send: valid Unicode of bounded length, which a decoder's message need not be."""
    return said[:most].encode("utf-8", "replace").decode()
