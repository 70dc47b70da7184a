"""Which keys a listing of folders wants, and which folders it can skip. Pure; touches no storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.pictrs import keys
from lemmy_safety.storage.parts import is_part

if TYPE_CHECKING:
    from datetime import datetime

#: Where a file system check puts what it recovers, in the root of each ext volume, readable by root only. It is not
#: pict-rs's, and a volume mounted as the store must not be refused for it in every pass.
LOST_AND_FOUND = "lost+found"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKeys:
    """``prefix`` and ``after`` as in ``Storage.list``.

    ``created_from`` leaves out what pict-rs's time-ordered keys prove to be older, and everything outside that scheme.
    """

    prefix: str = ""
    after: str = ""
    created_from: datetime | None = None

    @property
    def folder(self) -> str:
        """The deepest folder known to contain all wanted keys, without a slash at its end; "" is the root."""
        folder = self.prefix.rpartition("/")[0]
        return keys.V7_ROOT.rstrip("/") if not folder and self.created_from is not None else folder

    def wants(self, key: str) -> bool:
        if not key.startswith(self.prefix) or key <= self.after or is_part(key):
            return False
        if self.created_from is None:
            return True
        created_at = keys.created_at(key)
        return created_at is not None and created_at >= self.created_from

    def leads_to_wanted(self, folder: str) -> bool:
        """Whether a wanted key can be below this folder (no slash at its end, not the root)."""
        if folder == LOST_AND_FOUND:
            return False
        below = folder + "/"
        if not (below.startswith(self.prefix) or self.prefix.startswith(below)):
            return False
        if below < self.after and not self.after.startswith(below):
            return False
        if self.created_from is None:
            return True
        newest = keys.newest_below(folder)
        return newest is not None and newest > self.created_from
