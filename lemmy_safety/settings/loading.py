"""Reads flags, environment and ``.env`` into ``Settings``, once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import names
from lemmy_safety.settings.env_file import EnvFile, read_env_file
from lemmy_safety.settings.table import DEFAULT_FILE, OPTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lemmy_safety.settings.option import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The readable part of the settings. Those in ``unknown`` (field names) are invalid and have their default."""

    settings: Settings
    faults: tuple[str, ...]
    unknown: frozenset[str]
    sources: Mapping[str, str] = field(default_factory=dict)
    """By field name: where the option is set, as written there. Unset options are missing."""

    def written(self, name: str) -> str:
        """An option's name in messages: as the admin wrote it, with file and line; else its usual name."""
        return self.sources.get(name, OPTIONS[name].env[0])

    def strict(self, section: str) -> Settings:
        """The settings; reading an invalid one of this section raises ``UnknownSetting``.

        Its default would be another storage or detector than the intended one.
        """
        unknown = sorted(name for name in self.unknown if OPTIONS[name].section == section)
        known = {name: getattr(self.settings, name) for name in OPTIONS}
        strict = _StrictSettings(**known, env_file=self.settings.env_file)
        object.__setattr__(strict, "_unknown", {name: [self.written(other) for other in unknown] for name in unknown})
        return strict


class UnknownSetting(LookupError):
    """An invalid setting was read, so its value is unknown. ``names`` must be corrected first."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class _StrictSettings(Settings):
    _unknown: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __getattribute__(self, name: str) -> Any:
        unknown = super().__getattribute__("_unknown")
        if name in unknown:
            raise UnknownSetting(unknown[name])
        return super().__getattribute__(name)


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Build the settings: flags before environment before ``.env`` before defaults. Empty texts count as unset.

    ``flags`` maps field names to values or texts; None means not given. ``env_file`` defaults to
    ``LEMMY_SAFETY_ENV_FILE`` or ``.env`` in the working folder; a named file must exist.

    :raises SettingsError: lists all errors at once.
    """
    environ = os.environ if environ is None else environ
    reading = _read(flags or {}, environ, read_env_file(_named_env_file(env_file, environ)))
    if reading.faults:
        raise SettingsError("\n".join(reading.faults), hint="")
    return reading.settings


def read_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Reading:
    """As ``load_settings``, but goes on despite errors. Not for anything that acts on objects."""
    environ = os.environ if environ is None else environ
    path = _named_env_file(env_file, environ)
    try:
        file = read_env_file(path)
    except SettingsError as error:
        file = EnvFile(path or DEFAULT_FILE, faults=[str(error)])
    return _read(flags or {}, environ, file)


def _read(flags: Mapping[str, object], environ: Mapping[str, str], file: EnvFile) -> Reading:
    around, inside = list(_misnamed(environ)), list(_misnamed_in(file))
    faults = [*(fault for fault, _ in around), *file.faults, *(fault for fault, _ in inside)]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    unknown = {names.OURS[right].name for _, right in around + inside if right in names.OURS}
    for item in OPTIONS.values():
        try:
            raw, source = _find(item, flags, environ, file)
            if raw is not None:
                sources[item.name] = source
                values[item.name] = item.parse(raw, source)
            elif item.brake and (empty := _left_empty(item, environ, file)):
                faults.append(f"{empty} has no value. Set it to one of: {item.allowed}; or remove it.")
                unknown.add(item.name)
        except SettingsError as error:
            faults.append(str(error))
            unknown.add(item.name)
    return Reading(
        settings=Settings(**values, env_file=file.path),
        faults=tuple(faults),
        unknown=frozenset(unknown),
        sources=sources,
    )


def env_file_in_use(env_file: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Path:
    """The file that ``load_settings`` reads; it need not exist if no setting names it."""
    return _named_env_file(env_file, os.environ if environ is None else environ) or DEFAULT_FILE


def _named_env_file(env_file: Path | None, environ: Mapping[str, str]) -> Path | None:
    return env_file or (Path(environ[names.ENV_FILE_NAME]) if environ.get(names.ENV_FILE_NAME) else None)


def proxies(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The values of ``HTTPS_PROXY``, ``all_proxy`` and the like, which libraries read themselves, in any spelling.

    They can hold a password. ``NO_PROXY`` names hosts, not proxies.
    """
    environ = os.environ if environ is None else environ
    return tuple(
        value
        for name, value in environ.items()
        if name.lower().endswith("_proxy") and name.lower() != "no_proxy" and value
    )


def variable(name: str) -> str | None:
    """An environment variable that one of the admin's files names, as ``~/.ssh/config`` may; None if unset."""
    return os.environ.get(name)


def read_alone(name: str, *, environ: Mapping[str, str] | None = None) -> Any:
    """One setting from the environment alone, even if others are invalid.

    :raises SettingsError: this one is not valid.
    """
    item = OPTIONS[name]
    raw, source = _find(item, {}, os.environ if environ is None else environ, EnvFile(Path()))
    return item.default if raw is None else item.parse(raw, source)


def _find(
    item: Option, flags: Mapping[str, object], environ: Mapping[str, str], file: EnvFile
) -> tuple[object | None, str]:
    if flags.get(item.name) is not None:
        return flags[item.name], f"--{item.name.replace('_', '-')}"
    # Within one source the name with our prefix wins: only that one is certainly ours.
    for name in reversed(item.env):
        if environ.get(name, "").strip():
            return environ[name], name
    for name in reversed(item.env):
        if file.values.get(name, "").strip():
            return file.values[name], file.source(name)
    return None, ""


def _left_empty(item: Option, environ: Mapping[str, str], file: EnvFile) -> str | None:
    """Where the option is present but empty: it may have been meant to be filled from an unset variable."""
    for name in item.env:
        if name in environ:
            return name
        if name in file.values:
            return file.source(name)
    return None


def _misnamed(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables meant for us under a wrong name, also from compose's ``env_file``.

    Each as an error message, and the right name.
    """
    for name, value in environ.items():
        right = names.meant(name, in_file=False)
        if right is not None and not _is_anothers(name, value, environ, in_file=False):
            shown = name if names.is_plain(name) else "a variable"
            yield f"environment: {names.is_not_a_setting(shown, right)}", right


def _misnamed_in(file: EnvFile) -> Iterator[tuple[str, str]]:
    """Names in ``.env`` that are ours except for the prefix; as ``_misnamed``."""
    for name, value in file.values.items():
        twin = names.bare_twin(name, in_file=True)
        if twin and not _is_anothers(name, value, file.values, in_file=True):
            yield f"{file.at(file.lines[name])}: {names.is_not_a_setting(name, twin)}", twin


def _is_anothers(name: str, value: str, values: Mapping[str, str], *, in_file: bool) -> bool:
    """Whether a name of ours without its prefix is empty, or the one with the prefix is set as well."""
    twin = names.bare_twin(name, in_file=in_file)
    return twin is not None and (not value.strip() or bool(values.get(twin, "").strip()))
