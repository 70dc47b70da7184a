"""Delete the object from the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lemmy_safety.actions.base import Action

if TYPE_CHECKING:
    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.base import Storage


class DeleteAction(Action):
    """Removes the object. pict-rs keeps its record of it and its other sizes: see docs/operations.md."""

    name: ClassVar[str] = "delete"

    def carry_out(self, storage: Storage, obj: StoredObject, sha256: str | None) -> str:
        was_there = storage.delete(obj.key, expected=obj, sha256=sha256)
        return "deleted" if was_there else "was already gone"
