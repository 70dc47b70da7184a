"""RIFF: WebP (RFC 9649) and AVI. A header with the length of all, then a chain of chunks padded to even offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Steps, Structure, little, printable

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


def read_webp(data: Octets) -> Structure:
    """Walk a WebP, whose header ``data`` begins with."""
    declared = _CHUNK_HEADER + little(data, 4, 4)
    parts = Parts()
    crowded = _walk(data, (_HEADER_SIZE, min(declared, len(data))), _WEBP_PICTURE, parts, Steps())
    end = declared + declared % 2  # some writers count the last padding byte, some do not
    return parts.structure(None if declared > len(data) else min(end, len(data)), crowded=crowded)


def read_avi(data: Octets) -> Structure:
    """Walk an AVI, whose header ``data`` begins with, and its further RIFF chunks (OpenDML 1.02)."""
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
    """Add the blocks beside the picture, between two offsets; whether there are more chunks than are walked."""
    at, end = stretch
    while steps.take():
        if at + _CHUNK_HEADER > end:
            return False
        name = bytes(data[at : at + 4])
        size = min(little(data, at + 4, 4), end - at - _CHUNK_HEADER)
        body = at + _CHUNK_HEADER
        if name == b"LIST":  # its own name stands first in it
            name = bytes(data[body : body + 4])
        if name not in picture:
            block, title = _NAMED.get(name, (Block.OTHER, f"chunk '{printable(name)}'"))
            parts.add(block, title, [(body, size)])
        at = body + size + size % 2
    return True
