"""The protocol between a worker and a server of uploads: pictrs-safety's, and our additions to it.

pictrs-safety (2023): ``GET /api/v1/pop`` with the header ``apikey`` gives 200 with a medium and its name in
``Content-Disposition``, or 204; ``POST /api/v1/pop`` sends the result as JSON (``image``, ``is_csam``, ``is_nsfw``) and
gives 201, or 404 when the upload is no longer waiting. A wrong key gives 403. A worker that was silent for 5 s counts
as gone. It stores media re-encoded, so its bytes differ from those that pict-rs has.

Our additions never disturb the other side's software: it ignores their headers and JSON fields. Our relay marks each of
its answers; only then does our worker use the additions.

This module has the names; ``messages.py`` has the JSON, and ``fields.py`` its bounds. Pure: no network, no clock.
"""

from __future__ import annotations

import math
import re
from typing import Final

POP_PATH: Final = "/api/v1/pop"
UNCHECKED_PATH: Final = "/api/v1/unchecked"

KEY_HEADER: Final = "apikey"
#: In answers of our relay.
RELAY_HEADER: Final = "X-Lemmy-Safety-Relay"
#: In requests of our worker: its name for this run, and the rules that it judges by.
WORKER_HEADER: Final = "X-Lemmy-Safety-Worker"
RULES_HEADER: Final = "X-Lemmy-Safety-Rules"
#: In the request for work: seconds that the answer may take when there is none.
WAIT_PARAMETER: Final = "wait"
#: In the request for unchecked uploads: time and SHA-256 of the last one seen, separated by a comma.
AFTER_PARAMETER: Final = "after"

#: The rules recorded for a verdict whose worker did not name its rules.
UNKNOWN_RULES: Final = "unknown"

#: Uploads in one answer about what was accepted unchecked.
PAGE: Final = 500

#: The worker reads everything after "filename="; the legacy worker includes any quotes.
_NAME = re.compile(r'filename="?([A-Za-z0-9._~-]{1,200})"?\s*+$')
_TOKEN = re.compile(r"[A-Za-z0-9._+-]{1,100}")
_SUBTYPE = re.compile(r"[a-z0-9]{1,12}")


class BadMessage(ValueError):
    """A message of the other side is invalid."""


def image_name(number: str, media_type: str) -> str:
    """A name for a medium on the wire. Its ending is the claimed type, only for people who read the traffic."""
    subtype = media_type.partition("/")[2]
    return f"{number}.{subtype if _SUBTYPE.fullmatch(subtype) else 'bin'}"


def name_in(disposition: str) -> str:
    """The name in a Content-Disposition header.

    :raises BadMessage: it has no name that could be sent back.
    """
    found = _NAME.search(disposition)
    if found is None:
        raise BadMessage("a medium without a name")
    return found[1]


def is_token(text: str) -> bool:
    """Whether a text is a short name that is safe in a header, a log and a comma-separated list."""
    return _TOKEN.fullmatch(text) is not None


def wanted_wait(text: str | None, *, most: float) -> float:
    """Seconds that a worker is ready to wait; 0 for legacy workers, which do not send it."""
    try:
        seconds = float(text) if text is not None else 0.0
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), most) if math.isfinite(seconds) else 0.0
