"""Reads flags, environment and ``.env`` into ``Settings``, once."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings.option import ENV_PREFIX, Option
from lemmy_safety.settings.table import OPTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_ENV = {name: item for item in OPTIONS.values() for name in item.env}

#: Our names without their prefix, which are no names of ours. They are not alike enough to be taken for misspellings, and
#: to overlook a DRY_RUN would delete.
_BARE = {
    item.env[0].removeprefix(ENV_PREFIX): item.env[0] for item in OPTIONS.values() if item.env[0].startswith(ENV_PREFIX)
}

#: Those that mean something else to others: in a file that is shared they are none of our business.
_OTHERS_TOO = {"DEBUG"}

#: Those that nobody else's variables are called, and that hold a run back.
_OURS_ALONE = {"DRY_RUN", "SKIP_UNREADABLE"}

#: Names under our prefix that are no settings: where to read settings from, and click's completion switch.
ENV_FILE_NAME = ENV_PREFIX + "ENV_FILE"
_RESERVED = {ENV_FILE_NAME, "_LEMMY_SAFETY_COMPLETE"}

#: How alike an unknown name in .env must be to one of ours to count as a misspelling (difflib ratio).
_TYPO_RATIO = 0.85


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Build the settings: flags before environment before ``.env`` before defaults. Empty texts count as unset.

    ``flags`` maps field names to values or texts; None means not given. ``env_file`` defaults to
    ``LEMMY_SAFETY_ENV_FILE`` or ``.env`` in the working folder; a file that is named must exist.

    :raises SettingsError: with all faults at once.
    """
    environ = os.environ if environ is None else environ
    path, file_values = _read_env_file(env_file, environ)
    faults = [
        *_unknown_names(environ, "environment", strict=True),
        *_unknown_names(file_values, str(path), strict=False),
    ]
    values: dict[str, Any] = {}
    for item in OPTIONS.values():
        try:
            raw, source = _find(item, flags or {}, environ, file_values, path)
            if raw is not None:
                values[item.name] = item.parse(raw, source)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError("\n".join(faults), hint="")
    settings = Settings(**values)
    return dataclasses.replace(settings, ssh_known_hosts=settings.ssh_known_hosts.expanduser())


def _read_env_file(env_file: Path | None, environ: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    named = env_file or (Path(environ[ENV_FILE_NAME]) if environ.get(ENV_FILE_NAME) else None)
    path = named or Path(".env")
    if not path.exists() or path.is_dir():
        if named:
            raise SettingsError(f"The settings file {path} does not exist.", hint="Check --env-file.")
        return path, {}
    try:
        # Notepad puts a byte order mark in front; it is no part of the first name.
        values = dotenv_values(path, encoding="utf-8-sig")
        return path, {name: value for name, value in values.items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error}.", hint="Save it as UTF-8 text."
        ) from error


def _find(
    item: Option, flags: Mapping[str, object], environ: Mapping[str, str], file_values: Mapping[str, str], path: Path
) -> tuple[object | None, str]:
    if flags.get(item.name) is not None:
        return flags[item.name], f"--{item.name.replace('_', '-')}"
    # Within one source the name with our prefix wins: it can only have been meant for us.
    for values, where in ((environ, ""), (file_values, f"{path}: ")):
        for name in reversed(item.env):
            if values.get(name, "").strip():
                return values[name], f"{where}{name}"
    return None, ""


def _unknown_names(values: Mapping[str, str], where: str, *, strict: bool) -> list[str]:
    """Names that look like ours but are none.

    In the environment only our prefix is looked at, and ``DRY_RUN``; in .env also our names without it, and close
    misspellings of any name, because that file is ours but may be shared with, say, docker compose.
    """
    faults = []
    for name, value in values.items():
        if name in _BY_ENV or name in _RESERVED:
            continue
        meant, bare = _BARE.get(name.upper()), name.upper()
        if meant and value.strip() and (bare in _OURS_ALONE or (not strict and bare not in _OTHERS_TOO)):
            if not values.get(meant, "").strip():
                faults.append(f"{where}: {name} is no setting. Did you mean {meant}?")
            continue
        nearest = difflib.get_close_matches(name.upper(), _BY_ENV, n=1, cutoff=_TYPO_RATIO)
        if name.startswith(ENV_PREFIX):
            best = nearest or difflib.get_close_matches(name.upper(), _BY_ENV, n=1, cutoff=0.0)
            faults.append(f"{where}: {name} is no setting. Did you mean {best[0]}?")
        elif nearest and not strict:
            faults.append(f"{where}: {name} is no setting. Did you mean {nearest[0]}?")
    return faults
