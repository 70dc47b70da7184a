"""A settings file of a test, and what loading it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

DRY_RUN = "LEMMY_SAFETY_DRY_RUN"


DEFAULTS = load_settings(environ={})


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.env"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return file


def refused(file: Path, environ=None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ or {}, env_file=file)
    return str(caught.value)


def loaded(file: Path) -> tuple[Settings | None, str]:
    """The settings, or what was said instead."""
    try:
        return load_settings(environ={}, env_file=file), ""
    except SettingsError as error:
        return None, str(error)
