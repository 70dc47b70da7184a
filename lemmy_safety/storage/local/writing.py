"""Writes one new file, whole or not at all: under another name first, renamed once it is on the disk."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lemmy_safety.storage.local.folder import rename_without_overwriting
from lemmy_safety.storage.parts import new_part

if TYPE_CHECKING:
    from lemmy_safety.storage.local.folder import Folder

#: For this account only. Windows has no such mode: there a file gets the permissions of its folder.
_MODE = 0o600


def write_file(folder: Folder, name: str, data: bytes) -> None:
    """:raises FileExistsError: a file has that name. Other OSErrors pass through; then nothing is left behind."""
    part = new_part()
    try:
        with os.fdopen(folder.make_file(part, mode=_MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        rename_without_overwriting(folder, part, folder, name)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.unlink(part)
        raise
    folder.sync()
