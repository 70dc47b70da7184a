"""The folders from the settings; ``~`` is resolved only when a path under it is needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.home import expanded, why_no_home
from lemmy_safety.settings import variable

if TYPE_CHECKING:
    from pathlib import Path

    from lemmy_safety.settings import Settings


def cache_dir(settings: Settings) -> Path:
    """The cache for text features; it never holds an image.

    :raises SettingsError: it is not set, and this account has no home folder.
    """
    from platformdirs import user_cache_path

    if settings.cache_dir:
        return expanded(settings.cache_dir, what="CACHE_DIR")
    homeless = why_no_home()
    if homeless and os.name == "posix" and not variable("XDG_CACHE_HOME"):
        raise SettingsError(
            f"There is no folder for caches: {homeless}.",
            hint="Set CACHE_DIR, and HF_HOME for models that are fetched; or set HOME.",
        )
    return user_cache_path("lemmy-safety")


def check_folder_of_models() -> None:
    """horde_safety creates it, and the model hub fills it: without a home, in the root or the working folder.

    :raises SettingsError: no variable names another folder, and this account has no home folder.
    """
    homeless = why_no_home()
    if homeless and not variable("HF_HOME"):
        raise SettingsError(f"There is no folder for models: {homeless}.", hint="Set HF_HOME; or set HOME.")


def at_home(path: Path | None, what: str) -> Path | None:
    return None if path is None else expanded(path, what=what)
