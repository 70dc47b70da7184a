"""One folder of this machine, held open while it is in use.

A path is resolved again at each system call, so a folder that was checked can be a symbolic link a moment later, and a
deletion then removes a file outside the store. Where the system supports it (Linux, macOS, the BSDs), a folder is
therefore
a descriptor: each part of a path is opened from the one before with ``O_NOFOLLOW``, and files are named relative to it.

Windows has no such calls. There each operation first checks that no link or junction leads to the folder. That leaves
the moment between check and operation; making a link there needs a privilege that pict-rs does not have.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Whether this system has everything needed to work with descriptors.
HAS_DESCRIPTORS = (
    {os.open, os.stat, os.unlink, os.rmdir, os.mkdir, os.rename} <= os.supports_dir_fd
    and (not hasattr(os, "link") or os.link in os.supports_dir_fd)
    and os.scandir in os.supports_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)


def _flags(*names: str) -> int:
    # Not every system has each: Windows has none of the POSIX ones, and only Windows distinguishes text from binary.
    flags = os.O_RDONLY
    for name in names:
        flags |= getattr(os, name, 0)
    return flags


_FOLDER_FLAGS = _flags("O_DIRECTORY", "O_CLOEXEC")
_FILE_FLAGS = _flags("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
_NEW_FILE_FLAGS = _flags("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW") | os.O_WRONLY | os.O_CREAT | os.O_EXCL


#: Errors of file systems that cannot sync a folder by itself.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class Folder:
    """Use it in a ``with``. All methods raise ``OSError``; a link where a folder should be is ELOOP."""

    def __init__(self, path: str, descriptor: int | None) -> None:
        """``path`` is for systems without descriptors, where ``descriptor`` is None."""
        self._path = path
        self._descriptor = descriptor
        self._by_path = descriptor is None

    @classmethod
    def root(cls, path: str) -> Folder:
        """Open the root folder of a store. The path itself is the admin's choice: links in it are followed."""
        if HAS_DESCRIPTORS:
            return cls(path, os.open(path, _FOLDER_FLAGS))
        if not stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116
            raise _not_a_folder()
        return cls(path, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closing twice is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and file number, which no other folder has at the same time."""
        facts = os.stat(self._itself)  # noqa: PTH116
        return facts.st_dev, facts.st_ino

    def child(self, name: str) -> Folder:
        """Open a folder inside this one; it must not be a link."""
        path = os.path.join(self._path, name)  # noqa: PTH118
        if self._by_path:
            facts = self.lstat(name)
            if _is_link(facts):
                raise _link_in_the_way()
            if not stat.S_ISDIR(facts.st_mode):
                raise _not_a_folder()
            return Folder(path, None)
        _, folder = self._at(name)
        try:
            return Folder(path, os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder))
        except OSError as error:
            # Systems report a link differently: ENOTDIR, ELOOP, EMLINK.
            if not isinstance(error, FileNotFoundError) and _is_link(self.lstat(name)):
                raise _link_in_the_way() from error
            raise

    @contextlib.contextmanager
    def descend(self, names: Iterable[str]) -> Iterator[Folder]:
        """The folder that these names lead to, one below the other; this folder if there are none."""
        with contextlib.ExitStack() as opened:
            folder = self
            for name in names:
                deeper = folder.child(name)
                opened.close()  # one descriptor at a time, at any depth
                folder = opened.enter_context(deeper)
            yield folder

    @contextlib.contextmanager
    def entries(self) -> Iterator[Iterator[os.DirEntry[str]]]:
        """The entries of the folder, in any order."""
        with os.scandir(self._itself) as found:
            yield found

    def lstat(self, name: str) -> os.stat_result:
        path, folder = self._at(name)
        return os.stat(path, dir_fd=folder, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Whether anything has that name, even a link to nowhere."""
        try:
            self.lstat(name)
        except FileNotFoundError:
            return False
        return True

    def open_file(self, name: str) -> int:
        """A descriptor for reading. Does not follow links and does not wait for the other end of a pipe."""
        path, folder = self._at(name)
        return os.open(path, _FILE_FLAGS, dir_fd=folder)

    def make_file(self, name: str, *, mode: int = 0o666) -> int:
        """A descriptor for writing to a file that did not exist before."""
        path, folder = self._at(name)
        return os.open(path, _NEW_FILE_FLAGS, mode, dir_fd=folder)

    def sync(self) -> None:
        """Make the names in the folder survive a power failure, if the system and the file system can promise that."""
        if self._descriptor is not None:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                if error.errno not in _NO_SYNC:
                    raise

    def unlink(self, name: str) -> None:
        path, folder = self._at(name)
        os.unlink(path, dir_fd=folder)

    def rmdir(self, name: str) -> None:
        path, folder = self._at(name)
        os.rmdir(path, dir_fd=folder)

    def mkdir(self, name: str) -> None:
        path, folder = self._at(name)
        os.mkdir(path, dir_fd=folder)

    def rename(self, name: str, target: Folder, new_name: str) -> None:
        """Overwrites ``new_name``, except on Windows."""
        (path, folder), (new_path, new_folder) = self._at(name), target._at(new_name)
        os.rename(path, new_path, src_dir_fd=folder, dst_dir_fd=new_folder)

    def link(self, name: str, target: Folder, new_name: str) -> None:
        """Give a file a second name, which must be free."""
        (path, folder), (new_path, new_folder) = self._at(name), target._at(new_name)
        os.link(path, new_path, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)

    def _at(self, name: str) -> tuple[str, int | None]:
        """How to name a file in this folder to the system."""
        itself = self._itself
        return (name, itself) if isinstance(itself, int) else (os.path.join(itself, name), None)  # noqa: PTH118

    @property
    def _itself(self) -> int | str:
        if not self._by_path:
            if self._descriptor is None:
                raise ValueError("the folder was closed")
            return self._descriptor
        # Also follows junctions, Windows's other kind of link to a folder, which look like folders.
        real = os.path.realpath(self._path)
        if os.path.normcase(real) != os.path.normcase(self._path):
            raise _link_in_the_way()
        return self._path


def make_folders(root: Folder, names: list[str]) -> None:
    with contextlib.ExitStack() as opened:
        folder = root
        for name in names:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(name)
                folder.sync()
            deeper = folder.child(name)
            opened.close()
            folder = opened.enter_context(deeper)


def rename_without_overwriting(source: Folder, name: str, target: Folder, new_name: str) -> None:
    """Move a file.

    :raises FileExistsError: ``new_name`` exists and is another file.
    """
    if os.name == "nt":
        source.rename(name, target, new_name)  # refuses to overwrite, on Windows
        return
    try:
        source.link(name, target, new_name)
    except FileExistsError:
        # One file with two names: a move was interrupted between its two steps. With only one link it is one name in
        # two spellings, on a file system that ignores case.
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


def is_junction(facts: os.stat_result) -> bool:
    """Whether Windows would continue somewhere else from this folder."""
    return getattr(facts, "st_reparse_tag", 0) == getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)


def _is_link(facts: os.stat_result) -> bool:
    return stat.S_ISLNK(facts.st_mode) or is_junction(facts)


def _link_in_the_way() -> OSError:
    return OSError(errno.ELOOP, "a symbolic link is in the way")


def _not_a_folder() -> OSError:
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
