"""Removes from pict-rs the pictures whose original is gone, so that links answer 404 and the bytes can be uploaded again.

In the order of every action: what goes is on disk, then that it is begun, then pict-rs is asked, then the outcome. What
is interrupted is finished by the next ``repair``. A picture whose original is in the storage is never removed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from lemmy_safety.actions.base import ActionResult, Wait, done, later
from lemmy_safety.actions.purging import is_stored
from lemmy_safety.actions.runner import LOOK_AGAIN_S, ActionReport
from lemmy_safety.errors import PictrsError, StorageError, is_about_one_object
from lemmy_safety.records import ActionState, PurgeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lemmy_safety.actions.caches import Caches
    from lemmy_safety.actions.guard import CircuitBreaker
    from lemmy_safety.actions.missing_originals import Broken, MissingOriginals
    from lemmy_safety.actions.purging import Purger
    from lemmy_safety.ledger import Ledger, Purge
    from lemmy_safety.storage.base import Storage

log = logging.getLogger(__name__)

#: The word for it in reports.
REPAIR: Final = "repair"

#: Pictures that are asked to be removed before pict-rs is given time to do it.
_BATCH: Final = 50

_BACK = "its original is in the storage again; the picture was left alone"


class Repairer:
    """For the pictures of one pict-rs, whose objects are in one storage."""

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        purger: Purger,
        guard: CircuitBreaker,
        missing: MissingOriginals,
        caches: Caches | None = None,
    ) -> None:
        """``caches`` are told what was removed."""
        self.missing = missing
        self.guard = guard
        self.ledger = ledger
        self._storage = storage
        self._purger = purger
        self._caches = caches

    def carry_out(
        self, found: Sequence[Broken], *, approved: bool, wait: Callable[[float], bool]
    ) -> Iterator[ActionReport]:
        """Remove these pictures; yields a report of each, by the key of its original.

        ``approved``: a person saw these very pictures and confirmed, so neither a limit nor many aliases hold them.
        ``wait`` pauses for some seconds and returns whether the run is asked to stop.

        :raises PictrsError: pict-rs cannot be asked, or refuses; what was begun is finished by the next ``repair``.
        :raises LedgerError: nothing can be recorded; then nothing more is removed.
        """
        for start in range(0, len(found), _BATCH):
            sent: dict[str, ActionReport] = {}
            stopped = False
            for one in found[start : start + _BATCH]:
                stopped = wait(0)
                if stopped:
                    break
                report = self._reported(one.picture.original, self._begin, one, approved=approved)
                if report.result.wait is Wait.REMOVAL:
                    sent[report.key] = report
                else:
                    yield report
            yield from self._see_removed(sent, wait)
            if stopped:
                return
        if self._caches is not None:
            self._caches.tell(wait)

    def _see_removed(self, sent: dict[str, ActionReport], wait: Callable[[float], bool]) -> Iterator[ActionReport]:
        for seconds in LOOK_AGAIN_S:
            if not sent or wait(seconds):
                break
            for key in tuple(sent):
                sent[key] = self._reported(key, self._look, key)
                if sent[key].result.wait is not Wait.REMOVAL:
                    yield sent.pop(key)
        yield from sent.values()

    def _begin(self, one: Broken, *, approved: bool) -> ActionResult:
        original = one.picture.original
        begun = one.begun
        if begun is not None and begun.state is PurgeState.SENT:
            return self._look(original)
        if is_stored(self._storage, original):
            return ActionResult(state=ActionState.REFUSED, detail=_BACK)
        self._storage.ensure_mounted(original)
        purge = self._purger.plan(self._storage, one.picture, one.key)
        confirmed = approved or purge.approved
        if not confirmed and (waits := self._purger.too_many(purge)) is not None:
            return waits
        if not self.guard.admits_repair(purge.id, approved=confirmed):
            return later(Wait.BREAKER, "the limits allow no more today without a person")
        return self._purger.send(purge, confirmed=confirmed)

    def _look(self, original: str) -> ActionResult:
        purge = self.ledger.purges.open_for(self._storage.name, original)
        if purge is None:
            return done("was removed meanwhile")
        if is_stored(self._storage, original):
            return self._back(purge)
        return self._purger.look(self._storage, purge)

    def _back(self, purge: Purge) -> ActionResult:
        """The original was put back after pict-rs was asked to remove the picture."""
        if not self._purger.is_gone(purge):
            return ActionResult(state=ActionState.REFUSED, detail=_BACK)
        self.ledger.purges.end(purge.id, PurgeState.GONE)
        return done("purged from pict-rs; its original is in the storage again, where pict-rs does not use it")

    def _reported(self, key: str, step: Callable[..., ActionResult], *args: object, **more: object) -> ActionReport:
        """A step about one picture. An error about this picture alone is a result."""
        try:
            result = step(*args, **more)
        except PictrsError as error:
            if type(error) is not PictrsError:
                raise
            result = ActionResult(state=ActionState.INTENDED, detail=error.message)
        except StorageError as error:
            if not is_about_one_object(error):
                raise
            result = ActionResult(state=ActionState.FAILED, detail=error.message)
        level = logging.INFO if result.state is ActionState.DONE else logging.WARNING
        if result.wait not in {Wait.REMOVAL, Wait.BREAKER}:  # what the limits hold is said once, at the end
            log.log(level, "repair %s key=%r detail=%s", result.state.value, key, result.detail)
        return ActionReport(key=key, action=REPAIR, result=result)
