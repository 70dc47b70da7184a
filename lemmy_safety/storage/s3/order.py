"""Checks whether a server lists keys in the byte order that S3 promises; many shortcuts rely on that order.

A range of keys is listed from its first key to the first one beyond it. That is complete only if the server lists in
byte order, so each page is checked before it is used, and at the end the ranges are checked against each other:
the first key beyond one range must be the first key found in the next range. Then the ranges form one unbroken sequence
in the server's own order, whatever it is, and nothing lies between them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lemmy_safety.storage.s3.listing import KeyRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.storage.s3.answers import Page

#: An upload or a deletion may happen between the two requests of one check.
_LOOKS_AT_A_JOINT = 3


class OrderBroken(Exception):
    """The server does not list in byte order, or not from the requested start. Does not end a pass: see ``bucket``."""


class RangeCheck:
    """Checks one chain of pages. ``first`` is the first key found, ``beyond`` the first key after the range's end."""

    def __init__(self, key_range: KeyRange) -> None:
        self.key_range = key_range
        self.first: str | None = None
        self.beyond: str | None = None
        #: The last key found in the range, or the start of the range.
        self.reached = key_range.after or ""
        self._last = self.reached

    def check(self, page: Page) -> None:
        """Check that the keys of the chain's next page continue in order.

        :raises OrderBroken: they do not.
        """
        for entry in page.entries:
            if entry.key <= self._last:
                raise OrderBroken(f"{entry.key!r} is listed after {self._last!r}")
            self._last = entry.key
            if self.first is None:
                self.first = entry.key
            if self.key_range.last is None or entry.key <= self.key_range.last:
                self.reached = entry.key
            elif self.beyond is None:
                self.beyond = entry.key


def check_joints(checks: Sequence[RangeCheck], met: Callable[[KeyRange], RangeCheck]) -> None:
    """Check that completely listed ranges join up.

    ``met`` lists a range and returns what it found. It is called only if two ranges differ, which uploads and deletions
    during the listing can cause as well.

    :raises OrderBroken: keys may lie between two ranges.
    """
    for left, right in pairwise(checks):
        if left.beyond != right.first and not _joined(left, right, met):
            raise OrderBroken(f"keys between {left.reached!r} and {right.first!r} are listed elsewhere")


def _joined(left: RangeCheck, right: RangeCheck, met: Callable[[KeyRange], RangeCheck]) -> bool:
    edge = right.key_range.after
    again = (
        met(KeyRange(left.reached, edge)).beyond == met(KeyRange(edge, None)).first for _ in range(_LOOKS_AT_A_JOINT)
    )
    return any(again)
