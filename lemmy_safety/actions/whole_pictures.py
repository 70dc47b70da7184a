"""Decides what goes when one object of a picture is flagged: the whole picture, the object alone, or nothing yet.

pict-rs makes the other sizes from an original. A detector that flags only a size may be wrong about the picture, so the
verdict on the original decides. Where pict-rs does not tell the original (without its database), the size is compared
with what was judged clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lemmy_safety.actions.base import ActionResult, Wait, later
from lemmy_safety.pictrs.keys import LATE_ARRIVAL
from lemmy_safety.pictrs.pictures.records import ORIGINAL, Found, Picture
from lemmy_safety.records import ActionState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from lemmy_safety.ledger import Ledger, PendingAction
    from lemmy_safety.pictrs.pictures.records import Resolution
    from lemmy_safety.storage.base import Storage


class FindsPictures(Protocol):
    """See ``pictrs/pictures/by_api.py`` and ``by_database.py``."""

    def by_keys(self, wanted: Mapping[str, str | None]) -> dict[str, Resolution]: ...


@dataclass(frozen=True, slots=True)
class AsFile:
    """The object goes alone, because its picture is not known, for this reason."""

    reason: str


Target: TypeAlias = Picture | AsFile | ActionResult


class WholePictures:
    """For the objects of one storage."""

    def __init__(self, *, finder: FindsPictures, ledger: Ledger) -> None:
        self._finder = finder
        self._ledger = ledger

    def of(self, storage: Storage, pending: PendingAction) -> Target:
        """What goes with a flagged object; an ``ActionResult`` if nothing may go yet.

        :raises PictrsTooOld: pict-rs before 0.5 does not tell which picture a file belongs to.
        :raises PictrsError: pict-rs cannot be asked.
        """
        key = pending.obj.key
        found = self._finder.by_keys({key: pending.sha256})[key]
        if isinstance(found, Found):
            waits = None if found.part == ORIGINAL or pending.confirmed else self._waits_for_original(storage, found)
            return found.picture if waits is None else waits
        if _age(storage, pending) < LATE_ARRIVAL:
            return later(Wait.REST, "pict-rs does not know it yet; looked up again later")
        alike = None if pending.confirmed else self._look_alike(storage, key)
        if alike is not None:
            return later(
                Wait.PERSON,
                f"it looks like {alike}, which was judged clear, and may be another size of it; pict-rs does not say",
            )
        return AsFile(found.reason)

    def _look_alike(self, storage: Storage, key: str) -> str | None:
        from lemmy_safety.fingerprints import MAX_DISTANCE  # noqa: PLC0415 - brings in numpy

        return self._ledger.objects.clear_look_alike(storage.name, key, most_bits=MAX_DISTANCE)

    def _waits_for_original(self, storage: Storage, found: Found) -> ActionResult | None:
        """For another size or a still: None if the original is to go as well."""
        original = found.picture.original
        state = self._ledger.objects.standing(storage.name, original)
        if state is None or not state.status.settled:
            return ActionResult(
                state=ActionState.INTENDED,
                detail=f"it is a size of {original}, which is judged first",
                wait=Wait.ORIGINAL,
                original=original,
            )
        if state.flagged and not state.cleared:
            return None
        return later(
            Wait.PERSON,
            f"only this size of {original} is flagged ({found.operation or found.part}); confirmed, the whole picture goes",
        )


def _age(storage: Storage, pending: PendingAction) -> timedelta:
    """How old the object is, by the clock that dates it."""
    return datetime.now(UTC) + storage.clock_ahead - pending.obj.modified_at
