"""Reads ``.env`` with python-dotenv's parser, and reports each line that it cannot take exactly as it is written.

python-dotenv itself drops a line that it cannot parse, and expands escapes. A dropped ``LEMMY_SAFETY_DRY_RUN`` deletes,
so here such a line is an error. Other programs may share the file: their assignments are not checked, but any line that
cannot be parsed may hide a setting of ours.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.permissions import NAMED_PIPE, is_named_pipe
from lemmy_safety.settings import names
from lemmy_safety.settings.table import DEFAULT_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from dotenv.parser import Binding

#: Characters that some programs show as a line end, but the parser does not: what follows them looks like a new line,
#: but is part of the one before. NUL comes from files saved as UTF-16.
_ODD = re.compile("[\0\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

_WRITTEN = re.compile(r"\s*(?:export\s+)?(?:'[^']+'|[^=#\s]+)\s*=[^\S\n]*(.*)", re.DOTALL)
_IN_QUOTES = re.compile(r"""(['"])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)

_NOT_ASSIGNED = "this is not NAME=value, and not a comment. Write NAME=value, or put # in front."


@dataclass(slots=True)
class EnvFile:
    """What the file assigns, by name; the line of each name; and the errors, one line of text each."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def source(self, name: str) -> str:
        """File, line and name, for messages about its value."""
        return f"{self.at(self.lines[name])}: {name}"

    def at(self, line: int) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {line}"


def read_env_file(path: Path | None) -> EnvFile:
    """Read ``path``, or ``.env`` in the working folder if it exists.

    :raises SettingsError: a file given by ``path`` does not exist; or it cannot be read, or is not a text file.
    """
    file = EnvFile(path or DEFAULT_FILE)
    text = _text(file.path, was_named=path is not None)
    if text is None:
        return file
    # read_text turned every line end into "\n", so that lines are counted as in editors.
    file.faults += _odd_lines(file, text)
    before: Binding | None = None
    for binding in parse_stream(io.StringIO(text)):
        _take(file, binding, before)
        if binding.key is not None:
            before = binding
    return file


def _text(path: Path, *, was_named: bool) -> str | None:
    """None if there is no file and none is needed."""
    if is_named_pipe(path):
        raise _unreadable(path, NAMED_PIPE, "Put a text file in its place.")
    try:
        # Notepad puts a byte order mark in front; it is not part of the first name.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if not was_named and not path.is_symlink():
            return None
        hint = "Check --env-file." if was_named else "It is a link: correct where it leads to, or remove it."
        raise SettingsError(f"The settings file {path} does not exist.", hint=hint) from None
    except IsADirectoryError as error:
        # Docker creates a folder for a mounted file that does not exist.
        raise _unreadable(path, "it is a folder", "Put a text file in its place.") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, _encoding_fault(error), "Save it as UTF-8 text.") from error
    except ValueError as error:  # NUL in the name
        raise _unreadable(path, foreign(error), "Check --env-file.") from error
    except OSError as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path's own fails on a name that is too long. Windows says "permission denied" of a folder
            raise _unreadable(path, "it is a folder", "Put a text file in its place.") from error
        raise _unreadable(path, foreign(error), "Make it readable for this user.") from error


def _unreadable(path: Path, why: str, hint: str) -> SettingsError:
    return SettingsError(f"The settings file {path} cannot be read: {why}.", hint=hint)


def _encoding_fault(error: UnicodeDecodeError) -> str:
    if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is UTF-16, which some editors call Unicode and which PowerShell's > writes"
    return foreign(error)


def _odd_lines(file: EnvFile, text: str) -> list[str]:
    return [
        f"{file.at(number)}: it holds the character U+{ord(odd[0]):04X}, which not every program takes for the same."
        " Remove it, or save the file as plain UTF-8 text."
        for number, line in enumerate(text.split("\n"), start=1)
        if (odd := _ODD.search(line))
    ]


def _take(file: EnvFile, binding: Binding, before: Binding | None) -> None:
    """``before`` is the assignment above this one, if any."""
    written = binding.original.string
    blank = written[: len(written) - len(written.lstrip())]
    line = binding.original.line + blank.count("\n")
    if binding.error:
        file.faults.append(f"{file.at(line)}: {_what_is_wrong(written)}")
        return
    if binding.key is None:
        return
    fault = _fault_of_name(binding.key, binding.value) or _fault_of_value(binding.key, binding.value, written)
    if fault is None and binding.value is None and before is not None and before.key in names.OURS and not before.value:
        fault = f"this word is on a line of its own below {before.key}=. Write it behind the =, if it is the value; or put # in front."
    if fault is None and binding.key in names.OURS:
        fault = _contradiction(file, binding.key, binding.value)
    if fault is not None:
        file.faults.append(f"{file.at(line)}: {fault}")
    elif binding.value is not None:
        file.values[binding.key] = binding.value
        file.lines.setdefault(binding.key, line)


def _what_is_wrong(written: str) -> str:
    """Shows no part of the line: it may be a password."""
    value = _WRITTEN.match(written)
    if value is not None and value[1][:1] in ("'", '"'):
        quoted = _IN_QUOTES.match(value[1])
        if quoted and "\n" in quoted[2]:
            return (
                "the quote that opens here closes on a later line, and something follows it. Close it on its own line."
            )
        if quoted:
            return "something follows the closing quote. Remove it, or make it a comment with # in front."
        return f"the value begins with {value[1][0]}, and no other {value[1][0]} closes it. Remove it, or close it."
    return _NOT_ASSIGNED


def _fault_of_name(key: str, value: str | None) -> str | None:
    right = names.named_by(key)
    if "\n" in key:
        return "the quote that opens here closes on a later line. Close it on its own line, or remove it."
    if right is None:
        return _NOT_ASSIGNED if value is None and not names.may_stand_alone(key) else None
    if value is None:
        return f"there is no = and no value. Write {right}=value, or put # in front."
    if not names.is_plain(key):
        return f"this does not begin with the name of a setting. Did you mean {right}=value?"
    if key == names.ENV_FILE_NAME:
        return f"{key} works in the environment only. Use that, or --env-file."
    # If the right name is assigned too, the one without our prefix belongs to another program; see ``loading.py``.
    return None if right == key or names.bare_twin(key, in_file=True) else names.is_not_a_setting(key, right)


def _fault_of_value(key: str, value: str | None, written: str) -> str | None:
    hidden = next(names.assigned_in(value or ""), None)
    if hidden is not None:
        return (
            f"the value of {key} goes on to {hidden}. Write each setting on a line of its own; is a quote not closed?"
        )
    after = _WRITTEN.match(written)
    if value is None or key not in names.OURS or after is None:
        return None
    return _fault_of_our_value(key, value, after)


def _fault_of_our_value(key: str, value: str, after: re.Match[str]) -> str | None:
    quoted = _IN_QUOTES.match(after[1])
    if quoted is not None and quoted[2] != value:
        return (
            f"{key} has a backslash inside quotes, which programs read in different ways."
            " Write the value without quotes; then it is taken as it is."
        )
    comment = after[1].removeprefix(value) if quoted is None else quoted.string[quoted.end() :]
    if "#" not in comment:
        return None
    if not value:
        return f"{key} has no value: what follows # is a comment. Write the value in front of it, or remove the line."
    # In free text, nothing else distinguishes a comment from the value.
    if names.OURS[key].is_free_text and (quoted is None or quoted[1] in comment):
        return (
            f"{key} is followed by #, which some programs take for a comment and some for a part of the value."
            " Put the comment on a line of its own, or the whole value in quotes."
        )
    return None


def _contradiction(file: EnvFile, key: str, value: str | None) -> str | None:
    earlier = file.values.get(key)
    if earlier is None or earlier == value:
        return None
    return f"{key} is set again, to another value than in line {file.lines[key]}. Remove one of the two lines."
