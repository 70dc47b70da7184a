"""Formats names and numbers for people and programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_THOUSAND = 1000
_TEN = 10
_MINUTE_S = 60

#: Unicode categories: control and format characters, separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})


def printable(name: str) -> str:
    """A key with invisible characters, unusual spaces and undecodable bytes escaped.

    Anyone who can write to the storage can choose keys; raw, they could move the cursor or fake a line. A backslash
    stays one, for Windows paths; ``--json`` has the exact text.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in name)


def without_controls(text: str) -> str:
    """The text with invisible characters escaped, and the rest unchanged.

    These are ESC, line ends and the like, and format characters: U+202E reverses the direction, so that ``gnp.exe`` is
    shown as ``exe.png``, and others make two keys look alike.
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _UNSEEN else char
        for char in text
    )


def lines_without_controls(text: str) -> str:
    """As ``without_controls``, but keeps line ends: for messages and tracebacks, which can quote strangers."""
    return "\n".join(map(without_controls, text.split("\n")))


def iso(moment: datetime | None) -> str | None:
    """UTC, ISO 8601, whole seconds, such as ``2026-11-20T10:43:44Z``."""
    if moment is None:
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def plural(number: int, noun: str) -> str:
    """``1 object``, ``1,234 objects``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def counted(numbers: Mapping[Any, int]) -> str:
    """``3 unreadable, 1 gone``; ``0`` when empty."""
    return (
        ", ".join(
            f"{number:,} {str(name).replace('_', ' ')}" for name, number in sorted(numbers.items(), key=str) if number
        )
        or "0"
    )


def amount(size: float) -> str:
    """Bytes, such as ``950 bytes``, ``1.3 MB``, ``120 GB`` (of 1,000 each, as disks and lines are sold)."""
    units = iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while round(size, 1) >= _THOUSAND and (larger := next(units, None)):
        size, unit = size / _THOUSAND, larger
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= _TEN else f"{size:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time in two units at most, such as ``40 s``, ``12 min``, ``5 h 20 min``, ``3 d 4 h``."""
    if round(seconds) < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE_S)
    if minutes < 2 * 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if hours < 2 * 24:
        whole, rest = divmod(minutes, 60) if minutes < 24 * 60 else (hours, 0)
        return f"{whole} h {rest} min" if rest else f"{whole} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def time_range(low_s: float, high_s: float) -> str:
    """Two times in one unit, such as ``about 6 to 8 hours``, ``about 40 minutes``, ``about 2.5 to 3.1 days``; or
    ``less than a second``.
    """
    if high_s < 1:
        return "less than a second"
    units = (("day", 24 * 3600), ("hour", 3600), ("minute", 60))
    unit, length_s = next((one for one in units if high_s >= 2 * one[1]), ("second", 1))
    low, high = (f"{value:.0f}" if value >= _TEN else f"{value:.2g}" for value in (low_s / length_s, high_s / length_s))
    number = high if low == high else f"{low} to {high}"
    return f"about {number} {unit}{'' if number == '1' else 's'}"


def json_text(value: Any) -> str:
    """One JSON document. ASCII only, because the output encoding may lack a key's characters; no control characters."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")  # the only one that json leaves unescaped


def write_json(value: Any) -> None:
    """Print one JSON document on stdout, as ``json_text``."""
    click.echo(json_text(value))


def write_bytes(text: str) -> None:
    """Print text on stdout exactly, with undecodable bytes of file names as they were."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
