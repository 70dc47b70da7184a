"""Column types: how our values are stored in SQLite and PostgreSQL, and come back the same from both.

This module converts single values; it knows no tables and no rules.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from sqlalchemy.engine import Dialect

#: SQLite numbers rows automatically only in a column declared INTEGER; PostgreSQL needs the wide type by name.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, with microseconds. Times in SQLite have no zone, so it is removed and added here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must be timezone-aware")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EnumText(TypeDecorator["StrEnum"]):
    """A ``StrEnum`` as its value, not its name, so that the database reads like the documentation."""

    impl = String(32)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind
        self._members = {member.value: member for member in kind}  # a look-up is several times faster than the call

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        return None if value is None else self._members[value]


class HexBytes(TypeDecorator[str]):
    """Hex digits kept as raw bytes: half the space, which at 10 million rows and two indexed hashes is about 1 GB."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else bytes(value).hex()


class NameSet(TypeDecorator["frozenset[str]"]):
    """A set of short names as sorted, comma-separated text; the empty set is the empty text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: frozenset[str] | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else ",".join(sorted(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> frozenset[str] | None:  # noqa: ARG002
        return None if value is None else _name_set(value)


@lru_cache(maxsize=256)
def _name_set(text: str) -> frozenset[str]:
    """Cached: a table of 10 million rows holds a handful of such sets."""
    return frozenset(filter(None, text.split(",")))


class JsonText(TypeDecorator[Any]):
    """JSON as compact text. Not the server's own type: PostgreSQL's refuses NaN and NUL, which decoders do produce."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else _dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced: no database stores them, and decoder messages contain both."""
    if text.isascii() and "\0" not in text:  # nearly always, and ten times as fast
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _dump(value: Any) -> str:
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        text = "\\u"
    if "\\u" not in text:
        return text
    # Something is not JSON, or is escaped and may be a NUL or a surrogate: walk through it.
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """The value with NaN and infinities as text, which JSON cannot hold as numbers."""
    match value:
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return clean_text(value)
        case dict():
            mapping: Mapping[Any, Any] = value
            return {clean_text(str(key)): _plain(item) for key, item in mapping.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return clean_text(str(value))
