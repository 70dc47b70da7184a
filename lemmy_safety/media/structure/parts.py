"""What a walk over a container returns: its end and its blocks besides the picture. Knows no format.

Walks take ``bytes`` or a ``memoryview`` and return offsets: only data stored in pieces is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Octets = bytes | memoryview

#: Most steps of a walk, a step being one segment, chunk or box: about 0.1 s. A 40 MB file of the usual 8 KB
#: chunks has 5,000. If there are more, that is reported, and the rest is searched by signature alone.
MAX_STEPS: Final = 100_000
#: Most parts reported, each of which is searched; a photo has a dozen.
MAX_PARTS: Final = 1_000
#: Shorter stretches cannot contain a file: the smallest GIF has 26 bytes, the smallest zip archive 22.
MIN_PART: Final = 16


class Steps:
    """Counts the steps of one walk, in all its nested and consecutive loops."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self) -> bool:
        """Whether one more is allowed."""
        self._left -= 1
        return self._left >= 0

    @property
    def over(self) -> bool:
        return self._left < 0


class Block(StrEnum):
    """The content of a part, as far as its container says. Each kind has its own size limit in ``metadata``."""

    EXIF = "EXIF block"
    XMP = "XMP block"
    PROFILE = "colour profile"
    PHOTOSHOP = "Photoshop block"
    JFIF = "JFIF header"
    FURTHER = "index of further pictures"
    TEXT = "text"
    CREDENTIALS = "content credentials"
    TAGS = "tags"
    """A moving picture's own description: titles, chapters, cover pictures."""
    MOTION = "motion photo"
    OTHER = "other block"
    FREE = "free space"
    """No reader looks here: padding, free boxes, gaps."""


@dataclass(frozen=True, slots=True)
class Part:
    """One block besides the picture itself.

    ``spans`` are its pieces in the file as (offset, size), ascending, never empty; ``name`` fits after "in the ...".
    ``joined`` is the content if the file does not contain it unchanged (stored in pieces, deflated), else None.
    """

    block: Block
    name: str
    spans: tuple[tuple[int, int], ...]
    joined: bytes | None = None

    @property
    def offset(self) -> int:
        return self.spans[0][0]

    @property
    def size(self) -> int:
        """Its size in the file, in bytes."""
        return sum(size for _, size in self.spans)

    def content(self, data: Octets) -> Octets:
        """Its content; ``data`` is the file in which it was found."""
        if self.joined is not None:
            return self.joined
        offset, size = self.spans[0]
        return data[offset : offset + size]


class Parts:
    """Collects the parts of one walk, up to the reported number."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._left_out = False

    def add(self, block: Block, name: str, spans: Iterable[tuple[int, int]], joined: bytes | None = None) -> None:
        """Add a part unless it is too short to contain anything."""
        pieces = tuple(spans)
        if self.full:
            self._left_out = True
        elif sum(size for _, size in pieces) >= MIN_PART:
            self._parts.append(Part(block, name, pieces, joined))

    @property
    def full(self) -> bool:
        return len(self._parts) >= MAX_PARTS

    def structure(
        self, end: int | None = None, *, own: Iterable[tuple[int, int]] = (), crowded: bool = False
    ) -> Structure:
        """The result of the walk, which ended at ``end``."""
        return Structure(end, tuple(self._parts), tuple(merged(own)), crowded or self._left_out)


@dataclass(frozen=True, slots=True)
class Structure:
    """The result of one walk.

    ``end`` is the offset after the medium's last byte; None if it cannot be determined: the file is cut off or damaged
    before it, or the format does not say. ``own`` are stretches (offset, size), ascending and apart, that look like
    separate files and belong to the medium. ``crowded``: there was more than ``MAX_STEPS`` or ``MAX_PARTS``.
    """

    end: int | None = None
    parts: tuple[Part, ...] = ()
    own: tuple[tuple[int, int], ...] = ()
    crowded: bool = False


def big(data: Octets, at: int, size: int) -> int:
    """The big-endian number of ``size`` bytes at ``at`` (0 or more), or of those left at the end of the data."""
    return int.from_bytes(data[at : at + size], "big")


def little(data: Octets, at: int, size: int) -> int:
    """As ``big``, little-endian."""
    return int.from_bytes(data[at : at + size], "little")


def printable(name: Octets) -> str:
    """The name of a block for a person: ASCII unchanged, anything else as a question mark."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in bytes(name))  # noqa: PLR2004 - printable ASCII


def says_something(stretch: Octets) -> bool:
    """Whether a stretch besides a picture can contain anything: it is not short, and not padding of one repeated byte.

    Surrounding zeros and line ends do not count.
    """
    octets = bytes(stretch).strip(b"\0\r\n")
    return len(octets) >= MIN_PART and len(octets.strip(octets[:1])) > 0


def merged(stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Stretches (offset, size) in order; those that overlap or touch are joined."""
    start = end = -1
    for at, size in sorted(stretches):
        if start < 0 or at > end:
            if start >= 0:
                yield start, end - start
            start = end = at
        end = max(end, at + size)
    if start >= 0:
        yield start, end - start
