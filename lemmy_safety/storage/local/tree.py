"""Paths below the root of a folder on this machine: everything is reached from the root, and nothing through a link.

Refusals by the operating system are raised as a ``StorageError``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, BadKey, ObjectGone, StorageError, StorageMissing, StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.local.errors import refused_on_windows, translated
from lemmy_safety.storage.local.folder import Folder, make_folders
from lemmy_safety.storage.names import from_key

if TYPE_CHECKING:
    from collections.abc import Iterator


class LocalTree:
    """The tree below one root. Use it from any thread."""

    def __init__(self, root: str, name: str) -> None:
        """``root`` is a path without links; ``name`` is the storage's."""
        self._root = root
        self._name = name
        self._identity: tuple[int, int] | None = None

    def begin(self) -> None:
        """Make the folder that exists now, if it may be listed, the root from now on.

        :raises StorageError: as ``open``.
        """
        self._identity = None
        with self.open() as root, translated(self._name):
            with root.entries():
                pass
            self._identity = root.identity

    def open(self) -> Folder:
        """The root, checked to be the folder that was opened. Everything is reached from it.

        :raises StorageError: StorageMissing, AccessDenied, or StorageUnreachable if another folder has replaced it.
        """
        hint = "Check PICTRS_FILES_DIRECTORY; with lemmy-ansible it ends in volumes/pictrs/files."
        try:
            with translated(self._name):
                root = Folder.root(self._root)
        except ValueError as error:
            raise StorageMissing(f"{self._name} is not the name of a folder: {foreign(error)}.", hint=hint) from error
        except BadKey as error:  # links in a circle, or a name that is too long
            raise StorageMissing(error.message, hint=hint) from error
        except ObjectGone as error:
            if os.path.lexists(self._root):
                raise StorageMissing(f"{self._name} is not a folder.", hint=hint) from error
            raise StorageMissing(f"The folder {self._name} does not exist.", hint=hint) from error
        try:
            with translated(self._name):
                identity = root.identity
        except StorageError:
            root.close()
            raise
        if self._identity is not None and identity != self._identity:
            root.close()
            raise StorageUnreachable(
                f"{self._name} is no longer the folder that was opened.",
                hint="Check that its file system is still mounted.",
            )
        return root

    @contextlib.contextmanager
    def at(self, key: str, *, make: bool = False) -> Iterator[tuple[Folder, str]]:
        """The open folder of a key, and the key's name in it. With ``make``, missing folders are created.

        :raises BadKey: a link leads there, or this system cannot name such a file. Refusals by the system inside the
            ``with`` are translated too.
        """
        *folders, name = self._parts(key)
        with self.open() as root, self._translated(key):
            if make:
                make_folders(root, folders)
            with root.descend(folders) as folder:
                yield folder, name

    def exists(self, key: str) -> bool:
        try:
            with self.at(key) as (folder, name):
                return folder.exists(name)
        except ObjectGone:
            return False

    def is_folder(self, path: str) -> bool:
        with contextlib.suppress(ObjectGone, AccessDenied, BadKey), self.at(path) as (folder, name):
            return stat.S_ISDIR(folder.lstat(name).st_mode)
        return False

    def leads_through_a_file(self, key: str) -> bool:
        *folders, _ = self._parts(key)
        for count in range(len(folders)):
            with contextlib.suppress(ObjectGone), self.at("/".join(key.split("/")[: count + 1])) as (folder, name):
                if not stat.S_ISDIR(folder.lstat(name).st_mode):
                    return True
        return False

    def regular(self, key: str, folder: Folder, name: str) -> os.stat_result:
        facts = folder.lstat(name)
        if stat.S_ISLNK(facts.st_mode):
            raise BadKey(f"{key!r} is a symbolic link.", hint="Links in the store are never followed.")
        if not stat.S_ISREG(facts.st_mode):
            raise ObjectGone(f"{key!r} is not a regular file.")
        return facts

    def remove_empty_parents(self, key: str) -> None:
        """Remove folders that a deletion left empty, as pict-rs does; only empty ones, and never the root.

        Folders that cannot be removed stay: the deletion itself is done.
        """
        *folders, _ = self._parts(key)
        with contextlib.suppress(OSError, StorageError), contextlib.ExitStack() as opened:
            chain = [opened.enter_context(self.open())]
            with contextlib.suppress(FileNotFoundError):  # another thread was faster; the parents may be ours
                for name in folders[:-1]:
                    chain.append(opened.enter_context(chain[-1].child(name)))
            for folder, name in reversed(list(zip(chain, folders, strict=False))):
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir(name)

    def _parts(self, key: str) -> list[str]:
        name = os.fsdecode(from_key(key))
        if os.name == "nt" and refused_on_windows(name):
            raise BadKey(f"{key!r} cannot be the name of a file on Windows.")
        return name.split("/")

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            with translated(f"{key!r} in {self._name}"):
                yield
        except ObjectGone:
            # If the whole folder were missing, every object would look deleted.
            self.open().close()
            raise
