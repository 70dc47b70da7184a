"""One walk over a folder of this machine: every regular file as a key and what the system knows of it.

Links are not followed. Nothing is read, and nothing is described that is not wanted.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, ObjectGone
from lemmy_safety.storage.local.errors import translated
from lemmy_safety.storage.names import to_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.storage.wanted_keys import WantedKeys

_log = logging.getLogger(__name__)


class LocalWalk:
    """Iterate once for (key, facts), folder by folder in the order of their names; files of one folder in any order.

    At the end ``refused`` holds the keys of the folders that may not be read.

    :raises StorageError: AccessDenied for the root, StorageUnreachable.
    """

    def __init__(self, root: str, wanted: WantedKeys) -> None:
        self._root = root
        self._wanted = wanted
        self.refused: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        waiting = [("", self._root)]
        while waiting:
            folder_key, folder = waiting.pop()
            below: list[tuple[str, str]] = []
            try:
                with translated(f"folder {folder_key!r}"), os.scandir(folder) as entries:
                    for entry in entries:
                        key = folder_key + to_key(os.fsencode(entry.name))
                        if _is_folder(entry):
                            if self._wanted.leads_to_wanted(key):
                                below.append((key + "/", entry.path))
                        elif entry.is_file(follow_symlinks=False) and self._wanted.wants(key):
                            try:
                                facts = entry.stat(follow_symlinks=False)
                            except FileNotFoundError:
                                continue  # deleted since; pict-rs does that by itself
                            yield key, facts
            except ObjectGone:
                continue
            except AccessDenied:
                if folder == self._root:
                    raise
                _log.warning("folder %r may not be read; the rest is listed", folder_key)
                self.refused.append(folder_key)
            waiting += sorted(below, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    if os.name != "nt":
        return True
    # A junction is Windows's other link to a folder, and passes for a folder.
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return bool(tag != getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None))
