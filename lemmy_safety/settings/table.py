"""All options as one table, and the frozen object that holds their values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.settings.database import DatabaseSettings
from lemmy_safety.settings.detecting import DetectorSettings
from lemmy_safety.settings.hook import HookSettings
from lemmy_safety.settings.limits import LimitSettings
from lemmy_safety.settings.option import ENV_PREFIX, Option
from lemmy_safety.settings.pictrs import PictrsSettings
from lemmy_safety.settings.run import RunSettings
from lemmy_safety.settings.storage import StorageSettings
from lemmy_safety.settings.worker import WorkerSettings

DEFAULT_FILE = Path(".env")


# Fields are collected from the last base to the first: the documentation begins with the storage.
@dataclass(frozen=True, kw_only=True)
class Settings(
    WorkerSettings,
    HookSettings,
    PictrsSettings,
    DatabaseSettings,
    LimitSettings,
    DetectorSettings,
    RunSettings,
    StorageSettings,
):
    """All settings of one run, validated one by one; combinations are checked where they are used."""

    env_file: Path = dataclasses.field(default=DEFAULT_FILE, compare=False)
    """Not an option: the file that was read, or would be if it existed. For messages on where to set something."""


def _options() -> dict[str, Option]:
    table = {}
    for item in dataclasses.fields(Settings):
        if "option" not in item.metadata:
            continue
        meta = dict(item.metadata["option"])
        names = (*meta.pop("env"), ENV_PREFIX + item.name.upper())
        table[item.name] = Option(name=item.name, env=names, **meta)
    return table


OPTIONS: dict[str, Option] = _options()
"""Every option by its field name, in the order of the documentation."""
