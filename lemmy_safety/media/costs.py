"""What decoding a still will need, from its header alone; and what it may use.

Three limits, in this order. ``max_pixels`` of the settings for pictures decoded at full size. Four times as much for
pictures decoded at a smaller size (JPEG, still WebP). And for these two, whose memory depends on their
coding, ``DECODE_MEMORY``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import MediaError
from lemmy_safety.media.structure.parts import Octets, big
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from lemmy_safety.media.base import MediaLimits

#: A baseline JPEG of 400 megapixels is decoded at an eighth of its size in 0.3 to 2 s and 35 MB.
SCALED_FACTOR: Final = 4
#: Three quarters of a decoding process's memory: the rest is for its libraries, the file, and the frames.
DECODE_MEMORY: Final = 1536 * 1024 * 1024
_MEBI: Final = 1024 * 1024
_MEGA: Final = 1_000_000

_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd9]")
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frame headers of pictures in several passes: progressive, with Huffman or with arithmetic coding.
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SOS: Final = 0xDA
_MAX_SEGMENTS: Final = 10_000
# A block of 8 x 8 coefficients of 16 bits, as libjpeg keeps it.
_BLOCK_SIDE: Final = 8
_BLOCK_BYTES: Final = 128


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """:raises MediaError: TOO_LARGE, with the numbers."""
    if width * height > max_pixels:
        reason = f"{width} x {height} px is over the limit of {megapixels(max_pixels)}"
        raise MediaError(ItemStatus.TOO_LARGE, reason)


def refuse_costly(width: int, height: int, needed: int, name: str) -> None:
    """:raises MediaError: TOO_LARGE if decoding would take more than ``DECODE_MEMORY``."""
    if needed > DECODE_MEMORY:
        reason = (
            f"{name} of {width} x {height} px that needs {needed // _MEBI} MiB to be decoded, "
            f"over the limit of {DECODE_MEMORY // _MEBI} MiB"
        )
        raise MediaError(ItemStatus.TOO_LARGE, reason)


def scaled_limit(limits: MediaLimits) -> int:
    """The most pixels of a medium whose decoder can output a smaller size."""
    return SCALED_FACTOR * limits.max_pixels


def megapixels(pixels: int) -> str:
    return f"{pixels / _MEGA:g} megapixels"


def jpeg_memory(data: Octets) -> int:
    """Bytes that libjpeg needs for the coefficients of a JPEG; 0 if it needs only a few rows.

    A JPEG in several passes (every progressive one) is kept in memory completely until its last pass, whatever the
    output size; one in a single pass is not.
    """
    at = 2
    needed = components = 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return 0
        marker, body = data[found.end() - 1], found.end()
        if marker in _FRAMES:
            needed, components = _coefficients(data, body), data[body + 7] if body + 7 < len(data) else 0
            if marker in _PROGRESSIVE:
                return needed
        elif marker == _SOS:
            in_first_pass = data[body + 2] if body + 2 < len(data) else 0
            return needed if in_first_pass < components else 0
        at = body + max(2, big(data, body, 2))
    return 0


def _coefficients(data: Octets, body: int) -> int:
    """Bytes for all blocks, from a frame header: length, depth, height, width, count, then three bytes a component."""
    height, width, count = big(data, body + 3, 2), big(data, body + 5, 2), big(data, body + 7, 1)
    sampling = [big(data, body + 9 + 3 * number, 1) for number in range(count)]
    across = max((factor >> 4 for factor in sampling), default=1) or 1
    down = max((factor & 15 for factor in sampling), default=1) or 1
    units = -(-width // (_BLOCK_SIDE * across)) * -(-height // (_BLOCK_SIDE * down))
    return units * _BLOCK_BYTES * sum((factor >> 4) * (factor & 15) for factor in sampling)
