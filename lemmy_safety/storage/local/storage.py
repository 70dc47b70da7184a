"""pict-rs's ``files`` folder on this machine, or any other folder.

Symbolic links are never followed, neither listed nor read, wherever they point: a link in a store can only have been
put there by hand, and a deletion must not leave the folder the admin named. That holds also while somebody exchanges
folders for links: everything is reached from the root by descriptors (``folder``). Only regular files are objects, so a
pipe named ``.jpg`` cannot block a sweep. Keys are the text form of file names (``names``).
"""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    BadKey,
    ObjectChanged,
    ObjectGone,
    ObjectTooLarge,
    StorageError,
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.foreign import foreign
from lemmy_safety.home import expanded_if_known
from lemmy_safety.pictrs import keys
from lemmy_safety.pictrs.layout import TELLING_FOLDERS, too_wide
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import ProbeStep, Storage
from lemmy_safety.storage.local.errors import refused_on_windows, translated
from lemmy_safety.storage.local.folder import Folder
from lemmy_safety.storage.local.walk import LocalWalk
from lemmy_safety.storage.names import from_key, to_key
from lemmy_safety.storage.probing import probe_steps
from lemmy_safety.storage.wanted_keys import WantedKeys
from lemmy_safety.storage.wrong_folder import refuse, refuse_wrong_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_US = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

# A folder that a deletion next door removes as empty may vanish between making it and moving a file into it. Each
# attempt takes microseconds, so that many are free.
_MOVE_ATTEMPTS = 50
_CHUNK_BYTES = 1 << 16


class LocalStorage(Storage):
    """One folder. ``root`` itself may be a symbolic link; what it points to when this object is made is the root."""

    settle_s = 5.0
    whole_listing_up_to = 5_000  # a walk of about a second, ten folders an object

    def __init__(self, root: str | Path) -> None:
        super().__init__()
        # Not Path.resolve, which raises RuntimeError for a link to itself; opening it says what is wrong.
        try:
            resolved = Path(os.path.realpath(root))
        except ValueError:  # NUL
            resolved = Path(root).absolute()
        self._root = str(resolved)
        self.name = f"local:{to_key(os.fsencode(resolved.as_posix()))}"
        self._root_identity: tuple[int, int] | None = None

    def open(self) -> None:
        self._root_identity = None
        home = expanded_if_known(Path("~"))
        refuse(self, too_wide(Path(self._root).as_posix(), Path(os.path.realpath(home)).as_posix()))
        with self._open_root() as root, translated(self.name):
            with root.entries():
                pass
            self._root_identity = root.identity
        there = [name for name in TELLING_FOLDERS if self._is_folder(name)]
        refuse_wrong_folder(self, Path(self._root).as_posix(), there)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def probe(self) -> Iterator[ProbeStep]:
        return probe_steps(self, write=self._write_probe)

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, created_from: datetime | None
    ) -> Iterator[StoredObject]:
        walk = LocalWalk(WantedKeys(prefix=prefix, after=after or "", created_from=created_from))
        with self._open_root() as root:
            for key, facts in walk.files(root):
                obj = _described(key, facts)
                if since is None or obj.modified_since(since):
                    yield obj
        self._open_root().close()
        if walk.refused:
            raise AccessDenied(
                f"{len(walk.refused)} folders of {self.name} may not be read, the first is {walk.refused[0]!r}; "
                "everything else was listed.",
                hint="Give this user read and execute permission on the folders.",
            )

    def ordered_keys(self) -> Iterator[str]:
        # Folders are walked in the order of their names.
        with self._open_root() as root:
            for key, _ in LocalWalk(WantedKeys(prefix=keys.V7_ROOT)).files(root):
                yield key

    def _read(self, key: str, max_bytes: int) -> bytes:
        with self._at(key) as (folder, name):
            # Looked at before it is opened: opening a pipe or a device can have effects of its own.
            self._regular(key, folder, name)
            with os.fdopen(folder.open_file(name), "rb", buffering=0) as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise ObjectGone(f"{key!r} is no regular file any more.")
                if facts.st_size > max_bytes:
                    raise _too_large(key, max_bytes)
                data = bytearray()
                # pict-rs may still be writing it, so there can be more than its size said.
                while chunk := file.read(
                    min(max_bytes + 1, max(facts.st_size + 1, len(data) + _CHUNK_BYTES)) - len(data)
                ):
                    data += chunk
                    if len(data) > max_bytes:
                        raise _too_large(key, max_bytes)
        return bytes(data)

    def _stat(self, key: str) -> StoredObject:
        with self._at(key) as (folder, name):
            return _described(key, self._regular(key, folder, name))

    def _delete(self, key: str, expected: StoredObject | None) -> bool:
        try:
            with self._at(key) as (folder, name):
                self._see_that_it_was_judged(_described(key, self._regular(key, folder, name)), expected)
                folder.unlink(name)
        except ObjectGone:
            return False
        self._remove_empty_parents(key)
        return True

    def _move(self, key: str, new_key: str) -> None:
        if not self._exists(key) and self._exists(new_key):
            return
        self._stat(key)
        for _ in range(_MOVE_ATTEMPTS):
            try:
                with self._at(key) as (source, name), self._at(new_key, make=True) as (target, new_name):
                    _rename_without_overwriting(source, name, target, new_name)
            except ObjectGone:
                self._stat(key)
            except ObjectChanged:
                if self._exists(new_key):
                    raise
            else:
                self._remove_empty_parents(key)
                return
        if self._leads_through_a_file(new_key):
            raise ObjectChanged(f"{new_key!r} cannot be made, one of its folders is a file; {key!r} was left alone.")
        raise StorageUnreachable(f"The folder of {new_key!r} was removed again and again while {key!r} was moved.")

    def _exists(self, key: str) -> bool:
        try:
            with self._at(key) as (folder, name):
                return folder.exists(name)
        except ObjectGone:
            return False

    def _is_folder(self, path: str) -> bool:
        with contextlib.suppress(ObjectGone, AccessDenied, BadKey), self._at(path) as (folder, name):
            return stat.S_ISDIR(folder.lstat(name).st_mode)
        return False

    def _leads_through_a_file(self, key: str) -> bool:
        *folders, _ = self._parts(key)
        for count in range(len(folders)):
            with contextlib.suppress(ObjectGone), self._at("/".join(key.split("/")[: count + 1])) as (folder, name):
                if not stat.S_ISDIR(folder.lstat(name).st_mode):
                    return True
        return False

    @contextlib.contextmanager
    def _at(self, key: str, *, make: bool = False) -> Iterator[tuple[Folder, str]]:
        """The folder of a key, open, and the key's name in it. With ``make``, folders that are missing are made.

        :raises BadKey: a link leads there, or this system cannot name such a file. What the system refuses inside the
            ``with`` is translated too.
        """
        *folders, name = self._parts(key)
        with self._open_root() as root, self._translated(key):
            if make:
                _make_folders(root, folders)
            with root.descend(folders) as folder:
                yield folder, name

    def _parts(self, key: str) -> list[str]:
        name = os.fsdecode(from_key(key))
        if os.name == "nt" and refused_on_windows(name):
            raise BadKey(f"{key!r} cannot be the name of a file on Windows.")
        return name.split("/")

    def _regular(self, key: str, folder: Folder, name: str) -> os.stat_result:
        facts = folder.lstat(name)
        if stat.S_ISLNK(facts.st_mode):
            raise BadKey(f"{key!r} is a symbolic link.", hint="Links in the store are never followed.")
        if not stat.S_ISREG(facts.st_mode):
            raise ObjectGone(f"{key!r} is no regular file.")
        return facts

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            with translated(f"{key!r} in {self.name}"):
                yield
        except ObjectGone:
            # Were the whole folder away, every object would look deleted.
            self._open_root().close()
            raise

    def _open_root(self) -> Folder:
        """The root, seen to be there and to be the folder that was opened. Everything is reached from it.

        :raises StorageError: StorageMissing, AccessDenied, or StorageUnreachable when another folder is in its place.
        """
        hint = "Check PICTRS_FILES_DIRECTORY; with lemmy-ansible it ends in volumes/pictrs/files."
        try:
            with translated(self.name):
                root = Folder.root(self._root)
        except ValueError as error:
            raise StorageMissing(f"{self.name} is not the name of a folder: {foreign(error)}.", hint=hint) from error
        except BadKey as error:  # links in a circle, or a name that is too long
            raise StorageMissing(error.message, hint=hint) from error
        except ObjectGone as error:
            if os.path.lexists(self._root):
                raise StorageMissing(f"{self.name} is not a folder.", hint=hint) from error
            raise StorageMissing(f"The folder {self.name} does not exist.", hint=hint) from error
        try:
            with translated(self.name):
                identity = root.identity
        except StorageError:
            root.close()
            raise
        if self._root_identity is not None and identity != self._root_identity:
            root.close()
            raise StorageUnreachable(
                f"{self.name} is no longer the folder that was opened.",
                hint="Check that its file system is still mounted.",
            )
        return root

    def _is_empty(self) -> bool:
        with self._open_root() as root, translated(self.name), root.entries() as entries:
            return next(entries, None) is None

    def _remove_empty_parents(self, key: str) -> None:
        """Remove folders that a deletion left empty, as pict-rs does; only ever empty ones, and never the root.

        What cannot be removed stays: the deletion itself is done.
        """
        *folders, _ = self._parts(key)
        with contextlib.suppress(OSError, StorageError), contextlib.ExitStack() as opened:
            chain = [opened.enter_context(self._open_root())]
            with contextlib.suppress(FileNotFoundError):  # another thread was faster; what is above may be ours
                for name in folders[:-1]:
                    chain.append(opened.enter_context(chain[-1].child(name)))
            for folder, name in reversed(list(zip(chain, folders, strict=False))):
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir(name)

    def _write_probe(self, key: str, data: bytes) -> None:
        with self._at(key) as (folder, name), os.fdopen(folder.make_file(name), "wb") as file:
            file.write(data)


def _described(key: str, facts: os.stat_result) -> StoredObject:
    # Whole microseconds by integer arithmetic; a disk can hold times that a datetime cannot.
    microseconds = min(max(facts.st_mtime_ns // 1000, 0), _YEAR_9999_US)
    return StoredObject(key=key, size=facts.st_size, modified_at=_EPOCH + timedelta(microseconds=microseconds))


def _too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")


def _make_folders(root: Folder, names: list[str]) -> None:
    with contextlib.ExitStack() as opened:
        folder = root
        for name in names:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(name)
            deeper = folder.child(name)
            opened.close()
            folder = opened.enter_context(deeper)


def _rename_without_overwriting(source: Folder, name: str, target: Folder, new_name: str) -> None:
    """Move a file.

    :raises FileExistsError: ``new_name`` is there and is another file.
    """
    if os.name == "nt":
        source.rename(name, target, new_name)  # refuses to overwrite, on Windows
        return
    try:
        source.link(name, target, new_name)
    except FileExistsError:
        # Two names of one file: a move that was cut short between its two steps. With one link only it is one name in
        # two spellings, on a file system that does not tell upper from lower case.
        facts = source.lstat(name)
        if facts.st_nlink < 2 or not os.path.samestat(facts, target.lstat(new_name)):  # noqa: PLR2004
            raise
        source.unlink(name)
    except FileNotFoundError:
        raise
    except OSError:
        # A file system without hard links, or the kernel's rule against linking other people's files. An empty file
        # reserves the name, and only that empty file is replaced.
        os.close(target.make_file(new_name, mode=0o600))
        try:
            source.rename(name, target, new_name)
        except OSError:
            target.unlink(new_name)
            raise
    else:
        source.unlink(name)
