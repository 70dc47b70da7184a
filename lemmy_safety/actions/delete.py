"""Delete the object from the storage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from lemmy_safety.actions.base import Action, ActionResult, done

if TYPE_CHECKING:
    from lemmy_safety.ledger import PendingAction
    from lemmy_safety.storage.base import Storage


class DeleteAction(Action):
    """Removes the object. pict-rs keeps its record of it and its other sizes: see docs/operations.md."""

    name: ClassVar[str] = "delete"

    def __init__(self, *, as_file: bool = False) -> None:
        """``as_file``: pict-rs was asked, and does not know the object's picture."""
        self._as_file = as_file

    def carry_out(self, storage: Storage, pending: PendingAction) -> ActionResult:
        was_there = storage.delete(pending.obj.key, expected=pending.obj, sha256=pending.sha256)
        if not was_there:
            return done("was already gone")
        return replace(done("deleted"), as_file=self._as_file)
