"""RIFF: WebP (RFC 9649) and AVI. A header with the total length, then a chain of chunks padded to even offsets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Steps, Structure, little, printable
from lemmy_safety.media.structure.runs import MANY_ELEMENTS, MUCH_FILLER, SMALL, octet, run, sized

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_SIZE: Final = 12
_CHUNK_HEADER: Final = 8
_WEBP_PICTURE: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_AVI_PICTURE: Final = frozenset({b"movi", b"idx1", b"hdrl"})
_NAMED: Final = {
    b"EXIF": (Block.EXIF, "EXIF block"),
    b"XMP ": (Block.XMP, "XMP block"),
    b"ICCP": (Block.PROFILE, "colour profile"),
    b"C2PA": (Block.CREDENTIALS, "content credentials"),
    b"JUNK": (Block.FREE, "free space"),
    b"INFO": (Block.TAGS, "tags"),
}
# Libraries read the first of each of these.
_WEBP_SINGLE: Final = frozenset({b"VP8X", b"ANIM", b"ICCP", b"EXIF"})
_FILLER: Final = re.compile(
    run(
        rb"(?!"
        + b"|".join(sorted(_WEBP_PICTURE | _WEBP_SINGLE))
        + rb")...."
        + sized(lambda size: octet(size) + rb"\0\0\0.{%d}" % (size + size % 2), range(SMALL))
    ),
    re.DOTALL,
)


def read_webp(data: Octets) -> Structure:
    """Read a WebP, whose header is at the start of ``data``."""
    declared = _CHUNK_HEADER + little(data, 4, 4)
    parts = Parts()
    crowded = _walk(data, (_HEADER_SIZE, min(declared, len(data))), _WEBP_PICTURE, parts, Steps())
    end = declared + declared % 2  # some writers count the last padding byte, some do not
    return parts.structure(None if declared > len(data) else min(end, len(data)), crowded=crowded)


def read_avi(data: Octets) -> Structure:
    """Read an AVI, whose header is at the start of ``data``, and its further RIFF chunks (OpenDML 1.02)."""
    parts = Parts()
    end: int | None = None
    steps = Steps()
    for start, stop in _riffs(data):
        if stop > len(data) or stop == start + _CHUNK_HEADER:  # cut off, or a recorder that was never stopped
            end = None
            break
        end = stop
        if _walk(data, (start + _HEADER_SIZE, stop), _AVI_PICTURE, parts, steps):
            return parts.structure(crowded=True)
    return parts.structure(end)


def _riffs(data: Octets) -> Iterator[tuple[int, int]]:
    """Start and end of the first RIFF chunk and of those that continue it."""
    at = 0
    for _ in range(MAX_STEPS):
        if data[at : at + 4] != b"RIFF" or (at and data[at + 8 : at + 12] != b"AVIX"):
            return
        end = at + _CHUNK_HEADER + little(data, at + 4, 4)
        yield at, end
        at = end + end % 2


def _walk(data: Octets, stretch: tuple[int, int], picture: frozenset[bytes], parts: Parts, steps: Steps) -> bool:
    """Add the blocks besides the picture between two offsets; returns whether there are more chunks than are read."""
    at, end = stretch
    while steps.take():
        if at + _CHUNK_HEADER > end:
            return False
        name = bytes(data[at : at + 4])
        size = min(little(data, at + 4, 4), end - at - _CHUNK_HEADER)
        body = at + _CHUNK_HEADER
        if name == b"LIST":  # its own name comes first in it
            name = bytes(data[body : body + 4])
        if name not in picture:
            block, title = _NAMED.get(name, (Block.OTHER, f"chunk '{printable(name)}'"))
            parts.add(block, title, [(body, size)])
        at = body + size + size % 2
    return True


def lean_webp(data: bytes) -> bytes:
    """The same picture or animation without the chunks that have no effect; ``data`` itself if there are few.

    libwebp skips millions of them at once; Python code that looks for the frames of an animation does not.
    """
    end = min(len(data), _CHUNK_HEADER + little(data, 4, 4))
    pieces: list[bytes] = []
    seen: set[bytes] = set()
    at = _HEADER_SIZE
    chunks = filler = 0
    while True:
        run = _FILLER.match(data, at, end)
        if run is not None:
            filler += run.end() - at
            at = run.end()
        size = little(data, at + 4, 4)
        behind = at + _CHUNK_HEADER + size + size % 2
        if at + _CHUNK_HEADER > end or behind > end:
            break
        chunks += 1
        name = data[at : at + 4]
        if (name in _WEBP_PICTURE | _WEBP_SINGLE) and not (name in _WEBP_SINGLE and name in seen):
            pieces.append(data[at:behind])
        seen.add(name)
        at = behind
    if chunks <= MANY_ELEMENTS and filler <= MUCH_FILLER:
        return data
    kept = b"".join([*pieces, data[at:]])
    declared = little(data, 4, 4) - (len(data) - _HEADER_SIZE - len(kept))
    return data[:4] + declared.to_bytes(4, "little") + data[8:_HEADER_SIZE] + kept
