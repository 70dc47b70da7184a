"""One walk over a folder of this machine: every regular file as a key and what the system knows of it.

Links are not followed. Nothing is read, and nothing is described that is not wanted.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, BadKey, ObjectGone
from lemmy_safety.storage.local.errors import translated
from lemmy_safety.storage.local.folder import is_junction
from lemmy_safety.storage.names import to_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.storage.local.folder import Folder
    from lemmy_safety.storage.wanted_keys import WantedKeys

_log = logging.getLogger(__name__)


#: Folders within folders that are looked into. pict-rs makes ten; each open one costs a descriptor while it is listed.
_MOST_LEVELS = 100


class LocalWalk:
    """One walk over a store. At its end ``refused`` holds the keys of the folders that could not be looked into."""

    def __init__(self, wanted: WantedKeys) -> None:
        self._wanted = wanted
        self.refused: list[str] = []

    def files(self, root: Folder) -> Iterator[tuple[str, os.stat_result]]:
        """(key, facts), folder by folder in the order of their names; files of one folder in any order.

        :raises StorageError: AccessDenied for the root, StorageUnreachable.
        """
        levels = [_Level(root, "")]
        try:
            yield from self._files_in(levels[0])
            while levels:
                level = levels[-1]
                if not level.below:
                    levels.pop().folder.close()
                    continue
                name = level.below.pop()
                key = level.key + to_key(os.fsencode(name)) + "/"
                try:
                    levels.append(level.deeper(name, key, depth=len(levels)))
                    yield from self._files_in(levels[-1])
                except (ObjectGone, BadKey):
                    continue  # gone since, or a link by now
                except AccessDenied as error:
                    _log.warning("not listed, but the rest is: %s", error.message)
                    self.refused.append(key)
        finally:
            for level in levels:
                level.folder.close()

    def _files_in(self, level: _Level) -> Iterator[tuple[str, os.stat_result]]:
        """What is wanted of one folder; ``level.below`` receives the names of the folders in it, the last one first."""
        with translated(f"folder {level.key!r}"), level.folder.entries() as entries:
            for entry in entries:
                key = level.key + to_key(os.fsencode(entry.name))
                if _is_folder(entry):
                    if self._wanted.leads_to_wanted(key):
                        level.below.append(entry.name)
                elif entry.is_file(follow_symlinks=False) and self._wanted.wants(key):
                    try:
                        facts = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # deleted since; pict-rs does that by itself
                    yield key, facts
        level.below.sort(reverse=True)


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder that is open; ``below`` are the folders in it that are still to be listed."""

    folder: Folder
    key: str
    below: list[str] = field(default_factory=list)

    def deeper(self, name: str, key: str, *, depth: int) -> _Level:
        """The folder of that name in this one."""
        if depth > _MOST_LEVELS:
            raise AccessDenied(f"{key!r} lies more than {_MOST_LEVELS} folders deep.")
        with translated(f"folder {key!r}"):
            return _Level(self.folder.child(name), key)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    return os.name != "nt" or not is_junction(entry.stat(follow_symlinks=False))
