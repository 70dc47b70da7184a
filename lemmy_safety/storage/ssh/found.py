"""A file as a listing found it, with the rules common to both ways to list (``find``, ``sftp_listing``).

Neither way follows symbolic links, and both yield regular files only. Paths are bytes relative to the root, times are
whole seconds as SFTP counts them, so that both ways and ``stat`` describe a file alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lemmy_safety.errors import AccessDenied

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One regular file: path relative to the root, size in bytes, mtime in seconds since 1970 modulo 2**32."""

    path: bytes
    size: int
    mtime: int


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def denied(name: str, count: int, first: str) -> AccessDenied:
    return AccessDenied(
        f"{count} folders of {name} may not be read, the first is {first}; everything else was listed.",
        hint="Give this user read and execute permission on the folders.",
    )
