"""One walk over a folder of this machine: yields every regular file as a key and the system's facts about it.

Does not follow links. Reads no file, and describes only what is wanted.
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


#: Deepest nesting that is visited. pict-rs makes ten levels; each open one costs a descriptor while it is listed.
_MOST_LEVELS = 100


class LocalWalk:
    """One walk over a store. At its end ``refused`` holds the keys of the folders that could not be listed."""

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
                    continue  # deleted since, or now a link
                except AccessDenied as error:
                    _log.warning("not listed, but the rest is: %s", error.message)
                    self.refused.append(key)
        finally:
            for level in levels:
                level.folder.close()

    def _files_in(self, level: _Level) -> Iterator[tuple[str, os.stat_result]]:
        """The wanted files of one folder; ``level.below`` receives the names of its subfolders, the last one first."""
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
                        continue  # deleted since; pict-rs does that itself
                    yield key, facts
        level.below.sort(reverse=True)


@dataclass(frozen=True, slots=True)
class _Level:
    """An open folder; ``below`` are its subfolders that are still to be listed."""

    folder: Folder
    key: str
    below: list[str] = field(default_factory=list)

    def deeper(self, name: str, key: str, *, depth: int) -> _Level:
        """The subfolder of that name."""
        if depth > _MOST_LEVELS:
            raise AccessDenied(f"{key!r} lies more than {_MOST_LEVELS} folders deep.")
        with translated(f"folder {key!r}"):
            return _Level(self.folder.child(name), key)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    return os.name != "nt" or not is_junction(entry.stat(follow_symlinks=False))
