"""Keys as arguments: typed, or one a line on stdin."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.text import printable
from lemmy_safety.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def chosen_keys(arguments: Sequence[str]) -> list[str]:
    """The keys that were named, each once and in order; ``-`` stands for the lines of stdin."""
    keys: dict[str, None] = {}
    for argument in arguments:
        named = (line.rstrip("\r\n") for line in sys.stdin) if argument == "-" else (argument,)
        keys.update((key, None) for key in named if key)
    if arguments and not keys:
        raise click.UsageError("No key on stdin.")
    return list(keys)


def unknown_keys(keys: Iterable[str], where: str, *, listed_by: str = "flagged") -> LedgerError:
    """The error for keys that ``where`` does not hold; names the first few of them, and the command that lists them."""
    named = sorted(keys)
    shown = ", ".join(printable(key) for key in named[:5])
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""  # noqa: PLR2004 - the five just shown
    return LedgerError(
        f"{where}: {shown}{more}.", hint=f"Keys are shown exactly by 'lemmy-safety {listed_by} --all --json'."
    )
