"""TIFF and EXIF: directories of tagged values that point anywhere in the file (TIFF 6.0, BigTIFF, Exif 2.32).

A TIFF has no end of its own and no order. Only the last byte that a directory points at can be determined;
unused bytes between two values are not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import Octets, Structure, big, little, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Most directories read in one file, and entries in one directory: a camera writes a dozen with a hundred each.
_MAX_DIRECTORIES: Final = 100
_MAX_ENTRIES: Final = 1_000
#: Most numbers read in one file, which are the strips or tiles of its pictures; some 0.1 s.
_MAX_VALUES: Final = 200_000

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_BIG_TIFF: Final = 43
#: How TIFF and BigTIFF begin, in either byte order.
STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH: Final = 0x100
_HEIGHT: Final = 0x101
_COMPRESSION: Final = 0x103
_STRIPS: Final = (0x111, 0x117)
_TILES: Final = (0x144, 0x145)
_FREE: Final = (0x120, 0x121)
_JPEG: Final = (0x201, 0x202)
_SUB_DIRECTORIES: Final = (0x14A, 0x8769, 0x8825, 0xA005)
_UNCOMPRESSED: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: type, count, and where the numbers are (beyond the data: nowhere)."""

    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        return self.count * _SIZES.get(self.kind, 1)


Directory = dict[int, Entry]


@dataclass(frozen=True, slots=True)
class Exif:
    """An EXIF block's description of its thumbnail; offsets are in the data that it was read from.

    ``jpeg`` is the offset of a thumbnail that is a separate file; ``raw`` is one of RGB samples, as (offset, width,
    height).
    """

    jpeg: int | None
    raw: tuple[int, int, int] | None


class TiffReader:
    """Reads directories of a TIFF whose header is at ``base``; all offsets are those of ``data``."""

    def __init__(self, data: Octets, base: int = 0) -> None:
        self._data = data
        self._base = base
        self.number: Callable[[Octets, int, int], int] = little if data[base : base + 2] == b"II" else big
        self._wide = self.number(data, base + 2, 2) == _BIG_TIFF
        self._widths = (8, 20, 8) if self._wide else (2, 12, 4)
        self._values_left = _MAX_VALUES

    @property
    def first(self) -> int:
        """Where the first directory is; beyond the data if there is none."""
        return self._base + self.number(self._data, self._base + (8 if self._wide else 4), 8 if self._wide else 4)

    def directory(self, at: int) -> tuple[Directory, int]:
        """The directory at ``at``, and where the next one is (``base``: there is none)."""
        count_size, entry_size, offset_size = self._widths
        count = min(self.number(self._data, at, count_size), _MAX_ENTRIES)
        directory: Directory = {}
        for number in range(count):
            place = at + count_size + number * entry_size
            if place + entry_size > len(self._data):
                break
            kind = self.number(self._data, place + 2, 2)
            values = place + 4 + offset_size
            entry = Entry(kind, self.number(self._data, place + 4, offset_size), values)
            if entry.size > offset_size:
                entry = Entry(kind, entry.count, self._base + self.number(self._data, values, offset_size))
            directory[self.number(self._data, place, 2)] = entry
        return directory, self.following(at)

    def following(self, at: int) -> int:
        """Where the directory after the one at ``at`` is; ``base`` if there is none."""
        count_size, entry_size, offset_size = self._widths
        link = at + count_size + self.number(self._data, at, count_size) * entry_size
        return self._base + self.number(self._data, link, offset_size)

    def values(self, directory: Directory, tag: int, *, most: int = _MAX_VALUES) -> list[int]:
        """The first whole numbers of an entry; empty if there is none, or if it is of another type."""
        entry = directory.get(tag)
        if entry is None or entry.kind not in {1, 3, 4, 7, 13, 16, 18}:
            return []
        width = _SIZES[entry.kind]
        there = max(0, len(self._data) - entry.at) // width
        count = min(entry.count, there, most, self._values_left)
        self._values_left -= count
        return [self.number(self._data, entry.at + number * width, width) for number in range(count)]

    def value(self, directory: Directory, tag: int) -> int:
        """The first number of an entry; 0 if there is none."""
        values = self.values(directory, tag, most=1)
        return values[0] if values else 0

    def stretches(self, directory: Directory, tags: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Offset and size of each stretch, from two entries: one of offsets and one of lengths."""
        for at, size in zip(self.values(directory, tags[0]), self.values(directory, tags[1]), strict=False):
            yield self._base + at, size

    def stretch(self, directory: Directory, tags: tuple[int, int]) -> tuple[int, int]:
        """The first of ``stretches``; of size 0 if there is none."""
        return self._base + self.value(directory, tags[0]), self.value(directory, tags[1])

    def directories(self) -> Iterator[Directory]:
        """All directories: the chain of pages, and those that entries point at."""
        seen: set[int] = set()
        waiting = [self.first]
        while waiting and len(seen) < _MAX_DIRECTORIES:
            at = waiting.pop()
            if at in seen or not self._base < at < len(self._data):
                continue
            seen.add(at)
            directory, following = self.directory(at)
            yield directory
            inner = [
                self._base + at for tag in _SUB_DIRECTORIES for at in self.values(directory, tag, most=_MAX_DIRECTORIES)
            ]
            waiting += [following, *inner]


def is_tiff(data: Octets, at: int) -> bool:
    """Whether there is a TIFF header at ``at`` that points at a directory with a plausible number of entries."""
    reader = TiffReader(data, at)
    if not at < reader.first < len(data):
        return False
    directory, _ = reader.directory(reader.first)
    return len(directory) > 0 and all(entry.kind in _SIZES for entry in directory.values())


def read(data: Octets) -> Structure:
    """Collect what the directories of a TIFF point at; its header is at the start of ``data``.

    Strips and tiles are its own: compressed as JPEG, each of them is a JPEG file.
    """
    reader = TiffReader(data)
    own: list[tuple[int, int]] = []
    end = 8
    for directory in reader.directories():
        for entry in directory.values():
            end = max(end, entry.at + entry.size)
        for tags in (_STRIPS, _TILES, _FREE, _JPEG):
            own += reader.stretches(directory, tags)
    end = max([end, *(at + size for at, size in own)])
    return Structure(end=None if end > len(data) else end, own=tuple(merged(own)))


def holds_picture(data: Octets, at: int) -> bool:
    """Whether the TIFF at ``at`` has its own pixels in its first directory, unlike an EXIF block."""
    reader = TiffReader(data, at)
    directory, _ = reader.directory(reader.first)
    return reader.value(directory, _WIDTH) > 0 and any(tag in directory for tag in (_STRIPS[0], _TILES[0]))


def read_exif(data: Octets, base: int) -> Exif:
    """Find the thumbnail of the EXIF block at ``base``, from its second directory."""
    reader = TiffReader(data, base)
    following = reader.following(reader.first)
    if following <= base:
        return Exif(None, None)
    directory, _ = reader.directory(following)
    strip, jpeg = reader.stretch(directory, _STRIPS), reader.stretch(directory, _JPEG)
    width, height = reader.value(directory, _WIDTH), reader.value(directory, _HEIGHT)
    is_raw = reader.value(directory, _COMPRESSION) == _UNCOMPRESSED and 0 < 3 * width * height <= strip[1]
    return Exif(jpeg[0] if jpeg[1] else None, (strip[0], width, height) if is_raw else None)
