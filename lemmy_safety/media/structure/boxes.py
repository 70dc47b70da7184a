"""ISO base media: MP4, QuickTime, AVIF, HEIC, and the boxed forms of JPEG XL and JPEG 2000 (ISO/IEC 14496-12).

A file is a chain of boxes, each preceded by its length and a name of four characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Steps, Structure, big, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_SIZE: Final = 8
_LONG_HEADER_SIZE: Final = 16
_TO_THE_END: Final = 0
_LENGTH_FOLLOWS: Final = 1
# Names are ASCII; QuickTime's own text boxes begin with a copyright sign.
_NAME: Final = re.compile(rb"[ -~\xa9][ -~]{3}")
# Where players find tracks. FFmpeg, and so Chromium, also opens a box of another name that holds a movie's header.
_MOVIE: Final = frozenset({b"moov", b"moof"})
_MOVIE_IN_DISGUISE: Final = frozenset({b"free", b"hoov"})
_FIRST_IN_MOVIE: Final = frozenset({b"mvhd", b"cmov"})
_EXIF_OFFSET: Final = 4

# Boxes that make up the medium, and those of the outermost level that are examined.
_MEDIUM: Final = frozenset(
    {
        b"ftyp",
        b"mdat",
        b"moov",
        b"moof",
        b"mfra",
        b"sidx",
        b"ssix",
        b"styp",
        b"pdin",
        b"prft",
        b"emsg",
        b"pnot",
        b"pict",
    }
    | {b"PICT", b"jP  ", b"jp2h", b"jp2c", b"JXL ", b"jxlc", b"jxlp", b"jxll", b"jxli", b"jbrd", b"mini"}
)
_IN_MOVIE: Final = frozenset({b"mvhd", b"mvex", b"iods", b"trak", b"cmov", b"ctab", b"clip", b"rmra", b"drm "})
_IN_TRACK: Final = frozenset({b"tkhd", b"mdia", b"edts", b"tref", b"trgr", b"load", b"tapt", b"matt", b"clip", b"txas"})
_NAMED: Final = {
    b"free": (Block.FREE, "free space"),
    b"skip": (Block.FREE, "free space"),
    b"wide": (Block.FREE, "free space"),
    b"meta": (Block.TAGS, "metadata box"),
    b"udta": (Block.TAGS, "tags"),
    b"Exif": (Block.EXIF, "EXIF block"),
    b"xml ": (Block.XMP, "XMP block"),
    b"jumb": (Block.CREDENTIALS, "content credentials"),
    b"mpvd": (Block.MOTION, "motion photo"),
}
# Sources: XMP part 3 (2020) 1.2.7; C2PA 2.1, 11.3.
_XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA_UUID: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_UUID_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Box:
    """One box: ``offset`` is where its header begins, ``body`` its content, ``end`` the offset after it.

    ``end`` is beyond the data if the box is cut off.
    """

    name: bytes
    offset: int
    body: int
    end: int


def boxes(data: Octets, start: int = 0, end: int | None = None, *, any_name: bool = False) -> Iterator[Box]:
    """The boxes from ``start`` to ``end``, in order; stops before anything that is not a box and after a cut-off one.

    ``any_name``: accept names in no standard or not even text, which players skip.
    """
    limit = len(data) if end is None else min(end, len(data))
    at = start
    for _ in range(MAX_STEPS):
        name = bytes(data[at + 4 : at + 8])
        if at + _HEADER_SIZE > limit or not (any_name or _NAME.fullmatch(name)):
            return
        size, header = big(data, at, 4), _HEADER_SIZE
        if size == _LENGTH_FOLLOWS:
            size, header = big(data, at + 8, 8), _LONG_HEADER_SIZE
        elif size == _TO_THE_END:
            size = limit - at
        if size < header:
            return
        yield Box(name, at, at + header, at + size)
        at += size


def may_begin(data: Octets) -> bool:
    """Whether the first eight bytes can be the header of a box, whatever its name."""
    first = next(boxes(data, any_name=True), None)
    return first is not None and first.end <= len(data)


def movie(data: Octets) -> Box | None:
    """The first box from which players take tracks, whatever the file's label; None if they find none.

    In a file with more boxes than are read, it is the rest, if that may contain a movie.
    """
    last: Box | None = None
    steps = 0
    for box in boxes(data, any_name=True):
        inner = bytes(data[box.body + 4 : box.body + 8])
        if box.name in _MOVIE or (box.name in _MOVIE_IN_DISGUISE and inner in _FIRST_IN_MOVIE):
            return box
        last = box
        steps += 1
    if last is None or steps < MAX_STEPS or last.end >= len(data):
        return None
    rest = bytes(data[last.end :])
    is_there = any(name in rest for name in (*_MOVIE, *_FIRST_IN_MOVIE))
    return Box(b"moov", last.end, last.end, len(data)) if is_there else None


def read(data: Octets) -> Structure:
    """Read the outermost boxes, and those of a movie that describe it."""
    parts = Parts()
    own: list[tuple[int, int]] = []
    seen: set[bytes] = set()
    at = 0
    steps = Steps()
    for box in boxes(data, any_name=True):
        if seen & _MEDIUM and not _NAME.fullmatch(box.name):
            break  # the end; before the medium begins, players skip boxes of any name
        if not steps.take():
            break
        if box.name == b"ftyp" and seen & {b"ftyp", b"moov", b"meta"}:
            break  # another file has been appended
        known = box.name in _MEDIUM or box.name in _NAMED or box.name == b"uuid"
        if box.end > len(data):
            # A known box is cut off; bytes that only look like one are after the end.
            return parts.structure(None if known else at, own=own)
        seen.add(box.name)
        if box.name == b"ftyp":
            own.append((box.offset, box.end - box.offset))
        elif box.name == b"moov":
            _add_beside(parts, data, box, _IN_MOVIE, steps)
        elif box.name not in _MEDIUM:
            _add(parts, data, box)
        at = box.end
    crowded = steps.over or not steps.take()
    return parts.structure(None if crowded else at, own=own, crowded=crowded)


def _add_beside(parts: Parts, data: Octets, outer: Box, tables: frozenset[bytes], steps: Steps) -> None:
    """Everything in a movie, or in one of its tracks, that is not one of its own tables."""
    for found in boxes(data, outer.body, outer.end):
        if not steps.take():
            return
        box = replace(found, end=min(found.end, outer.end))
        if box.name == b"trak" and outer.name == b"moov":
            _add_beside(parts, data, box, _IN_TRACK, steps)
        elif box.name not in tables:
            _add(parts, data, box)


def _add(parts: Parts, data: Octets, box: Box) -> None:
    body = box.body
    block, title = _NAMED.get(box.name, (Block.OTHER, f"box '{printable(box.name)}'"))
    if box.name == b"uuid":
        uuid = bytes(data[body : body + _UUID_SIZE])
        if uuid == _XMP_UUID:
            block, title = Block.XMP, "XMP block"
        elif uuid == _C2PA_UUID:
            block, title = Block.CREDENTIALS, "content credentials"
    elif box.name == b"Exif":
        body += _EXIF_OFFSET
    if body < box.end:
        parts.add(block, title, [(body, box.end - body)])
