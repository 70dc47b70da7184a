"""pict-rs's ``files`` folder on this machine, or any other folder.

Symbolic links are never followed, neither listed nor read, wherever they point: a link in a store can only have been
put there by hand, and a deletion must not leave the folder that the admin named. That is true even while another
program
replaces folders with links: everything is reached from the root by descriptors (``folder``). Only regular files are
objects, so a pipe named ``.jpg`` cannot block a sweep. Keys are the text form of file names (``names``).
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectGone,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.home import expanded_if_known
from lemmy_safety.pictrs import keys
from lemmy_safety.pictrs.layout import TELLING_FOLDERS, too_wide
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import Storage, too_large
from lemmy_safety.storage.judged import raise_unless_judged
from lemmy_safety.storage.local.errors import translated
from lemmy_safety.storage.local.folder import rename_without_overwriting
from lemmy_safety.storage.local.tree import LocalTree
from lemmy_safety.storage.local.walk import LocalWalk
from lemmy_safety.storage.local.writing import write_file
from lemmy_safety.storage.names import to_key
from lemmy_safety.storage.pace import PacedStream
from lemmy_safety.storage.wanted_keys import WantedKeys
from lemmy_safety.storage.wrong_folder import refuse, refuse_wrong_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.storage.pace import Pace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_US = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

# A parallel deletion may remove a new folder as empty before a file is put into it. Each
# attempt takes microseconds, so many attempts are affordable.
_ATTEMPTS = 50
_CHUNK_BYTES = 1 << 16


class LocalStorage(Storage):
    """One folder. ``root`` itself may be a symbolic link; its target when this object is made is the root."""

    settle_s = 5.0
    whole_listing_up_to = 5_000  # a walk of about a second, ten folders an object

    def __init__(self, root: str | Path) -> None:
        super().__init__()
        # Not Path.resolve, which raises RuntimeError for a link to itself; opening it reports what is wrong.
        try:
            resolved = Path(os.path.realpath(root))
        except ValueError:  # NUL
            resolved = Path(root).absolute()
        self._root = str(resolved)
        self.name = f"local:{to_key(os.fsencode(resolved.as_posix()))}"
        self._tree = LocalTree(self._root, self.name)

    def open(self) -> None:
        home = expanded_if_known(Path("~"))
        refuse(self, too_wide(Path(self._root).as_posix(), Path(os.path.realpath(home)).as_posix()))
        self._tree.begin()
        there = [name for name in TELLING_FOLDERS if self._tree.is_folder(name)]
        refuse_wrong_folder(self, Path(self._root).as_posix(), there)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, created_from: datetime | None
    ) -> Iterator[StoredObject]:
        walk = LocalWalk(WantedKeys(prefix=prefix, after=after or "", created_from=created_from))
        with self._tree.open() as root:
            for key, facts in walk.files(root):
                obj = _described(key, facts)
                if since is None or obj.modified_since(since):
                    yield obj
        self._tree.open().close()
        if walk.refused:
            raise AccessDenied(
                f"{len(walk.refused)} folders of {self.name} may not be read, the first is {walk.refused[0]!r}; "
                "everything else was listed.",
                hint="Give this user read and execute permission on the folders.",
            )

    def ordered_keys(self) -> Iterator[str]:
        # Folders are walked in the order of their names.
        with self._tree.open() as root:
            for key, _ in LocalWalk(WantedKeys(prefix=keys.V7_ROOT)).files(root):
                yield key

    def _read(self, key: str, max_bytes: int, pace: Pace | None) -> bytes:
        with self._tree.at(key) as (folder, name):
            # Checked before it is opened: opening a pipe or a device can have side effects.
            self._tree.regular(key, folder, name)
            with os.fdopen(folder.open_file(name), "rb", buffering=0) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise ObjectGone(f"{key!r} is not a regular file any more.")
                if facts.st_size > max_bytes:
                    raise too_large(key, max_bytes)
                data, stream = bytearray(), PacedStream(pace, facts.st_size)
                # pict-rs may still be writing it, so there can be more than its size said.
                while chunk := file.read(
                    stream.piece(
                        len(data), min(max_bytes + 1, max(facts.st_size + 1, len(data) + _CHUNK_BYTES)) - len(data)
                    )
                ):
                    data += chunk
                    if len(data) > max_bytes:
                        raise too_large(key, max_bytes)
        return bytes(data)

    def _stat(self, key: str) -> StoredObject:
        with self._tree.at(key) as (folder, name):
            return _described(key, self._tree.regular(key, folder, name))

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        try:
            with self._tree.at(key) as (folder, name):
                raise_unless_judged(_described(key, self._tree.regular(key, folder, name)), expected)
                folder.unlink(name)
        except ObjectGone:
            return False
        self._tree.remove_empty_parents(key)
        return True

    def _move(self, key: str, new_key: str) -> None:
        if not self._tree.exists(key) and self._tree.exists(new_key):
            return
        self._stat(key)
        for _ in range(_ATTEMPTS):
            try:
                with self._tree.at(key) as (source, name), self._tree.at(new_key, make=True) as (target, new_name):
                    rename_without_overwriting(source, name, target, new_name)
            except ObjectGone:
                self._stat(key)
            except ObjectChanged:
                if self._tree.exists(new_key):
                    raise
            else:
                self._tree.remove_empty_parents(key)
                return
        raise self._no_folder_for(new_key, f"{key!r} was left alone")

    def _is_empty(self) -> bool:
        with self._tree.open() as root, translated(self.name), root.entries() as entries:
            return next(entries, None) is None

    def _write_new(self, key: str, data: bytes) -> bool:
        for _ in range(_ATTEMPTS):
            try:
                with self._tree.at(key, make=True) as (folder, name):
                    if folder.exists(name):
                        return False
                    write_file(folder, name, data)
            except ObjectGone:
                continue
            except ObjectChanged:
                return False
            except StorageError:
                self._tree.remove_empty_parents(key)
                raise
            else:
                return True
        raise self._no_folder_for(key, "nothing was written")

    def _no_folder_for(self, key: str, so: str) -> StorageError:
        if self._tree.leads_through_a_file(key):
            return ObjectChanged(f"{key!r} cannot be made, one of its folders is a file; {so}.")
        return StorageUnreachable(f"The folder of {key!r} was removed again and again; {so}.")


def _described(key: str, facts: os.stat_result) -> StoredObject:
    # Whole microseconds by integer arithmetic; a disk can hold times that a datetime cannot.
    microseconds = min(max(facts.st_mtime_ns // 1000, 0), _YEAR_9999_US)
    return StoredObject(key=key, size=facts.st_size, modified_at=_EPOCH + timedelta(microseconds=microseconds))
