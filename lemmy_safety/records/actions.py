"""Which action an object needs, how far it got, and what a person decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionState(StrEnum):
    """How far the action for a flagged object has got."""

    NONE = "none"
    """Nothing wanted: not flagged, or flagged in a dry run or under ACTION=report."""
    INTENDED = "intended"
    """Decided and on disk, but not known to be carried out; finished at the next start."""
    DONE = "done"
    """Carried out (an object that was already gone counts: nothing is left to do)."""
    REFUSED = "refused"
    """Not carried out because the object is no longer the one that was judged; it will be judged again."""
    FAILED = "failed"
    """The storage refused permanently (no permission); listed in ``flagged`` until it works."""
    UNKNOWN = "unknown"
    """Imported from the legacy database, which did not say whether it acted."""
    DROPPED = "dropped"
    """Intended once and no longer wanted: the object was judged again, or a person cleared it."""


class PurgeState(StrEnum):
    """How far the removal of a picture through pict-rs has got."""

    PLANNED = "planned"
    """What will go is on disk; pict-rs is not known to have accepted the request."""
    SENT = "sent"
    """pict-rs accepted it, and removes the picture some time later."""
    GONE = "gone"
    """Its aliases are unknown to pict-rs, and its objects are not in the storage."""
    FAILED = "failed"
    """pict-rs accepted the request again and again, and did not remove it."""


class Review(StrEnum):
    """What a human decided about a flagged object."""

    NONE = "none"
    CLEARED = "cleared"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """The actions for flagged and for undecodable objects; None: only report.

    The empty plan, ``ActionPlan()``, acts on nothing. A dry run uses it.
    """

    flagged: str | None = None
    unreadable: str | None = None

    def __bool__(self) -> bool:
        return self.flagged is not None or self.unreadable is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSoFar:
    """What a pass has judged: ``judged`` objects, and by detector how many of them it flagged."""

    run_id: int
    judged: int = 0
    flagged_by: Mapping[str, int] = field(default_factory=dict)
