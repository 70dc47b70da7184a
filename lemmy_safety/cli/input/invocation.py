"""The command line's input: flags collected while click parses, turned into settings once, when a command needs them.

The options are made from ``settings.OPTIONS``; this module knows nothing about single settings except that they exist.
Values go to ``load_settings`` as text, so that a flag and an environment variable follow the same rule and get the same
error message.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lemmy_safety.cli.output.redaction import Redaction
from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import (
    ENV_FILE_NAME,
    OPTIONS,
    Option,
    Reading,
    Settings,
    load_settings,
    proxies,
    read_alone,
    read_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.shell_completion import CompletionItem

F = TypeVar("F", bound="Callable[..., Any]")

#: Flags of every command that opens the storage or the database.
EVERYWHERE = ("storage", "debug")


@dataclass(slots=True)
class Invocation:
    """One call of the command line; click carries it as the context's object."""

    flags: dict[str, object] = field(default_factory=dict)
    env_file: Path | None = None
    redaction: Redaction = field(default_factory=Redaction)
    is_service: bool = False
    """Whether the command runs until it is stopped: the daemon, as far as known yet, the hook, a worker."""
    _settings: Settings | None = None

    def settings(self) -> Settings:
        """The settings of this call, read once. From then on all output is redacted of their secrets.

        :raises SettingsError: lists all errors at once.
        """
        if self._settings is None:
            self._settings = load_settings(self.flags, env_file=self.env_file)
            self.redaction.learn(self._settings, urls=proxies())
        return self._settings

    def settings_in_part(self) -> Reading:
        """The readable part of the settings, for ``doctor``, which goes on despite errors. Their secrets are hidden."""
        reading = read_settings(self.flags, env_file=self.env_file)
        self.redaction.learn(reading.settings, urls=proxies())
        return reading

    def written(self, name: str) -> str:
        """An option's name in messages about this call: as the admin wrote it, with file and line."""
        return read_settings(self.flags, env_file=self.env_file).written(name)

    def fault_file(self) -> Path | None:
        """Where a service writes why it waits; known even if the settings cannot be read, which may be the reason."""
        if self._settings is not None:
            return self._settings.fault_file
        file: Path | None = None
        with contextlib.suppress(SettingsError):
            file = read_alone("fault_file")
        return file

    @property
    def debug(self) -> bool:
        """Whether tracebacks are wanted, as far as known yet."""
        return bool(self.flags.get("debug")) or (self._settings is not None and self._settings.debug)


def current() -> Invocation:
    """The invocation of the command that is running."""
    return click.get_current_context().ensure_object(Invocation)


def settings_options(*names: str, help_instead: Mapping[str, str] | None = None) -> Callable[[F], F]:
    """Give a command the flags for these settings, plus those in ``EVERYWHERE`` and ``--env-file``.

    The flags are accepted before and after the subcommand; those after it win. ``help_instead`` has the help of
    settings with a different meaning in this command.
    """
    helps = help_instead or {}

    def decorate(command: F) -> F:
        command = _env_file_option(command)
        for name in reversed(tuple(dict.fromkeys((*names, *EVERYWHERE)))):
            command = _flag(OPTIONS[name], helps.get(name))(command)
        return command

    return decorate


def _flag(item: Option, help_instead: str | None) -> Callable[[F], F]:
    spellings = [f"--{item.name.replace('_', '-')}"]
    if "_" in item.name:
        spellings.append(f"--{item.name}")
    if item.short:
        spellings.insert(0, item.short)
    shared: dict[str, Any] = {
        "default": None,
        "expose_value": False,
        "callback": _remember,
        "help": help_instead or described(item),
    }
    if item.kind is bool:
        return click.option(*spellings, item.name, is_flag=True, **shared)
    return click.option(
        *spellings, item.name, type=str, metavar=_metavar(item), shell_complete=_complete(item), **shared
    )


def described(item: Option) -> str:
    """An option's help with its preferred environment name, its range and its default, all from the table."""
    facts = [f"env: {item.env[0]}"]
    if item.minimum is not None and item.maximum is not None:
        facts.append(item.allowed)
    if shown := shown_default(item):
        facts.append(f"default: {shown}")
    return f"{item.help}  [{'; '.join(facts)}]"


def shown_default(item: Option) -> str:
    """A default as a user would type it; empty if there is none worth showing."""
    if item.secret or item.default is None or item.default is False or item.default == "":
        return ""
    if isinstance(item.default, bool):
        return "true"
    if isinstance(item.default, tuple):
        return ",".join(item.default)
    return f"{item.default:g}" if isinstance(item.default, float) else str(item.default)


def _metavar(item: Option) -> str:
    if item.kind is tuple:
        return "NAME[,NAME...]"
    if item.choices:
        return "|".join(item.choices)
    return "N" if item.kind in (int, float) else "TEXT"


def _complete(item: Option) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asking for completions

        done, comma, part = typed.rpartition(",")
        return [CompletionItem(f"{done}{comma}{choice}") for choice in item.choices if choice.startswith(part)]

    return complete


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None and param.name is not None:
        ctx.ensure_object(Invocation).flags[param.name] = value


def _env_file_option(command: F) -> F:
    return click.option(
        "--env-file",
        "--env_file",
        "env_file",
        type=click.Path(dir_okay=False),
        default=None,
        expose_value=False,
        callback=_remember_env_file,
        help=f"Read settings from this file instead of .env.  [env: {ENV_FILE_NAME}]",
    )(command)


def _remember_env_file(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value.strip():
        raise click.BadParameter("it is empty. Name a file, or leave the option out; then it is .env, if there is one.")
    ctx.ensure_object(Invocation).env_file = Path(value)
