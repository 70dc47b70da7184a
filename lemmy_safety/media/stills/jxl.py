"""JPEG XL: its header (ISO/IEC 18181-1), and pictures by the optional pillow-jxl-plugin.

The plugin decodes a whole file in one call without any limit on its size, so we read the header first. From an
animation it returns only what the last frame changed, which no viewer shows; animations are refused as unsupported.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from PIL import Image, JpegImagePlugin

from lemmy_safety.errors import MissingExtra
from lemmy_safety.media.structure.boxes import boxes
from lemmy_safety.packages import imported, to_install

if TYPE_CHECKING:
    from collections.abc import Callable

_opener_was_there: Final = "JXL" in Image.OPEN
#: What to install, for a person; None if the extra ``jxl`` is completely installed.
MISSING: str | None = None
try:
    with imported("pillow_jxl", extra="jxl", needed_for="JPEG XL"):
        from pillow_jxl import Decoder
except MissingExtra as error:
    MISSING = to_install("jxl", error)
else:
    if not _opener_was_there and "JXL" in Image.OPEN:
        # Importing the plugin makes every Image.open of this process read JPEG XL; only this room wants that.
        del Image.OPEN["JXL"]
        Image.ID.remove("JXL")

_CODESTREAM: Final = b"\xff\x0a"
_INDEX_SIZE: Final = 4  # a codestream in pieces: each begins with its number
# Enough of the codestream for the header up to the animation flag, with a margin.
_HEADER_BYTES: Final = 64
_RATIOS: Final = (None, "1", "6/5", "4/3", "3/2", "16/9", "5/4", "2")
# U32 fields: (bits, offset) for each of the four values of the selector before them.
_SIDE: Final = ((9, 1), (13, 1), (18, 1), (30, 1))
_PREVIEW_SIDE: Final = ((6, 1), (8, 65), (10, 321), (12, 1345))
_PREVIEW_EIGHTHS: Final = ((0, 16), (0, 32), (5, 1), (9, 33))


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """Size as stored, before orientation, and whether it moves."""

    width: int
    height: int
    animated: bool


class _Bits:
    """Reads numbers bit by bit, least significant first; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value

    def choose(self, fields: tuple[tuple[int, int], ...]) -> int:
        bits, offset = fields[self.take(2)]
        return self.take(bits) + offset


def read_header(data: bytes) -> JxlHeader | None:
    """The header of a JPEG XL file, bare or in boxes; None if there is none."""
    stream = _codestream(data)
    if not stream.startswith(_CODESTREAM):
        return None
    bits = _Bits(stream[2:])
    width, height = _size(bits, _side)
    animated = False
    if not bits.take(1) and bits.take(1):  # not all default, and with the extra fields
        bits.take(3)  # orientation, which the library applies
        if bits.take(1):  # a size to be shown at
            _size(bits, _side)
        if bits.take(1):
            _size(bits, _preview_side)
        animated = bool(bits.take(1))
    return JxlHeader(width, height, animated)


def _codestream(data: bytes) -> bytes:
    if data.startswith(_CODESTREAM):
        return data[:_HEADER_BYTES]
    for box in boxes(data):
        if box.name == b"jxlc":
            return data[box.body : box.body + _HEADER_BYTES]
        if box.name == b"jxlp":
            return data[box.body + _INDEX_SIZE : min(box.end, box.body + _INDEX_SIZE + _HEADER_BYTES)]
    return b""


def _size(bits: _Bits, side: Callable[[_Bits, bool], int]) -> tuple[int, int]:
    """Width and height; a side is stored in pixels or in eighths of them, the width often as a ratio."""
    in_eighths = bool(bits.take(1))
    height = side(bits, in_eighths)
    ratio = _RATIOS[bits.take(3)]
    return (side(bits, in_eighths) if ratio is None else int(height * Fraction(ratio))), height


def _side(bits: _Bits, in_eighths: bool) -> int:
    return 8 * (bits.take(5) + 1) if in_eighths else bits.choose(_SIDE)


def _preview_side(bits: _Bits, in_eighths: bool) -> int:
    return 8 * bits.choose(_PREVIEW_EIGHTHS) if in_eighths else bits.choose(_PREVIEW_SIDE)


def open_jxl(data: bytes) -> Image.Image:
    """The picture, already upright; a JPEG that was packed into a JPEG XL is returned as that JPEG.

    :raises Exception: whatever the library raises on a damaged file.
    """
    packed, info, pixels, profile, _ = Decoder(num_threads=1)(data)
    if packed:
        return JpegImagePlugin.JpegImageFile(io.BytesIO(pixels))
    mode = "F" if info.mode == "F;16" else info.mode
    image = Image.frombytes(mode, (info.width, info.height), pixels)
    if profile:
        image.info["icc_profile"] = bytes(profile)
    return image
