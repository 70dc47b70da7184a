"""What the ledger reports about the removal of pictures through pict-rs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.records import PurgeState


class PurgeAlias(NamedTuple):
    """A name in URLs. ``origin_url``: what a proxied picture is a copy of; None if it is none, or not known."""

    name: str
    origin_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """The removal of one picture, with everything that goes.

    ``sha256`` (of the original) is None if pict-rs did not say. ``original`` and ``keys`` are keys of the storage; pict-rs
    does not name those of the other sizes unless its database is asked. ``tries``: how many times pict-rs accepted the
    request, the last time at ``sent_at``. ``repair_at``: when ``repair`` began it, None if it results from an action;
    ``approved``: a person approved exactly this repair.
    """

    id: int
    sha256: str | None
    original: str
    aliases: tuple[PurgeAlias, ...]
    keys: tuple[str, ...]
    state: PurgeState
    sent_at: datetime | None
    tries: int
    repair_at: datetime | None = None
    approved: bool = False
