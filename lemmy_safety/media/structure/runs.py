"""Runs of small elements, found at the speed of the ``re`` module instead of one by one.

A file of 40 MB holds 20 million elements of two bytes. Browsers read them in a second; a loop in Python takes half a
minute. So walks skip small elements in runs, and examine only those large enough to be few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Largest content of an element that is skipped in a run, in bytes. A file of 40 MB has at most half a million larger
#: ones.
SMALL: Final = 64
#: Bytes of filler, and elements, up to which a file goes to its decoder unchanged: some 30 ms of Pillow's loops.
MUCH_FILLER: Final = 64 * 1024
MANY_ELEMENTS: Final = 1_000


def either(patterns: Iterable[bytes]) -> bytes:
    """A group that matches the first of the patterns that fits."""
    return b"(?:" + b"|".join(patterns) + b")"


def octet(number: int) -> bytes:
    """The pattern for one byte."""
    return rb"\x%02x" % number


def run(element: bytes) -> bytes:
    """One or more elements in a row. Possessive, so that a long run takes no memory and never backtracks."""
    return b"(?:" + element + b")++"


def sized(element: Callable[[int], bytes], sizes: Iterable[int]) -> bytes:
    """The pattern for an element of one of the sizes; ``element`` returns it for one size."""
    return either(map(element, sizes))
