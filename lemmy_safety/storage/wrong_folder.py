"""Refuses folders above or inside pict-rs's ``files`` folder when they are opened: no pass may touch their other
content.

``pictrs.layout`` knows what such folders look like.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, WrongFolder
from lemmy_safety.pictrs import layout

if TYPE_CHECKING:
    from collections.abc import Collection

    from lemmy_safety.storage.base import Storage

#: Keys that show a folder to be above or inside the one that is meant.
_FIRST_KEYS = 5


def refuse_wrong_folder(storage: Storage, root: str, there: Collection[str]) -> None:
    """``there`` are those of ``layout.TELLING_FOLDERS`` that exist in ``root``, where the storage begins.

    :raises WrongFolder: it is a folder above or inside pict-rs's files.
    """

    def first_keys(prefix: str) -> tuple[str, ...]:
        with suppress(AccessDenied):
            return tuple(obj.key for obj in islice(storage.list(prefix=prefix), _FIRST_KEYS))
        return ()

    refuse(storage, layout.misplaced(root, there, first_keys))


def refuse(storage: Storage, found: layout.Misplaced | None) -> None:
    """:raises WrongFolder: something was found."""
    if found is not None:
        hint = None if found.meant is None else f"Set PICTRS_FILES_DIRECTORY to {found.meant}"
        raise WrongFolder(f"{storage.name} {found.why}.", hint=hint)
