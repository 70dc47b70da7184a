"""What can be done about a flagged object. The runner writes intents and outcomes; an action only acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.base import Storage


class Action(ABC):
    """One idempotent action: carrying it out twice has the same effect as once."""

    #: The name stored with the intent and used in ``--action``.
    name: ClassVar[str]

    @abstractmethod
    def carry_out(self, storage: Storage, obj: StoredObject, sha256: str | None) -> str:
        """Act on ``obj`` if it is still the object that was judged; returns what was done, in a few words.

        ``sha256`` is that of the judged bytes, if known.

        :raises StorageError: ObjectChanged (nothing was done), AccessDenied, StorageUnreachable, BadKey.
        """
