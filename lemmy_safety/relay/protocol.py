"""What a worker and a server of uploads say to each other: pictrs-safety's protocol, and our additions to it.

pictrs-safety (2023): ``GET /api/v1/pop`` with the header ``apikey`` gives 200 with a medium and its name in
``Content-Disposition``, or 204; ``POST /api/v1/pop`` tells the result as JSON (``image``, ``is_csam``, ``is_nsfw``) and
gives 201, or 404 when nobody waits for it any more. A wrong key gives 403. A worker that was not heard of for 5 s counts
as gone. It stores media re-encoded, so what it hands out is not, byte for byte, what pict-rs has.

Our additions never get in the way of the other side's software: headers that it does not look at, and fields of JSON
that it leaves out. A relay of ours says so in each answer; only then does our worker use the rest.

Here are the names of things; ``messages.py`` has the JSON, and ``fields.py`` its bounds. Pure: no network, no clock.
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
#: In requests of our worker: a name that it has for one run, and by which rules it judges.
WORKER_HEADER: Final = "X-Lemmy-Safety-Worker"
RULES_HEADER: Final = "X-Lemmy-Safety-Rules"
#: In the question for work: seconds that the answer may take when there is none.
WAIT_PARAMETER: Final = "wait"
#: In the question for unchecked uploads: time and SHA-256 of the last one seen, with a comma between.
AFTER_PARAMETER: Final = "after"

#: Under which rules a verdict stands that a worker gave without saying so.
UNKNOWN_RULES: Final = "unknown"

#: Uploads in one answer about what was accepted unchecked.
PAGE: Final = 500

#: The worker reads what stands behind "filename=" up to the end; the ancestor's takes it with any quotes.
_NAME = re.compile(r'filename="?([A-Za-z0-9._~-]{1,200})"?\s*+$')
_TOKEN = re.compile(r"[A-Za-z0-9._+-]{1,100}")
_SUBTYPE = re.compile(r"[a-z0-9]{1,12}")


class BadMessage(ValueError):
    """What the other side said is not what it can have meant."""


def image_name(number: str, media_type: str) -> str:
    """A name for a medium on the wire; its ending is what the sender claims, and only for people who look at traffic."""
    subtype = media_type.partition("/")[2]
    return f"{number}.{subtype if _SUBTYPE.fullmatch(subtype) else 'bin'}"


def name_in(disposition: str) -> str:
    """The name in a Content-Disposition header.

    :raises BadMessage: there is none that could be sent back.
    """
    found = _NAME.search(disposition)
    if found is None:
        raise BadMessage("a medium without a name")
    return found[1]


def is_token(text: str) -> bool:
    """Whether a text is a short name that may stand in a header, a log and a list with commas."""
    return _TOKEN.fullmatch(text) is not None


def wanted_wait(text: str | None, *, most: float) -> float:
    """Seconds that a worker is ready to wait; those of the ancestor do not say and wait for nothing."""
    try:
        seconds = float(text) if text is not None else 0.0
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), most) if math.isfinite(seconds) else 0.0
