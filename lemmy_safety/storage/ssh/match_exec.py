"""``Match exec`` of OpenSSH's config file: runs the commands, and keeps or drops blocks by their results.

paramiko runs them with the package invoke, which needs bash, reads this process's own standard input and never times
out.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.storage.ssh.config_text import NEVER, WITHOUT_VALUE, keyword_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paramiko

_LOG = logging.getLogger(__name__)

#: These commands check the network or a file. One that takes longer hangs.
_TIMEOUT_S = 20.0

#: A keyword that no config file has; set if all other criteria of a block are fulfilled.
_MARK = "LemmySafetyMark"


def without_exec(
    lines: Sequence[str],
    lookup: Callable[[Sequence[str]], paramiko.SSHConfigDict],
    fill_in: Callable[[str, paramiko.SSHConfigDict], str],
) -> list[str]:
    """The lines with each ``exec`` decided.

    ``lookup`` evaluates lines for the host in question, ``fill_in`` replaces the tokens of a command. As with ssh, a
    command is run only if the other criteria of its block are fulfilled, and sees what the lines above it have set.

    :raises SettingsError: a command does not end.
    """
    decided: list[str] = []
    for line in lines:
        if keyword_of(line) != "match":
            decided.append(line)
            continue
        others, commands = _criteria(line)
        if not commands:
            decided.append(line)
            continue
        match = f"Match {shlex.join(others or ['all'])}"
        found = lookup([*decided, match, f"{_MARK} yes"])
        fulfilled = _MARK.lower() in found and all(
            _succeeds(fill_in(command, found)) is wanted for command, wanted in commands
        )
        decided.append(match if fulfilled else NEVER)
    return decided


def _criteria(line: str) -> tuple[list[str], list[tuple[str, bool]]]:
    """The criteria other than exec, and each command with whether it should succeed."""
    words = shlex.split(line.strip()[len("match") :].lstrip(" \t="))
    others: list[str] = []
    commands = []
    while words:
        criterion = words.pop(0)
        value = [] if criterion.removeprefix("!") in WITHOUT_VALUE or not words else [words.pop(0)]
        if criterion.removeprefix("!") == "exec" and value:
            commands.append((value[0], not criterion.startswith("!")))
        else:
            others += [criterion, *value]
    return others, commands


def _succeeds(command: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S602 - what the admin's config file says
            command,
            shell=True,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise SettingsError(
            f"'Match exec' of the SSH config file: {command!r} did not end within {_TIMEOUT_S:g} s.",
            hint="Make it quicker, or set SSH_CONFIG=none.",
        ) from error
    _LOG.debug("Match exec %r: status %d", command, done.returncode)
    return done.returncode == 0
