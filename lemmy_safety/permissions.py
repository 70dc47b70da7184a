"""Why this process cannot read a file: who owns it, and how to get access (hard to see in a container); or its kind."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The message for ``is_named_pipe``.
NAMED_PIPE = "it is a named pipe, not a file"


def is_named_pipe(path: Path) -> bool:
    """Whether opening ``path`` waits, perhaps for ever, until another program writes to it.

    Not true of the pipes that a shell makes for ``<(...)``: they have a writer, and no name in any folder.
    """
    try:
        return stat.S_ISFIFO(path.stat().st_mode) and path.resolve().exists()
    except (OSError, ValueError, RuntimeError):  # missing or unreachable: opening it reports that
        return False


def how_to_make_readable(path: Path) -> str:
    """One or two sentences for a person: who owns the file, who we are, and the command that lets only us read it.

    Uses user numbers, because a container and its host share numbers but not names.
    """
    if sys.platform == "win32":
        return "Give this user (and no one else) read permission on it."
    user = os.geteuid()
    try:
        found = path.stat()
    except OSError:
        return f"User {user}, as whom this runs, may not enter the folder {path.parent}. Give that user the folder."
    if found.st_uid == user:
        mode = stat.S_IMODE(found.st_mode)
        return f"Its permissions ({mode:03o}) keep its own user {user} out: chmod 600 {path}"
    return (
        f"It belongs to user {found.st_uid}, and this runs as user {user}: sudo chown {user} {path}  "
        "(where it is mounted into a container: that file on the host, with the same number)."
    )
