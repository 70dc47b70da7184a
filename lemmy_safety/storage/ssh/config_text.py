"""The lines of an OpenSSH client configuration, with ``Include`` resolved, and where each of them came from."""

from __future__ import annotations

import glob
import logging
import os
import re
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.home import expanded, expanded_if_known, is_below_home
from lemmy_safety.permissions import NAMED_PIPE, is_named_pipe

_LOG = logging.getLogger(__name__)

#: readconf.c, READCONF_MAX_DEPTH.
_MOST_LEVELS = 16

_WORD = re.compile(r"\w+")

#: Criteria that paramiko can decide. It treats unknown criteria as fulfilled.
_CRITERIA = frozenset({"all", "canonical", "final", "exec", "host", "originalhost", "user", "localuser"})
WITHOUT_VALUE = frozenset({"all", "canonical", "final"})

#: A block that applies to no host.
NEVER = "Host !*"

#: Values that extend to the end of the line, and may contain #.
_WHOLE_LINE = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand", "match"})

#: The owners of these files could make this process run commands.
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class ConfigText:
    """``lines`` as paramiko gets them; ``places`` holds file and line number of each."""

    lines: list[str] = field(default_factory=list)
    places: list[tuple[Path, int]] = field(default_factory=list)

    def add(self, line: str, path: Path, number: int) -> None:
        self.lines.append(line)
        self.places.append((path, number))

    def place_of(self, index: int) -> str:
        path, number = self.places[index]
        return f"{path}, line {number}"

    def place(self, keyword: str, value: str = "") -> str:
        """Where a keyword has this value (or any); the first file if that cannot be found."""
        for index, line in enumerate(self.lines):
            if keyword and keyword_of(line) == keyword and value in line:
                return self.place_of(index)
        return str(self.places[0][0]) if self.places else "SSH config"


def read_lines(path: Path | None) -> ConfigText | None:
    """The lines of a config file; None if none is named and ``~/.ssh/config`` does not exist.

    :raises SettingsError: the file cannot be read, or others may change the default file, which ssh also refuses.
    """
    named = path is not None
    path = expanded_if_known(path or Path("~/.ssh/config"))
    if not named and is_below_home(path):
        return None
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if named:
            raise SettingsError(
                f"SSH_CONFIG: there is no file {path}.", hint="Correct the path, or set it to none."
            ) from error
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    if not named and _others_may_write(facts):
        raise SettingsError(
            f"{path} can be changed by other users, and could have commands run here.",
            hint=f"Give it to this user alone: chmod 600 {shlex.quote(str(path))}  (or set SSH_CONFIG=none).",
        )
    text = ConfigText()
    _read_into(text, path, level=0, block=None)
    return text


def _others_may_write(facts: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):
        return False
    return bool(facts.st_mode & _WRITABLE_BY_OTHERS) or facts.st_uid not in (0, os.geteuid())


def _content(path: Path) -> str:
    if is_named_pipe(path):
        raise SettingsError(
            f"The SSH config file {path} cannot be read: {NAMED_PIPE}.", hint="Set SSH_CONFIG to a file, or to none."
        )
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}, line {number}: not UTF-8 text.", hint="Save the file as UTF-8.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_into(text: ConfigText, path: Path, *, level: int, block: str | None) -> None:
    for number, raw in enumerate(_content(path).splitlines(), start=1):
        keyword = keyword_of(raw)
        line = raw if keyword in _WHOLE_LINE else _without_comment(raw)
        if keyword == "include":
            if level >= _MOST_LEVELS:
                raise SettingsError(f"{path}, line {number}: files include each other without end.", hint="")
            for included in _included(line, path, number):
                _read_into(text, included, level=level + 1, block=block)
                # A block of the included file ends with that file.
                text.add(block or "Host *", path, number)
            continue
        if keyword == "match" and (unknown := _unknown_criterion(line)):
            _LOG.warning("%s, line %d: left out, since 'Match %s' is not supported", path, number, unknown)
            line = NEVER
        elif keyword == "match":
            line = _for_paramiko(line)
        if keyword in ("host", "match"):
            block = line
        text.add(line, path, number)


def _included(line: str, path: Path, number: int) -> list[Path]:
    """ssh_config(5): several patterns, relative ones below ~/.ssh; missing files are skipped."""
    try:
        patterns = shlex.split(line.replace("=", " ", 1))[1:]
    except ValueError as error:
        raise SettingsError(f"{path}, line {number}: {foreign(error)}.", hint="Close the quotes.") from error
    place = f"{path}, line {number}"
    below = [
        Path(each) if each.startswith("~") or Path(each).is_absolute() else Path("~/.ssh", each) for each in patterns
    ]
    whole = [expanded(each, what=place) for each in below]
    found = (Path(each) for pattern in whole for each in sorted(glob.glob(str(pattern))))  # noqa: PTH207 - whole paths
    return [each for each in found if not each.is_dir()]


def _unknown_criterion(line: str) -> str | None:
    try:
        words = shlex.split(line.strip()[len("match") :].lstrip(" \t="))
    except ValueError:
        return None  # reported when the line is read
    while words:
        criterion = words.pop(0).removeprefix("!")
        if criterion.lower() not in _CRITERIA:
            return criterion
        if criterion.lower() not in WITHOUT_VALUE and words:
            words.pop(0)
    return None


def _for_paramiko(line: str) -> str:
    """A line ``Match`` with its criteria in lower case, and without an ``all`` after ``final``.

    ssh ignores case here. paramiko does not: every host fulfils its ``Match HOST name``. It also refuses
    ``Match final all``, which ssh_config(5) allows.
    """
    try:
        words = shlex.split(line.strip()[len("match") :].lstrip(" \t="))
    except ValueError:
        return line  # reported when the line is read
    criteria: list[str] = []
    while words:
        criterion = words.pop(0).lower()
        criteria.append(criterion)
        if criterion.removeprefix("!") not in WITHOUT_VALUE and words:
            criteria.append(words.pop(0))
    if criteria[-2:] == ["final", "all"]:
        criteria.pop()
    return f"Match {shlex.join(criteria)}" if criteria else line


def keyword_of(line: str) -> str:
    """The first word of a line in lower case; empty for comments and blank lines."""
    found = _WORD.match(line.lstrip())
    return found[0].lower() if found else ""


def _without_comment(line: str) -> str:
    """Since OpenSSH 8.7 a comment may follow a value."""
    quoted = False
    for index, char in enumerate(line):
        if char == '"':
            quoted = not quoted
        elif char == "#" and not quoted and index and line[index - 1].isspace() and line[:index].strip():
            return line[:index].rstrip()
    return line


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"The SSH config file {path} cannot be read: {error.strerror}.",
        hint="Set SSH_CONFIG to a file, or to none."
        if isinstance(error, IsADirectoryError)
        else "Give this user read permission, or set SSH_CONFIG=none.",
    )
