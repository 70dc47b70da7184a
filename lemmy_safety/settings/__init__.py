"""Every option in one table, read once from flags, environment and ``.env`` into one frozen object.

Each field of ``Settings`` carries its names, range, help and secrecy; a file here holds one section of the table. Flags,
``env_example``, ``--help`` and ``docs/options.md`` are made from it or tested against it. Only this room reads the
environment; other rooms receive values from ``wiring``, never these settings.
"""

from lemmy_safety.settings.choosing import check_complete, choose_storage, filled_storages
from lemmy_safety.settings.loading import (
    Reading,
    UnknownSetting,
    env_file_in_use,
    load_settings,
    proxies,
    read_alone,
    read_settings,
    variable,
)
from lemmy_safety.settings.names import ENV_FILE_NAME
from lemmy_safety.settings.option import ENV_PREFIX, Option
from lemmy_safety.settings.table import OPTIONS, Settings
from lemmy_safety.settings.template import env_example

__all__ = [
    "ENV_FILE_NAME",
    "ENV_PREFIX",
    "OPTIONS",
    "Option",
    "Reading",
    "Settings",
    "UnknownSetting",
    "check_complete",
    "choose_storage",
    "env_example",
    "env_file_in_use",
    "filled_storages",
    "load_settings",
    "proxies",
    "read_alone",
    "read_settings",
    "variable",
]
