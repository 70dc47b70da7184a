"""pict-rs's ``files`` folder on this machine, or any other folder.

Symbolic links are never followed, neither listed nor read, wherever they point: a link in a store can only have been
put there by hand, and a deletion must not leave the folder the admin named. Only regular files are objects, so a pipe
named ``.jpg`` cannot block a sweep. Keys are the text form of file names (``names``).
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
    StorageMissing,
    StorageUnreachable,
)
from lemmy_safety.pictrs import keys
from lemmy_safety.records import StoredObject
from lemmy_safety.storage.base import ProbeStep, Storage
from lemmy_safety.storage.local.errors import refused_on_windows, translated
from lemmy_safety.storage.local.walk import LocalWalk
from lemmy_safety.storage.names import from_key, to_key
from lemmy_safety.storage.probing import probe_steps
from lemmy_safety.storage.wanted_keys import WantedKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_US = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)

# Not every system has each: Windows knows none of the POSIX ones, and only Windows tells text from binary.
_READ_FLAGS = os.O_RDONLY
for _flag in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    _READ_FLAGS |= getattr(os, _flag, 0)

# A folder that a deletion next door removes as empty may vanish between making it and moving a file into it. Each
# attempt takes microseconds, so that many are free.
_MOVE_ATTEMPTS = 50
_CHUNK_BYTES = 1 << 16


class LocalStorage(Storage):
    """One folder. ``root`` itself may be a symbolic link; what it points to when this object is made is the root."""

    settle_s = 5.0
    whole_listing_up_to = 5_000  # a walk of about a second, ten folders an object

    def __init__(self, root: str | Path) -> None:
        resolved = Path(root).resolve()
        self._root = str(resolved)
        self.name = f"local:{to_key(os.fsencode(resolved.as_posix()))}"
        self._root_identity: tuple[int, int] | None = None

    def open(self) -> None:
        self._root_identity = None
        self._check_root()
        with translated(self.name):
            os.scandir(self._root).close()
            facts = os.stat(self._root)  # noqa: PTH116
        self._root_identity = (facts.st_dev, facts.st_ino)

    def close(self) -> None:
        """Nothing is held open between calls."""

    def probe(self) -> Iterator[ProbeStep]:
        return probe_steps(self, write=self._write_probe)

    def _list(
        self, *, since: datetime | None, prefix: str, after: str | None, exhaustive: bool
    ) -> Iterator[StoredObject]:
        self._check_root()
        created_from = self._created_from(since, exhaustive=exhaustive)
        walk = LocalWalk(self._root, WantedKeys(prefix=prefix, after=after or "", created_from=created_from))
        for key, facts in walk:
            obj = _described(key, facts)
            if since is None or obj.modified_at >= since:
                yield obj
        self._check_root()
        if walk.refused:
            raise AccessDenied(
                f"{len(walk.refused)} folders of {self.name} may not be read, the first is {walk.refused[0]!r}; "
                "everything else was listed.",
                hint="Give this user read and execute permission on the folders.",
            )

    def _ordered_keys(self) -> Iterator[str]:
        # Folders are walked in the order of their names.
        return (key for key, _ in LocalWalk(self._root, WantedKeys(prefix=keys.V7_ROOT)))

    def _read(self, key: str, max_bytes: int) -> bytes:
        path = self._path(key)
        with self._translated(key):
            # Looked at before it is opened: opening a pipe or a device can have effects of its own.
            self._regular(key, path)
            with open(path, "rb", buffering=0, opener=_opened) as file:
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
        path = self._path(key)
        with self._translated(key):
            return _described(key, self._regular(key, path))

    def _delete(self, key: str) -> bool:
        path = self._path(key)
        try:
            with self._translated(key):
                self._regular(key, path)
                os.unlink(path)  # noqa: PTH108
        except ObjectGone:
            return False
        self._remove_empty_parents(path)
        return True

    def _move(self, key: str, new_key: str) -> None:
        path, new_path = self._path(key), self._path(new_key)
        if not os.path.lexists(path) and os.path.lexists(new_path):
            return
        with self._translated(key):
            self._regular(key, path)
        folder = os.path.dirname(new_path)  # noqa: PTH120
        for _ in range(_MOVE_ATTEMPTS):
            try:
                with self._translated(new_key):
                    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                    _rename_without_overwriting(path, new_path)
            except ObjectGone:
                self._stat(key)
            except ObjectChanged:
                if os.path.lexists(new_path):
                    raise
            else:
                self._remove_empty_parents(path)
                return
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)  # noqa: PTH120
        if not os.path.isdir(folder):  # noqa: PTH112
            raise ObjectChanged(f"{new_key!r} cannot be made, one of its folders is a file; {key!r} was left alone.")
        raise StorageUnreachable(f"The folder of {new_key!r} was removed again and again while {key!r} was moved.")

    def _path(self, key: str) -> str:
        """The path of a key, none of whose folders is a link.

        :raises BadKey: it would leave the root, or this system cannot name such a file.
        """
        name = os.fsdecode(from_key(key))
        if os.name == "nt" and refused_on_windows(name):
            raise BadKey(f"{key!r} cannot be the name of a file on Windows.")
        path = os.path.join(self._root, *name.split("/"))  # noqa: PTH118
        folder = os.path.dirname(path)  # noqa: PTH120
        with self._translated(key):
            real = os.path.realpath(folder)
        if os.path.normcase(real) != os.path.normcase(folder):
            raise BadKey(f"{key!r} leads through a symbolic link.", hint="Links in the store are never followed.")
        return path

    def _regular(self, key: str, path: str) -> os.stat_result:
        facts = os.lstat(path)
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
            self._check_root()
            raise

    def _check_root(self) -> None:
        """See that the root is there and is still the one that was opened.

        :raises StorageError: StorageMissing, AccessDenied, or StorageUnreachable when another folder is in its place.
        """
        hint = "Check PICTRS_FILES_DIRECTORY; with lemmy-ansible it ends in volumes/pictrs/files."
        try:
            with translated(self.name):
                facts = os.stat(self._root)  # noqa: PTH116
        except ObjectGone as error:
            raise StorageMissing(f"The folder {self.name} does not exist.", hint=hint) from error
        if not stat.S_ISDIR(facts.st_mode):
            raise StorageMissing(f"{self.name} is not a folder.", hint=hint)
        identity = (facts.st_dev, facts.st_ino)
        if self._root_identity is not None and identity != self._root_identity:
            raise StorageUnreachable(
                f"{self.name} is no longer the folder that was opened.",
                hint="Check that its file system is still mounted.",
            )

    def _is_empty(self) -> bool:
        with translated(self.name), os.scandir(self._root) as entries:
            return next(entries, None) is None

    def _remove_empty_parents(self, path: str) -> None:
        """Remove folders that a deletion left empty, as pict-rs does; only ever empty ones, and never the root."""
        folder = os.path.dirname(path)  # noqa: PTH120
        while folder != self._root:
            try:
                os.rmdir(folder)  # noqa: PTH106
            except FileNotFoundError:
                pass  # another thread was faster; its parent may still be ours to remove
            except OSError:
                return
            folder = os.path.dirname(folder)  # noqa: PTH120

    def _write_probe(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with translated(f"{key!r} in {self.name}"):
            Path(path).write_bytes(data)


def _described(key: str, facts: os.stat_result) -> StoredObject:
    # Whole microseconds by integer arithmetic; a disk can hold times that a datetime cannot.
    microseconds = min(max(facts.st_mtime_ns // 1000, 0), _YEAR_9999_US)
    return StoredObject(key=key, size=facts.st_size, modified_at=_EPOCH + timedelta(microseconds=microseconds))


def _opened(path: str, _flags: int) -> int:
    return os.open(path, _READ_FLAGS)


def _too_large(key: str, max_bytes: int) -> ObjectTooLarge:
    return ObjectTooLarge(f"{key!r} holds more than {max_bytes} bytes.")


def _rename_without_overwriting(path: str, new_path: str) -> None:
    """Move a file.

    :raises FileExistsError: ``new_path`` is there and is another file.
    """
    if os.name == "nt":
        os.rename(path, new_path)  # noqa: PTH104 - refuses to overwrite, on Windows
        return
    try:
        os.link(path, new_path, follow_symlinks=False)
    except FileExistsError:
        # Two names of one file: a move that was cut short between its two steps. With one link only it is one name in
        # two spellings, on a file system that does not tell upper from lower case.
        facts = os.lstat(path)
        if facts.st_nlink < 2 or not os.path.samestat(facts, os.lstat(new_path)):  # noqa: PLR2004
            raise
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        raise
    except OSError:
        # A file system without hard links, or the kernel's rule against linking other people's files. An empty file
        # reserves the name, and only that empty file is replaced.
        os.close(os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.replace(path, new_path)  # noqa: PTH105
        except OSError:
            os.unlink(new_path)  # noqa: PTH108
            raise
    else:
        os.unlink(path)  # noqa: PTH108
