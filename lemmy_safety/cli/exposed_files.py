"""Which of our files other accounts of this machine can read, and which they can change, and so what is deleted.

Secrets and what was found are for us alone. What steers the verdicts may be read by everyone and changed by no one else:
with a hash list an account can have any picture deleted, with weights any picture kept, and who can write into a folder can
put another file into the place of one.
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

#: What SQLite keeps beside a database while it is open, or after a crash.
BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")

#: Files of one folder of weights or caches that are checked; there are some dozens.
_MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Exposed:
    """One file that is open to more accounts than it needs to be."""

    path: Path
    mode: int
    group: bool
    """Whether the group can use it, too, beside or instead of everyone."""

    @property
    def detail(self) -> str:
        """Who can do what, and the mode as ``chmod`` takes it."""
        who = _who(everyone=bool(self.mode & (stat.S_IROTH | stat.S_IWOTH)))
        writable = self.mode & (stat.S_IWOTH | (stat.S_IWGRP if self.group else 0))
        return f"{self.path} can be {'read or written' if writable else 'read'} by {who} (mode {self.mode:o})"

    @property
    def fix(self) -> str:
        """The command that closes it."""
        return f"chmod {'600' if self.group else 'o='} {shlex.quote(str(self.path))}"


@dataclass(frozen=True, slots=True)
class Changeable:
    """A file that others can change, or a folder whose files they can; all the same whether they can read them."""

    path: Path
    mode: int
    group: bool
    """As in ``Exposed``."""
    kind: Literal["file", "folder", "tree"]
    """Of a folder only the mode of itself counts, of a tree that of all that is in it."""

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
    """Those of ``paths`` that exist and are open to others. None on Windows, whose rights are not in the mode.

    Where a file belongs to another account (root's ``.env`` for a service's group, mode 640), this account reads it
    through the group: then only the rights of everyone else count.
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

    Of ``private`` files only the folders count, also where there is no file (yet): ``exposed`` names what is wrong with
    the files. Of a folder among ``paths`` all that is in it counts.
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
        # Also those on the way to a link: it can be replaced as well.
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
    """Whether a folder holds more than files of ours, so that no one should change the modes of all that is in it.

    One like /tmp, one of another account, and one above the home folder or above this program, such as /.
    """
    facts = folder.stat()
    above = {*Path(__file__).resolve().parents, *_home_and_above()}
    return bool(facts.st_mode & stat.S_ISVTX) or facts.st_uid != os.geteuid() or folder in above


def _home_and_above() -> list[Path]:
    home = expanded_if_known(Path("~"))
    return [] if is_below_home(home) else [home.resolve(), *home.resolve().parents]


def _by_mode(path: Path) -> tuple[int, bool] | None:
    """The mode, and whether the group counts; None where no one else can change it."""
    try:
        facts = path.stat()
    except OSError:  # a link that leads nowhere
        return None
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):  # many config files name /dev/null
        return None
    group = bool(facts.st_mode & stat.S_IWGRP) and facts.st_uid == os.geteuid()
    return (stat.S_IMODE(facts.st_mode), group) if group or facts.st_mode & stat.S_IWOTH else None


def _open_folder(folder: Path) -> Changeable | None:
    """A folder in which everyone can replace files: not one like /tmp, where each account replaces its own only."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(facts.st_mode)
    is_open = stat.S_ISDIR(facts.st_mode) and mode & stat.S_IWOTH and not mode & stat.S_ISVTX
    return Changeable(folder, mode, group=False, kind="folder") if is_open else None


def private_files(settings: Settings, database: Path | None) -> list[Path]:
    """Files with secrets, and those with what was found: the database, what SQLite keeps beside it, its copies."""
    secret = [settings.env_file]
    if settings.ssh_hostname and settings.ssh_privkey:
        secret.append(expanded_if_known(settings.ssh_privkey))
    if database is None:
        return secret
    beside = [database.with_name(database.name + ending) for ending in BESIDE_A_DATABASE]
    copies: list[Path] = []
    with contextlib.suppress(OSError, ValueError):  # no such folder: the checks that need it say so
        copies += (each for each in database.parent.iterdir() if each.name.startswith(f"{database.name}.schema-"))
    return [*secret, database, *beside, *copies]


def steering_files(settings: Settings) -> list[Path]:
    """Files and folders that need not be secret, and decide what is flagged or which server is believed."""
    named: list[Path | None] = []
    if "hashes" in settings.detectors:
        named.append(settings.hash_list)
    if "clip" in settings.detectors:
        named += [settings.clip_weights, settings.danbooru_weights, settings.cache_dir]
    if settings.ssh_hostname:
        named += [settings.ssh_known_hosts or Path("~/.ssh/known_hosts"), settings.ssh_config]
    return [path for path in map(expanded_if_known, filter(None, named)) if not is_below_home(path)]
