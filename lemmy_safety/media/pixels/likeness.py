"""Whether two pictures are the same to a classifier: for previews, icons in several sizes, and unchanged parts.

Compares small copies of both. Pictures that count as the same have the same large and medium shapes and colours; fine
text may differ. Nothing here says what a picture shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Small = npt.NDArray[np.int16]

#: The small copies are squares of this many cells.
GRID: Final = 24
_COMPARED: Final = 8 * GRID
# The distance between two small copies of the same picture, over 17 photos in five sorts of preview each (80 to 320 px
# long, JPEG quality 15 to 75, sharpened and brightened): up to 10 of 255 levels on average and 39 in nearly every cell,
# with a correlation of 0.92 or more. Two different photos correlate by 0.55 at most, those of a stereo camera by 0.79.
_SAME_ON_AVERAGE: Final = 18
_SAME_ALMOST_EVERYWHERE: Final = 72
_ALMOST_EVERYWHERE: Final = 98.5
_CORRELATED: Final = 0.85
# Below this standard deviation a copy is one colour and correlates with nothing; then the colours have to agree.
_FLAT: Final = 3.0
# What a lossy video codec does to a part of the picture in which nothing moves.
_UNCHANGED: Final = 6
# The bars that make a 3:2 or 16:9 picture fill a 4:3 preview are black, apart from JPEG artefacts.
_FLAT_BAR: Final = 24


def small_copy(pixels: Pixels) -> Small:
    """A copy of GRID x GRID cells, each the average of its part of the picture; shape (GRID, GRID, 3)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX)).astype(np.int16)


def unchanged(before: Small, after: Small) -> bool:
    """Whether no cell of two small copies differs visibly."""
    return int(np.abs(before - after).max()) <= _UNCHANGED


def same_picture(picture: Pixels, preview: Pixels) -> bool:
    """Whether ``preview`` shows only ``picture``: all of it or its middle, turned or mirrored, or with black bars."""
    whole = small_copy(preview)
    for turned in _turned(picture):
        if _alike(small_copy(turned), whole):
            return True
        wider = turned.shape[1] * preview.shape[0] / (turned.shape[0] * preview.shape[1])
        if _alike(small_copy(_middle(turned, 1 / wider)), whole):
            return True
        inner = _middle(preview, wider)
        if _bars_are_flat(preview, inner) and _alike(small_copy(turned), small_copy(inner)):
            return True
    return False


def _turned(picture: Pixels) -> Iterator[Pixels]:
    """The picture, at most _COMPARED pixels long, in all eight positions: previews keep the camera's."""
    image = Image.fromarray(picture)
    image.thumbnail((_COMPARED, _COMPARED), Image.Resampling.BOX)
    small = np.asarray(image)
    for turns in range(4):
        yield np.rot90(small, turns)
        yield np.rot90(small[:, ::-1], turns)


def _middle(pixels: Pixels, stretch: float) -> Pixels:
    """The middle part whose proportions are ``stretch`` times as wide as the whole's (below 1: as narrow)."""
    height, width, _ = pixels.shape
    if stretch >= 1:
        kept = max(1, round(height / stretch))
        return pixels[(height - kept) // 2 : (height - kept) // 2 + kept]
    kept = max(1, round(width * stretch))
    return pixels[:, (width - kept) // 2 : (width - kept) // 2 + kept]


def _bars_are_flat(whole: Pixels, inner: Pixels) -> bool:
    top = (whole.shape[0] - inner.shape[0]) // 2
    left = (whole.shape[1] - inner.shape[1]) // 2
    bars = (whole[:top], whole[top + inner.shape[0] :], whole[:, :left], whole[:, left + inner.shape[1] :])
    return all(bar.size == 0 or int(np.ptp(small_copy(bar).reshape(-1, 3), axis=0).max()) <= _FLAT_BAR for bar in bars)


def _alike(one: Small, other: Small) -> bool:
    difference = np.abs(one - other)
    if float(one.std(axis=(0, 1)).max()) < _FLAT or float(other.std(axis=(0, 1)).max()) < _FLAT:
        return int(difference.max()) <= 2 * _UNCHANGED
    return (
        float(difference.mean()) <= _SAME_ON_AVERAGE
        and float(np.percentile(difference.max(axis=2), _ALMOST_EVERYWHERE)) <= _SAME_ALMOST_EVERYWHERE
        and float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) >= _CORRELATED
    )
