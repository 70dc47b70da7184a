"""The name of a file while it is written: no listing yields it, because it is not an object yet.

A file with such a name after a crash holds what was to be written, or part of it, and may be deleted.
"""

from __future__ import annotations

import secrets

_PREFIX = ".lemmy-safety-part-"


def new_part() -> str:
    """A name that no other file has."""
    return _PREFIX + secrets.token_hex(16)


def is_part(key: str) -> bool:
    # Called for every key of a listing: most are decided at once.
    return _PREFIX in key and key.rpartition("/")[2].startswith(_PREFIX)
