"""Which files with secrets, or with what was found, can be read or written by other accounts of this machine."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: What SQLite keeps beside a database while it is open, or after a crash.
BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")


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
        everyone = bool(self.mode & (stat.S_IROTH | stat.S_IWOTH))
        who = "every account of this machine" if everyone else "its group"
        writable = self.mode & (stat.S_IWOTH | (stat.S_IWGRP if self.group else 0))
        return f"{self.path} can be {'read or written' if writable else 'read'} by {who} (mode {self.mode:o})"

    @property
    def fix(self) -> str:
        """The command that closes it."""
        return f"chmod {'600' if self.group else 'o='} {shlex.quote(str(self.path))}"


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
