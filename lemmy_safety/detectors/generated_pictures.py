"""Generated pictures for calibrating and measuring fast encoders: seeded, harmless, and of many kinds.

lemmy-safety ships no photos, so these imitate what makes encoders err: flat areas, hard edges, fine noise, gradients,
and the mixture of scales in photos (1/f noise).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Colours = npt.NDArray[np.float64]

_SIDE = 256


def calibration_pictures(count: int, *, seed: int) -> list[Pixels]:
    """``count`` pictures (256, 256, 3), uint8; each seed gives different ones."""
    draw = np.random.default_rng(seed)
    kinds: tuple[Callable[[np.random.Generator], Colours], ...] = (_photo_like, _shapes, _gradient, _blocks, _lines)
    pictures = []
    for number in range(count):
        # Three in five resemble photos, which are most of a pict-rs store.
        colours = _photo_like(draw) if number % 5 < 2 else kinds[number % len(kinds)](draw)  # noqa: PLR2004
        contrast, level = draw.uniform(0.05, 1.3), draw.uniform(0.1, 0.9)
        pictures.append(np.clip(((colours - 0.5) * contrast + level) * 255, 0, 255).astype(np.uint8))
    return pictures


def _photo_like(draw: np.random.Generator) -> Colours:
    """Noise with the spectrum of photos, partly the same in all colours."""
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, np.newaxis], np.fft.fftfreq(_SIDE))
    frequency[0, 0] = 1
    falling = frequency ** -draw.uniform(0.8, 2.0)
    layers = [np.fft.ifft2(np.fft.fft2(draw.normal(size=(_SIDE, _SIDE))) * falling).real for _ in range(4)]
    grey, *colours = [(layer - layer.mean()) / layer.std() for layer in layers]
    share = draw.uniform(0.4, 1)
    return np.stack([0.5 + 0.2 * (share * grey + (1 - share) * colour) for colour in colours], axis=-1)


def _shapes(draw: np.random.Generator) -> Colours:
    picture = np.broadcast_to(draw.random(3), (_SIDE, _SIDE, 3)).copy()
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE]
    for _ in range(int(draw.integers(1, 30))):
        top, left = draw.integers(0, _SIDE, 2)
        high, wide = draw.integers(4, _SIDE // 2, 2)
        if draw.random() < 0.5:  # noqa: PLR2004 - half of them
            inside = (abs(rows - top) < high / 2) & (abs(columns - left) < wide / 2)
        else:
            inside = ((rows - top) / high) ** 2 + ((columns - left) / wide) ** 2 < 1
        picture[inside] = draw.random(3)
    return picture


def _gradient(draw: np.random.Generator) -> Colours:
    across, down = np.meshgrid(np.linspace(0, 1, _SIDE), np.linspace(0, 1, _SIDE))
    return np.stack([draw.normal() * across + draw.normal() * down + draw.normal() * across * down for _ in "rgb"], -1)


def _blocks(draw: np.random.Generator) -> Colours:
    """Random tiles, from single pixels to half the picture."""
    tile = 2 ** int(draw.integers(0, 8))
    tiles = draw.random((_SIDE // tile, _SIDE // tile, 3))
    return tiles.repeat(tile, axis=0).repeat(tile, axis=1)


def _lines(draw: np.random.Generator) -> Colours:
    """Short dark strokes in rows on a light ground, as on a screenshot of text."""
    page = np.ones((_SIDE, _SIDE))
    for top in range(4, _SIDE - 12, int(draw.integers(8, 24))):
        strokes = draw.random(_SIDE // 4) < 0.45  # noqa: PLR2004 - about as much ink as letters have
        page[top : top + 6] = 1 - 0.9 * (strokes.repeat(4) * draw.random((6, _SIDE)).round())
    return page[:, :, np.newaxis] * draw.uniform(0.7, 1, 3)
