"""JSON from a peer, bounded while it is read: in bytes, depth and numbers. Ambiguous input is refused.

A peer may be a compromised machine. Nothing it sends may cost more memory than Python needs for ``MOST_JSON_BYTES`` of
JSON, and none of its text gets into an error message.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from lemmy_safety.relay.protocol import BadMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of the largest JSON that either side reads.
MOST_JSON_BYTES: Final = 1024 * 1024

#: Digits of a number. The largest valid number is a size in bytes; Python's own limit of 4300 is far above.
_MOST_DIGITS = 20


class TooMuchJson(BadMessage):
    """More than ``MOST_JSON_BYTES``; the rest was not read."""


async def read_json(chunks: AsyncIterator[bytes]) -> object:
    """Read to the end, or to the limit.

    :raises TooMuchJson: there is more.
    :raises BadMessage: it is not JSON that we would send.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MOST_JSON_BYTES:
            raise TooMuchJson("too much JSON")
    return parse_json(bytes(body))


def parse_json(data: bytes) -> object:
    """:raises BadMessage: not JSON in UTF-8, NaN or infinities, a key twice in one object, too deep, numbers too long."""
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_finite,
            object_pairs_hook=_without_duplicates,
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadMessage):
            raise
        raise BadMessage("something that is not JSON") from error


def _no_constant(_text: str) -> float:
    raise BadMessage("a number that is not finite")


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise BadMessage("a number of too many digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadMessage("a number that is not finite")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadMessage("an object with the same key twice")
    return fields
