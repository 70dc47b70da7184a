"""What the ledger reports about objects, other than verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from lemmy_safety.records import Assessment, ItemStatus, StoredObject


class FailingObject(NamedTuple):
    """An object that could not be read or judged in the last ``passes`` passes, and the latest reason."""

    key: str
    reason: str
    passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingObjects:
    """How many objects fail pass after pass, and the first of them."""

    number: int
    first: tuple[FailingObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """What a pass recorded about an object, and when."""

    assessment: Assessment
    checked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalOnRecord:
    """A picture that variants were made of, as it was last judged, and the pass that recorded it.

    ``is_enough``: its verdict is also valid for its variants. ``longer_side`` is in pixels, None if it is not known.
    """

    obj: StoredObject
    run_id: int | None
    is_enough: bool
    longer_side: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What counts for an object now: its status after the last pass, whether it is flagged, and whether a person cleared
    it.
    """

    status: ItemStatus
    flagged: bool
    cleared: bool
