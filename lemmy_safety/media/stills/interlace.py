"""Fills interlaced GIFs and PNGs of which only the first passes arrived, as browsers do.

An interlaced file begins with a coarse picture of the whole and refines it pass by pass. Browsers draw missing parts
from the pass before, so a file cut off after a tenth of its bytes shows everything, only coarser. Pillow leaves the
missing pixels empty: stripes or dots, in which no classifier sees anything. Only for damaged files; knows no limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lemmy_safety.media import sniff
from lemmy_safety.media.structure import gif
from lemmy_safety.media.structure.parts import big

if TYPE_CHECKING:
    import numpy.typing as npt

# GIF89a appendix E: first row and step of each pass, and how many rows each row fills until the next pass comes.
_GIF_PASSES: Final = ((0, 8, 8), (4, 8, 4), (2, 4, 2), (1, 2, 1))
_GIF_INTERLACED: Final = 0x40
# PNG third edition 8.1: first column and row, steps, and the block that each pixel of a pass fills.
_ADAM7: Final = (
    (0, 0, 8, 8, 8, 8),
    (4, 0, 8, 8, 4, 8),
    (0, 4, 4, 8, 4, 4),
    (2, 0, 4, 4, 2, 4),
    (0, 2, 2, 4, 2, 2),
    (1, 0, 2, 2, 1, 2),
    (0, 1, 1, 2, 1, 1),
)


def filled(image: Image.Image, data: bytes, kind: sniff.Kind) -> Image.Image:
    """The loaded first frame of a damaged file with its missing passes filled; unchanged if it is not interlaced."""
    if kind is sniff.GIF and _gif_is_interlaced(data, image):
        return _with_samples(image, _fill_rows(_samples(image)))
    if kind in {sniff.PNG, sniff.APNG} and big(data, 28, 1) == 1 and big(data, 16, 4) == image.width:
        return _with_samples(image, _fill_blocks(_samples(image)))
    return image


def _samples(image: Image.Image) -> npt.NDArray[np.generic]:
    samples: npt.NDArray[np.generic] = np.array(image)
    return samples


def _with_samples(image: Image.Image, samples: npt.NDArray[np.generic]) -> Image.Image:
    """The same picture with other samples: mode, palette and metadata stay."""
    changed = Image.fromarray(samples)
    if image.mode == "P" and image.palette is not None:
        changed.putpalette(image.getpalette(image.palette.mode) or [], image.palette.mode)
    changed.info = dict(image.info)
    return changed


def _gif_is_interlaced(data: bytes, image: Image.Image) -> bool:
    """Whether the first frame is interlaced and fills the screen: only then does its row order apply to the picture."""
    for block in gif.blocks(data):
        if block.kind == gif.FRAME:
            place = data[block.offset + 1 : block.offset + 10]
            size = int.from_bytes(place[4:6], "little"), int.from_bytes(place[6:8], "little")
            return len(place) == 9 and bool(place[8] & _GIF_INTERLACED) and size == image.size  # noqa: PLR2004
    return False


def _fill_rows(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Fill rows in the order in which they are stored, starting with the first that was not decoded.

    All rows that were not decoded have one value, Pillow's initial one.
    """
    height = samples.shape[0]
    order = [(row, reach) for first, step, reach in _GIF_PASSES for row in range(first, height, step)]
    blank = (samples == samples[order[-1][0], :1]).reshape(height, -1).all(axis=1)
    there = len(order)
    while there and blank[order[there - 1][0]]:
        there -= 1
    result = samples.copy()
    for row, reach in order[:there]:
        result[row : row + reach] = samples[row]
    return result


def _fill_blocks(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Draw each pass as blocks over the one before, as far as it was decoded."""
    height, width = samples.shape[:2]
    result = samples.copy()
    for (left, top, across, down, block_width, block_height), there in zip(_ADAM7, _rows_there(samples), strict=True):
        part = samples[top::down, left::across][:there]
        for y in range(min(block_height, height - top)):
            for x in range(min(block_width, width - left)):
                target = result[top + y :: down, left + x :: across]
                fitting = part[: target.shape[0], : target.shape[1]]
                target[: fitting.shape[0], : fitting.shape[1]] = fitting
    return result


def _rows_there(samples: npt.NDArray[np.generic]) -> list[int]:
    """For each pass of a PNG, how many of its rows were decoded: all before the last one that is not empty."""
    there: list[int] = []
    for left, top, across, down, _, _ in reversed(_ADAM7):
        part = samples[top::down, left::across]
        if any(there):
            there.append(part.shape[0])
        else:
            painted = np.flatnonzero(part.any(axis=tuple(range(1, part.ndim))))
            there.append(int(painted[-1]) + 1 if painted.size else 0)
    return there[::-1]
