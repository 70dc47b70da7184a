"""What a decoded picture looks like, at points that survive lossy formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lemmy_safety.media import MediaLimits, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000, crop_ratio=0)


def shown(data: bytes) -> np.ndarray:
    """The pixels as a light page shows them, of a file that is not odd in any way."""
    media = decode(data, LIMITS)
    assert media.info.anomalies == ()
    return media.frames[0].pixels.astype(int)


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, row by row."""
    height, width, _ = pixels.shape
    top, bottom, left, right = height // 4, height * 3 // 4, width // 4, width * 3 // 4
    return [tuple(pixels[y, x]) for y in (top, bottom) for x in (left, right)]


def near(colours: Sequence[Sequence[int]], expected: Sequence[Sequence[int]], tolerance: int = 12) -> bool:
    """Whether no channel of any colour differs by more."""
    return bool(np.abs(np.array(colours) - np.array(expected)).max() <= tolerance)
