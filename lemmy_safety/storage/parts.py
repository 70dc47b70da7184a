"""What a file is called while it is written: no listing gives it, because it is not an object yet.

One that a crash left behind holds what was to be written, or a part of it, and may be deleted.
"""

from __future__ import annotations

import secrets

_PREFIX = ".lemmy-safety-part-"


def new_part() -> str:
    """A name that no other file has."""
    return _PREFIX + secrets.token_hex(16)


def is_part(key: str) -> bool:
    # Asked of every key of a listing: most are told at once.
    return _PREFIX in key and key.rpartition("/")[2].startswith(_PREFIX)
