"""Splits long lists of values into pieces that every database accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

#: Values in one IN list. SQLite before 3.32 accepts 999 parameters in a statement; some are left for the rest of the
#: query.
_CHUNK = 500


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
