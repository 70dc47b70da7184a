"""Which of our files other local accounts can read, and which they can change and so decide what is deleted.

Only we may read secrets and findings. Everyone may read the files that determine verdicts, but only we may change them:
with a hash list an account can have any picture deleted, with weights any picture kept, and with write access to a
folder it can replace the files in it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lemmy_safety.home import expanded_if_known, is_below_home

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lemmy_safety.settings import Settings

#: Files that SQLite keeps next to a database while it is open, or after a crash.
BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")

#: Most files checked in one folder of weights or caches; a few dozen are normal.
_MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Exposed:
    """One file that is open to more accounts than it needs to be."""

    path: Path
    mode: int
    group: bool
    """Whether the group can use it, too, besides or instead of everyone."""

    @property
    def detail(self) -> str:
        """Who can do what, and the mode as ``chmod`` takes it."""
        who = _who(everyone=bool(self.mode & (stat.S_IROTH | stat.S_IWOTH)))
        writable = self.mode & (stat.S_IWOTH | (stat.S_IWGRP if self.group else 0))
        return f"{self.path} can be {'read or written' if writable else 'read'} by {who} (mode {self.mode:o})"

    @property
    def fix(self) -> str:
        """The command that closes the access."""
        return f"chmod {'600' if self.group else 'o='} {shlex.quote(str(self.path))}"


@dataclass(frozen=True, slots=True)
class Changeable:
    """A file, or a folder with files, that others can change, whether or not they can read them."""

    path: Path
    mode: int
    group: bool
    """As in ``Exposed``."""
    kind: Literal["file", "folder", "tree"]
    """For a folder only its own mode counts, for a tree that of everything in it."""

    @property
    def detail(self) -> str:
        """As in ``Exposed``."""
        who = _who(everyone=bool(self.mode & stat.S_IWOTH))
        what = str(self.path) if self.kind == "file" else f"the files in {self.path}"
        return f"{what} can be {'replaced' if self.kind == 'folder' else 'changed'} by {who} (mode {self.mode:o})"

    @property
    def fix(self) -> str:
        """As in ``Exposed``."""
        change = f"{'-R ' if self.kind == 'tree' else ''}{'go-w' if self.group else 'o-w'}"
        return f"chmod {change} {shlex.quote(str(self.path))}"


def _who(*, everyone: bool) -> str:
    return "every account of this machine" if everyone else "its group"


def exposed(paths: Iterable[Path]) -> Iterator[Exposed]:
    """Those of ``paths`` that exist and are open to others. None on Windows, whose permissions are not in the mode.

    If a file belongs to another account (root's ``.env`` for a service's group, mode 640), this account reads it
    through the group: then only the permissions of everyone else count.
    """
    if os.name == "nt":
        return
    for path in paths:
        try:
            facts = path.stat()
        except (OSError, ValueError):
            continue  # no such file, or none that can be reached: the checks that need it say so
        if not stat.S_ISREG(facts.st_mode):
            continue
        group = bool(facts.st_mode & (stat.S_IRGRP | stat.S_IWGRP)) and facts.st_uid == os.geteuid()
        if group or facts.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Exposed(path, stat.S_IMODE(facts.st_mode), group)


def changeable(paths: Iterable[Path], *, private: Iterable[Path] = ()) -> Iterator[Changeable]:
    """Those of ``paths`` that others can change, and the folders in which everyone can replace one of them.

    For ``private`` files only the folders count, even if there is no file (yet): ``exposed`` checks the files. For a
    folder among ``paths`` everything in it counts.
    """
    if os.name == "nt":
        return
    seen: set[Path] = set()
    for path, is_private in itertools.chain(((each, False) for each in paths), ((each, True) for each in private)):
        try:
            written = path.absolute()
            whole = written.resolve(strict=not is_private)
            found = None if is_private else _changeable(whole)
        except (OSError, ValueError, RuntimeError):
            continue  # no such file, or none that can be reached: the checks that need it say so
        if found is not None:
            yield found
        # Also the folders on the way to a link: it can be replaced as well.
        for folder in (*written.parents, *whole.parents):
            if folder not in seen and (open_folder := _open_folder(folder)):
                yield open_folder
            seen.add(folder)


def _changeable(path: Path) -> Changeable | None:
    """The widest mode in a folder is the one to show."""
    if not path.is_dir():
        found = _by_mode(path)
        return Changeable(path, *found, kind="file") if found else None
    if _is_shared(path):
        return None
    below = itertools.islice(path.rglob("*"), _MOST_FILES)
    modes = [found for each in (path, *below) if (found := _by_mode(each))]
    if not modes:
        return None
    widest = max((mode for mode, _ in modes), key=lambda mode: mode & stat.S_IWOTH)
    return Changeable(path, widest, any(group for _, group in modes), kind="tree")


def _is_shared(folder: Path) -> bool:
    """Whether a folder holds more than our files, so that the modes of its contents should not be changed.

    For instance one like /tmp, one of another account, or one above the home folder or this program, such as /.
    """
    facts = folder.stat()
    above = {*Path(__file__).resolve().parents, *_home_and_above()}
    return bool(facts.st_mode & stat.S_ISVTX) or facts.st_uid != os.geteuid() or folder in above


def _home_and_above() -> list[Path]:
    home = expanded_if_known(Path("~"))
    return [] if is_below_home(home) else [home.resolve(), *home.resolve().parents]


def _by_mode(path: Path) -> tuple[int, bool] | None:
    """The mode, and whether the group counts; None if no one else can change it."""
    try:
        facts = path.stat()
    except OSError:  # a broken link
        return None
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):  # many config files refer to /dev/null
        return None
    group = bool(facts.st_mode & stat.S_IWGRP) and facts.st_uid == os.geteuid()
    return (stat.S_IMODE(facts.st_mode), group) if group or facts.st_mode & stat.S_IWOTH else None


def _open_folder(folder: Path) -> Changeable | None:
    """A folder in which everyone can replace files: not one like /tmp, where accounts can only replace their own."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(facts.st_mode)
    is_open = stat.S_ISDIR(facts.st_mode) and mode & stat.S_IWOTH and not mode & stat.S_ISVTX
    return Changeable(folder, mode, group=False, kind="folder") if is_open else None


def private_files(settings: Settings, database: Path | None) -> list[Path]:
    """Files with secrets, and those with findings: the database, SQLite's files next to it, its copies."""
    secret = [settings.env_file]
    if settings.ssh_hostname and settings.ssh_privkey:
        secret.append(expanded_if_known(settings.ssh_privkey))
    if database is None:
        return secret
    beside = [database.with_name(database.name + ending) for ending in BESIDE_A_DATABASE]
    copies: list[Path] = []
    with contextlib.suppress(OSError, ValueError):  # no such folder: the checks that need it report that
        copies += (each for each in database.parent.iterdir() if each.name.startswith(f"{database.name}.schema-"))
    return [*secret, database, *beside, *copies]


def steering_files(settings: Settings) -> list[Path]:
    """Files and folders that need not be secret, but decide what is flagged or which server is trusted."""
    named: list[Path | None] = []
    if "hashes" in settings.detectors:
        named.append(settings.hash_list)
    if "clip" in settings.detectors:
        named += [settings.clip_weights, settings.danbooru_weights, settings.cache_dir]
    if settings.ssh_hostname:
        named += [settings.ssh_known_hosts or Path("~/.ssh/known_hosts"), settings.ssh_config]
    return [path for path in map(expanded_if_known, filter(None, named)) if not is_below_home(path)]
