"""Delete, where pict-rs can be asked: the whole picture is removed through pict-rs, at every size and under every name."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

from lemmy_safety.actions.base import NOT_WANTED, Action, ActionResult, Wait, done, later
from lemmy_safety.actions.delete import DeleteAction
from lemmy_safety.actions.purging import is_stored
from lemmy_safety.actions.whole_pictures import AsFile
from lemmy_safety.errors import (
    NotPictrs,
    ObjectChanged,
    PictrsElsewhere,
    PictrsError,
    PictrsLoginRefused,
    PictrsNotForwarded,
    PictrsReadOnly,
    PictrsTablesUnknown,
    PictrsTooOld,
    PictrsUnreachable,
)
from lemmy_safety.records import PurgeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.actions.purging import Blocked, Purger
    from lemmy_safety.actions.whole_pictures import WholePictures
    from lemmy_safety.ledger import Ledger, PendingAction, Purge
    from lemmy_safety.storage.base import Storage

#: Errors about pict-rs as a whole. After one, nothing is asked for a while: each time-out takes seconds.
_ABOUT_ALL: Final = (
    NotPictrs,
    PictrsElsewhere,
    PictrsLoginRefused,
    PictrsNotForwarded,
    PictrsReadOnly,
    PictrsTablesUnknown,
    PictrsUnreachable,
)
_QUIET_S: Final = 20.0


class PurgeAction(Action):
    """Removes the object's picture through pict-rs; the object alone if pict-rs does not say which picture it is of."""

    name: ClassVar[str] = DeleteAction.name
    tells_pictrs: ClassVar[bool] = True

    def __init__(
        self,
        *,
        purger: Purger,
        pictures: WholePictures,
        ledger: Ledger,
        check_belonging: Callable[[Callable[[str], bool]], object],
    ) -> None:
        """``check_belonging`` raises PictrsElsewhere if pict-rs's pictures are not in the storage that it is asked about."""
        self._purger = purger
        self._pictures = pictures
        self._ledger = ledger
        self._check_belonging = check_belonging
        self._as_file = DeleteAction(as_file=True)
        self._last: set[int] = set()
        self._belongs = False
        self._trouble: PictrsError | None = None
        self._quiet_until = 0.0

    def follow_up(self, storage: Storage, pending: PendingAction) -> ActionResult | None:
        purge = self._ledger.purges.open_for(storage.name, pending.obj.key)
        if purge is None or purge.state is not PurgeState.SENT:
            return None
        with self._asking():
            return self._purger.look(storage, purge, blocked=self._blocked(storage, pending))

    def prepare(self, storage: Storage, pending: PendingAction) -> ActionResult | None:
        key = pending.obj.key
        with self._asking():
            try:
                self._ensure_belonging(storage)
                target = self._pictures.of(storage, pending)
            except PictrsTooOld as error:  # it does not tell which picture a file belongs to
                return self._put_off(pending, error.message)
            if isinstance(target, ActionResult):
                if not is_stored(storage, key):
                    return self._gone(storage, pending)
                return (target.wait is Wait.REST and self._put_off(pending, target.detail)) or target
            if isinstance(target, AsFile):
                return self._put_off(pending, target.reason)
            if is_stored(storage, key) and not storage.is_unchanged(pending.obj, pending.sha256):
                raise ObjectChanged(f"{key!r} changed since it was judged; it was left alone.")
            purge = self._purger.plan(storage, target, key)
            if (why := self._blocked(storage, pending)(purge)) is not None:
                return why
            return None if pending.confirmed else self._purger.too_many(purge)

    def carry_out(self, storage: Storage, pending: PendingAction) -> ActionResult:
        purge = self._ledger.purges.open_for(storage.name, pending.obj.key)
        if purge is None:
            return self._as_file.carry_out(storage, pending)
        with self._asking():
            return self._purger.send(purge, confirmed=pending.confirmed, blocked=self._blocked(storage, pending))

    def _blocked(self, storage: Storage, pending: PendingAction) -> Blocked:
        """Whether a person meanwhile cleared the object, or any part of its picture."""

        def blocked(purge: Purge, /) -> ActionResult | None:
            if not self._ledger.actions.is_intended(pending.id):
                return NOT_WANTED
            cleared = self._ledger.objects.cleared(storage.name, purge.keys)
            if cleared is None:
                return None
            return later(
                Wait.PERSON,
                f"it would take {cleared} along, which a person cleared; confirm that one too, or clear this one",
            )

        return blocked

    def _put_off(self, pending: PendingAction, why: str) -> ActionResult | None:
        """A file that may be another size goes last: removing a flagged original removes it too."""
        if pending.id in self._last:
            return None
        self._last.add(pending.id)
        return later(Wait.ORIGINAL, f"it goes after the pictures that are known: {why}")

    def _gone(self, storage: Storage, pending: PendingAction) -> ActionResult:
        storage.ensure_mounted(pending.obj.key)
        return done("was already gone")

    def _ensure_belonging(self, storage: Storage) -> None:
        if not self._belongs:
            self._check_belonging(lambda key: is_stored(storage, key))
            self._belongs = True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Repeats an error about pict-rs as a whole for a while instead of asking again."""
        if self._trouble is not None and time.monotonic() < self._quiet_until:
            raise self._trouble
        try:
            yield
        except _ABOUT_ALL as error:
            self._trouble, self._quiet_until = error, time.monotonic() + _QUIET_S
            raise
        self._trouble = None
