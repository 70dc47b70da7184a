"""What a container's own structure tells before, beside or without decoding: sizes, frame counts, missing ends.

Every walk here is bounded in steps, because the attacker chooses the bytes: Pillow's own count of a GIF's frames takes
a quarter of a minute on 64 MB of one-pixel frames. None of these functions raises on any input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lemmy_safety.media import sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Counting stops here; pict-rs itself accepts at most 900 frames.
MAX_COUNTED_FRAMES: Final = 10_000
# 255-byte blocks: enough for 255 MB of regular GIF data, and about 0.2 s of walking for an irregular one.
_MAX_STEPS: Final = 1_000_000

_GIF_EXTENSION: Final = 0x21
_GIF_FRAME: Final = 0x2C
_GIF_TRAILER: Final = 0x3B
_HAS_PALETTE: Final = 0x80
_PALETTE_BITS: Final = 0x07


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels from a WebP header; None when it has none.

    Needed before libwebp sees the file: its animation decoder allocates two canvases when it is created.
    """
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:  # noqa: PLR2004 - offsets of the container specification (RFC 9649)
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if chunk == b"VP8L" and data[20:21] == b"\x2f":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def gif_frame_count(data: bytes) -> int:
    """Frames that a GIF holds, at most MAX_COUNTED_FRAMES; one that is cut off counts."""
    frames = 0
    end = len(data)
    at = 13 + _palette_length(data, 10)
    in_blocks = False  # within a chain of sub-blocks, each led by its length, closed by a length of 0
    for _ in range(_MAX_STEPS):
        if at >= end or frames >= MAX_COUNTED_FRAMES:
            break
        byte = data[at]
        if in_blocks:
            at += byte + 1
            in_blocks = byte != 0
        elif byte == _GIF_FRAME:
            frames += 1
            at += 11 + _palette_length(data, at + 9)
            in_blocks = True
        elif byte == _GIF_EXTENSION:
            at += 2
            in_blocks = True
        elif byte == _GIF_TRAILER:
            break
        else:
            at += 1
    return frames


def _palette_length(data: bytes, at: int) -> int:
    if at >= len(data) or not data[at] & _HAS_PALETTE:
        return 0
    return 3 << ((data[at] & _PALETTE_BITS) + 1)


def tiff_page_count(data: bytes) -> int:
    """Pages that a TIFF's chain of directories holds, at most MAX_COUNTED_FRAMES and at least 1."""
    order: Callable[[bytes], int] = _little if data[:2] == b"II" else _big
    big_tiff = order(data[2:4]) == 43  # noqa: PLR2004 - the version number of BigTIFF
    count_size, entry_size, offset_size = (8, 20, 8) if big_tiff else (2, 12, 4)
    at = order(data[8:16] if big_tiff else data[4:8])
    seen: set[int] = set()
    while 0 < at < len(data) and at not in seen and len(seen) < MAX_COUNTED_FRAMES:
        seen.add(at)
        link = at + count_size + entry_size * order(data[at : at + count_size])
        at = order(data[link : link + offset_size])
    return max(len(seen), 1)


def _little(field: bytes) -> int:
    return int.from_bytes(field, "little")


def _big(field: bytes) -> int:
    return int.from_bytes(field, "big")


def padded_to_declared_length(data: bytes, kind: sniff.Kind, *, max_bytes: int) -> bytes | None:
    """A cut-off WebP or AVIF with zeros in place of what is missing; None when that cannot help.

    Their libraries refuse a file that is shorter than it declares, while browsers show the part that is there. Both
    codecs read zeros as data: the rows that were complete come out right, the rest is a smear. JPEG, PNG and GIF need
    no such help, Pillow's tolerant mode keeps what it has of them.
    """
    measure = _DECLARED_LENGTH.get(kind)
    if measure is None:
        return None
    declared = measure(data)
    if not len(data) < declared <= max_bytes:
        return None
    return data + bytes(declared - len(data))


def _riff_length(data: bytes) -> int:
    return 8 + _little(data[4:8])


def _boxes_length(data: bytes) -> int:
    """The end of the last box that begins within ``data``."""
    at = 0
    for _ in range(_MAX_STEPS):
        length = _big(data[at : at + 4])
        if length == 1:  # the real length follows the name, in eight bytes
            length = _big(data[at + 8 : at + 16])
        if length < 8 or at + 8 > len(data):  # noqa: PLR2004 - a box is at least its own length and name
            break
        at += length
    return at


_DECLARED_LENGTH: Final[Mapping[sniff.Kind, Callable[[bytes], int]]] = {
    sniff.WEBP: _riff_length,
    sniff.AVIF: _boxes_length,
}
