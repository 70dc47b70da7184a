"""The template of a settings file: every setting with its help, all commented out."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from lemmy_safety.settings.names import ENV_FILE_NAME
from lemmy_safety.settings.table import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.settings.option import Option

_HEAD = f"""\
# Copy this file to .env and fill in one storage; the rest can stay as it is.
# A line counts once its leading # is gone. Flags win over the environment, the environment wins over this file.
# {ENV_FILE_NAME} names another file than .env in the working folder.
#
# One NAME=value a line, comments on lines of their own, and no quotes: a value is taken exactly as it is written, with
# every $, # and backslash in it. A line that cannot be taken so stops the start, and the message has its number.
# Docker compose changes values of this file unless it is told not to, as docker-compose.yml does with "format: raw"
# (Compose 2.30 or later). Without that, compose makes the value of a variable out of $x and ${{x}}; write $$ for each $ then.
"""


def env_example() -> str:
    """The text of ``env_example``. A plain copy of it sets nothing."""
    lines = [_HEAD]
    for section, items in sections():
        lines.append(f"\n### {section}\n")
        for item in items:
            allowed = f" Allowed: {item.allowed}." if item.allowed else ""
            lines += [f"# {line}" for line in textwrap.wrap(item.help + allowed, 110)]
            # A secret is never prefilled: a copied placeholder would be sent to a real server.
            value = "" if item.secret else (default_text(item) or item.example)
            lines.append(f"#{item.env[0]}={value}\n")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def sections() -> Iterator[tuple[str, list[Option]]]:
    """The options by section, in the order of the documentation."""
    for section, items in itertools.groupby(OPTIONS.values(), key=lambda item: item.section):
        yield section, list(items)


def default_text(item: Option) -> str:
    """A default as it is written into a settings file; empty for a secret and where there is none."""
    if item.secret or item.default is None:
        return ""
    if item.kind is bool:
        return "true" if item.default else "false"
    if item.kind is tuple:
        return ",".join(item.default)
    if item.kind is float:
        return f"{item.default:g}"
    return item.default.as_posix() if isinstance(item.default, Path) else str(item.default)
