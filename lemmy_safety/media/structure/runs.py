"""Runs of small elements, found at the speed of the ``re`` module instead of one by one.

A file of 40 MB holds 20 million elements of two bytes. Browsers walk over them in a second; a loop in Python takes half a
minute. So walks step over small elements in runs, and look at those alone that are large enough to be few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Content of an element that is passed over in a run, in bytes. Of larger ones a file of 40 MB holds half a million.
SMALL: Final = 64
#: Bytes of filler, and elements, up to which a file goes to its decoder as it is: some 30 ms of Pillow's loops.
MUCH_FILLER: Final = 64 * 1024
MANY_ELEMENTS: Final = 1_000


def either(patterns: Iterable[bytes]) -> bytes:
    """A group that matches one of the patterns, the first that does."""
    return b"(?:" + b"|".join(patterns) + b")"


def octet(number: int) -> bytes:
    """The pattern for one byte."""
    return rb"\x%02x" % number


def run(element: bytes) -> bytes:
    """One or more elements in a row. Possessive, so that a long run takes no memory and is never walked back."""
    return b"(?:" + element + b")++"


def sized(element: Callable[[int], bytes], sizes: Iterable[int]) -> bytes:
    """The pattern for an element of one of the sizes; ``element`` gives it for one size."""
    return either(map(element, sizes))
