"""The surroundings of pict-rs's ``files`` folder, to distinguish it from a folder above or below it.

Pure. By default pict-rs keeps ``files`` and its own database next to each other in ``/mnt``, which Lemmy's compose file
and lemmy-ansible mount from ``volumes/pictrs``.
Source: pict-rs src/config/defaults.rs; Lemmy docker/docker-compose.yml; lemmy-ansible templates/docker-compose.yml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lemmy_safety.pictrs import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

FILES = "files"

#: pict-rs's own database, if it does not use PostgreSQL.
_REPOSITORIES = ("sled-repo", "fjall-repo")

#: Paths from a folder that may be named by mistake to the one that contains ``files``, the nearest first.
_DOWN = ("", "pictrs/", "volumes/pictrs/")

#: Top folders of a store: those of time-ordered keys, and those of older ones, which count the levels that follow.
_FIRST_FOLDERS = ("01", "000", "001", "002")

#: The last part of the path of a folder inside a store.
_INNER_FOLDER = re.compile("[0-9a-f]{2}|[0-9]{3}")

_MOST_INNER = 10

#: Folders of operating systems, which are never stores: their content belongs to the system, or to many programs.
#: Source: Filesystem Hierarchy Standard 3.0; macOS, hier(7), where some of these are links into /private.
_SYSTEM_FOLDERS = frozenset(
    (
        *(
            "/bin",
            "/boot",
            "/dev",
            "/etc",
            "/home",
            "/lib",
            "/lib64",
            "/proc",
            "/root",
            "/run",
            "/sbin",
            "/sys",
            "/usr",
            "/var",
        ),
        *("/private", "/private/etc", "/private/var", "/System", "/Library", "/Applications", "/Users"),
    )
)

#: Everything below them is a view of the running system.
_VIEWS_OF_THE_SYSTEM = ("/proc/", "/sys/")

_DRIVE = re.compile("/?[A-Za-z]:/?")

#: Folders in the root of a whole system, but not in that of a chroot for SFTP.
SIGNS_OF_A_SYSTEM = ("etc", "proc", "usr")

#: The folders, relative to the named one, whose existence ``misplaced`` needs to know.
TELLING_FOLDERS = (
    *(folder + name for folder in _DOWN for name in (*_REPOSITORIES, FILES)),
    *_FIRST_FOLDERS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misplaced:
    """Why a folder is not pict-rs's ``files``, as the end of a sentence; ``meant`` is the right one, if known."""

    why: str
    meant: str | None


def too_wide(root: str, home: str = "") -> Misplaced | None:
    """Whether ``root`` (absolute, with slashes) is one of the operating system's folders, or this ``home`` itself."""
    if root == "/" or _DRIVE.fullmatch(root):
        return Misplaced(why="is the root of a whole file system", meant=None)
    if root in _SYSTEM_FOLDERS or root.startswith(_VIEWS_OF_THE_SYSTEM):
        return Misplaced(why="is a folder of the operating system", meant=None)
    if root == home:
        return Misplaced(why="is a whole home folder", meant=None)
    return None


def misplaced(root: str, there: Collection[str], first_keys: Callable[[str], Iterable[str]]) -> Misplaced | None:
    """Whether ``root`` (a path with slashes) is above or below pict-rs's ``files`` folder; None without any sign of
    that.

    ``there`` are those of ``TELLING_FOLDERS`` that exist; ``first_keys`` returns some keys of the storage with a given
    prefix.
    """
    for folder in _DOWN:
        database = next((name for name in _REPOSITORIES if folder + name in there), None)
        files = folder + FILES
        meant = f"{root.rstrip('/')}/{files}" if files in there else None
        if database is not None:
            return Misplaced(
                why=f"is not pict-rs's files folder: it holds pict-rs's database, {folder}{database}", meant=meant
            )
        if meant and not any(first in there for first in _FIRST_FOLDERS):
            below = [key.removeprefix(f"{files}/") for key in first_keys(f"{files}/")]
            if any(map(keys.is_key, below)):
                return Misplaced(why=f"lies above pict-rs's files folder, {files}", meant=meant)
    return _below(root, first_keys)


def _below(root: str, first_keys: Callable[[str], Iterable[str]]) -> Misplaced | None:
    parts = root.split("/")
    inner = next((count for count, part in enumerate(reversed(parts)) if not _INNER_FOLDER.fullmatch(part)), 0)
    if not inner:
        return None
    for key in first_keys(""):
        for count in range(1, 0 if keys.is_key(key) else min(inner, _MOST_INNER) + 1):
            if keys.is_key("/".join([*parts[-count:], key])):
                return Misplaced(why="lies inside pict-rs's files folder", meant="/".join(parts[:-count]))
    return None
