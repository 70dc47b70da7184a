"""Keys as arguments: typed, or one per line on stdin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.output.text import printable
from lemmy_safety.errors import BadKey, LedgerError
from lemmy_safety.storage.names import typed_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def chosen_keys(arguments: Sequence[str]) -> list[str]:
    """The given keys, each once and in order; ``-`` stands for the lines of stdin.

    File names that are not UTF-8 may be typed as they are on disk, see ``storage.names``.

    :raises click.UsageError: one of them cannot be a key, or there are none. A command calls this before it does
        anything, so that it never applies to only some of the keys.
    """
    keys: dict[str, None] = {}
    for argument in arguments:
        named = (line for line in _lines_of_stdin() if line) if argument == "-" else (argument,)
        keys.update((_key(text), None) for text in named)
    if arguments and not keys:
        raise click.UsageError("No key on stdin.")
    return list(keys)


def _lines_of_stdin() -> Iterator[str]:
    # From bytes: whether Python reads other text than UTF-8 from stdin depends on the locale.
    for line in sys.stdin.buffer:
        yield line.decode(sys.stdin.encoding, errors="surrogateescape").rstrip("\r\n")


def _key(text: str) -> str:
    if not text:
        raise click.UsageError("A KEY is empty; nothing was changed. Is a variable in the command not set?")
    try:
        key = typed_key(text)
    except BadKey:
        raise _impossible(text, "no file can have this name") from None
    if "\0" in key:
        raise _impossible(text, "it has NUL in it")
    return key


def _impossible(text: str, why: str) -> click.UsageError:
    return click.UsageError(
        f"{printable(text)} cannot be a KEY: {why}; nothing was changed. Type keys in single quotes, as "
        "'lemmy-safety flagged' lists them; on stdin, one a line."
    )


def unknown_keys(keys: Iterable[str], where: str, *, listed_by: str = "flagged") -> LedgerError:
    """The error for keys missing from ``where``; shows the first few, and the command that lists valid keys."""
    named = sorted(keys)
    shown = ", ".join(printable(key) for key in named[:5])
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""  # noqa: PLR2004 - the five just shown
    return LedgerError(
        f"{where}: {shown}{more}.", hint=f"Keys are shown exactly by 'lemmy-safety {listed_by} --all --json'."
    )
