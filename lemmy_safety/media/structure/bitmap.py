"""BMP, and Windows icons, which are directories of BMP and PNG pictures (Microsoft's BITMAPFILEHEADER and ICONDIR)."""

from __future__ import annotations

from typing import Final

from lemmy_safety.media.structure.parts import Block, Octets, Parts, Structure, little, merged

_FILE_HEADER: Final = 14
_CORE_HEADER: Final = 12
_INFO_HEADER: Final = 40
_V5_HEADER: Final = 124
#: Header sizes that browsers accept: Windows 2, 3, 4 and 5, and OS/2's of 16 to 64 bytes.
HEADER_SIZES: Final = frozenset({12, 42, 46, 108, 124, *range(16, 68, 4)})
_RAW: Final = frozenset({0, 3, 6})  # rows as they are, with or without masks for the channels
_INDEXED_BITS: Final = 8
_BITS: Final = frozenset({1, 2, 4, 8, 16, 24, 32})
_PROFILE: Final = (112, 116)
_ICON_HEADER: Final = 6
_ICON_ENTRY: Final = 16


def is_bmp(data: Octets, at: int) -> bool:
    """Whether a BMP's headers are at ``at``; the two letters alone also begin many an English text."""
    header = at + _FILE_HEADER
    size = little(data, header, 4)
    return bytes(data[at : at + 2]) == b"BM" and size in HEADER_SIZES


def begins_picture(data: Octets, at: int) -> bool:
    """Whether the headers at ``at`` are those of a BMP with pixels: one plane, and bits per pixel that exist."""
    if not is_bmp(data, at):
        return False
    core = little(data, at + _FILE_HEADER, 4) == _CORE_HEADER
    planes_at = at + (22 if core else 26)
    has_canvas = little(data, at + 18, 2) > 0 and little(data, planes_at - (2 if core else 4), 2) > 0
    return has_canvas and little(data, planes_at, 2) == 1 and little(data, planes_at + 2, 2) in _BITS


def read_bmp(data: Octets) -> Structure:
    """Measure a BMP by its rows, because no program checks the length in its header."""
    header = little(data, _FILE_HEADER, 4)
    core = header == _CORE_HEADER
    width, height = little(data, 18, 2 if core else 4), little(data, 20 if core else 22, 2 if core else 4)
    height = min(height, (1 << 32) - height) if not core else height  # negative: the first row comes first
    bits, compression = little(data, 24 if core else 28, 2), 0 if core else little(data, 30, 4)
    pixels = little(data, 10, 4)
    rows = (width * bits + 31) // 32 * 4 * height if compression in _RAW else little(data, 34, 4)
    end = pixels + rows
    parts = Parts()
    before = _FILE_HEADER + header + _palette(data, header, bits)
    if before < pixels <= len(data):
        parts.add(Block.FREE, "gap before the pixels", [(before, pixels - before)])
    if header == _V5_HEADER and (size := little(data, _FILE_HEADER + _PROFILE[1], 4)):
        at = _FILE_HEADER + little(data, _FILE_HEADER + _PROFILE[0], 4)
        if at + size <= len(data):
            parts.add(Block.PROFILE, "colour profile", [(at, size)])
            end = max(end, at + size)
    return parts.structure(None if end > len(data) or not rows else end)


def _palette(data: Octets, header: int, bits: int) -> int:
    """Bytes between the headers and the pixels: a palette, and a short header's masks for the channels."""
    if header == _CORE_HEADER:
        return 3 << bits if bits <= _INDEXED_BITS else 0
    masks = 16 if header == _INFO_HEADER else 0
    colours = little(data, 46, 4) or (1 << bits if bits <= _INDEXED_BITS else 0)
    return masks + 4 * min(colours, 1 << _INDEXED_BITS)


def read_icon(data: Octets) -> Structure:
    """List the pictures in the directory of an icon; they are its own."""
    listed = [_ICON_HEADER + _ICON_ENTRY * number for number in range(little(data, 4, 2))]
    own = [(little(data, at + 12, 4), little(data, at + 8, 4)) for at in listed if at + _ICON_ENTRY <= len(data)]
    end = max((at + size for at, size in own), default=len(data) + 1)
    return Structure(end=None if end > len(data) else end, own=tuple(merged(own)))
