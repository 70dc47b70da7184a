"""Parts of frames that a classifier would not see: the ends of wide and tall pictures, and everything between.

CLIP and most classifiers see only the middle square of a picture. So a frame whose longer side is more than
``crop_ratio`` times its shorter one is followed by squares of its own height (or width), from end to end, evenly
spaced,
each overlapping the next by at least 30 %: anything up to that width is complete in one of them, and at least 65 % of a
square scene. The two at the very ends are always included. The one in the middle is left out, because the frame's own
middle shows it.

That is 2 squares up to 2.4:1 (screens, phones, films), 4 up to 3.8:1, 6 up to 5.2:1 and so on, at most ``STILL_PARTS``,
which is enough up to 17.8:1. Beyond that, the ends remain, and all of the picture is *folded*: cut into rows that
overlap
in the same way and are stacked like lines of text to make a square. Everything is in one of these views, the
smaller the longer the picture: at 50:1 at half its height, at 1000:1 at a sixth.

In moving pictures each frame gets fewer (``MOVING_PARTS`` in all, at least 3 a frame), and a part is left out if
nothing in it has changed since the frame before. Nothing is enlarged, and nothing here judges a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lemmy_safety.media.pixels import likeness, rendering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from lemmy_safety.records import Frame

    Pixels = npt.NDArray[np.uint8]

#: Most parts of one frame of a still. Up to 17.8:1 they are squares, and at that ratio the whole frame, limited in
#: length, is as high as CLIP's 224 px.
STILL_PARTS: Final = 24
#: Most parts of all frames of a moving picture together, unless 3 a frame are more.
MOVING_PARTS: Final = 64
_LEAST_PARTS: Final = 3

# From one square to the next, as a share of their width.
_STEP: Final = 0.7
_OVERLAP: Final = 1 - _STEP


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a strip, along its longer side: ``rows`` are where its rows begin, each of ``length`` pixels.

    A part with one row is a square. ``number`` counts from 1 to ``of``, including the part left out in the middle.
    """

    rows: tuple[int, ...]
    length: int
    number: int
    of: int


def with_parts(frames: Sequence[Frame], *, crop_ratio: float, moving: bool) -> Iterator[Frame]:
    """Each frame, at most ``rendering.LONG_SIDE`` long, followed by its parts.

    The frames of a still may be longer (``rendering.strip_size``), so that its parts are cut from more pixels.
    """
    most = max(_LEAST_PARTS, MOVING_PARTS // len(frames)) if moving else STILL_PARTS
    most = min(most, STILL_PARTS)
    shown: dict[tuple[int, int, tuple[int, ...]], likeness.Small] = {}
    for frame in frames:
        yield replace(frame, pixels=_within(frame.pixels, rendering.LONG_SIDE))
        height, width, _ = frame.pixels.shape
        if not crop_ratio or max(height, width) <= crop_ratio * min(height, width):
            continue
        lying = frame.pixels if width > height else frame.pixels.swapaxes(0, 1)
        for part in parts(max(height, width), min(height, width), most):
            pixels = _cut(lying, part)
            if len(frames) > 1:
                place = height, width, part.rows
                small = likeness.small_copy(pixels)
                if place in shown and likeness.unchanged(shown[place], small):
                    continue
                shown[place] = small
            upright = pixels if width > height else pixels.swapaxes(0, 1)
            name = _name(part, wide=width > height)
            view = f"{frame.view}, {name}" if frame.view else name
            yield replace(frame, pixels=np.ascontiguousarray(upright), view=view)


def parts(length: int, side: int, most: int) -> Iterator[Part]:
    """The positions of the parts of a strip of ``length`` x ``side`` pixels; at most ``most`` (3 or more) of them."""
    count = 1 + 2 * math.ceil((length / side - 1) / (2 * _STEP))
    if count - 1 <= most:
        for number in range(count):
            if number != count // 2:
                yield Part((round(number * (length - side) / (count - 1)),), side, number + 1, count)
        return
    yield Part((0,), side, 1, most)
    yield from _folded(length, side, most)
    yield Part((length - side,), side, most, most)


def _folded(length: int, side: int, most: int) -> Iterator[Part]:
    """All of a strip as ``most`` - 2 parts of several rows, with as few rows as possible."""
    rows = 2
    while _span(rows) + (most - 3) * (_span(rows) - _OVERLAP) < length / side:
        rows += 1
    span = min(length, _span(rows) * side)
    count = 1 + math.ceil(max(0.0, (length - span) / (span - _OVERLAP * side)))
    row_step = (span - rows * side) / (rows - 1)
    for number in range(count):
        start = number * (length - span) / max(1, count - 1)
        starts = tuple(min(length - rows * side, round(start + row * row_step)) for row in range(rows))
        yield Part(starts, rows * side, number + 2, most)


def _span(rows: int) -> float:
    """How much of a strip this many rows cover, each as many squares long as there are rows."""
    return (rows - 1) * (rows - _OVERLAP) + rows


def _name(part: Part, *, wide: bool) -> str:
    if part.number == 1:
        return "left end" if wide else "top end"
    if part.number == part.of:
        return "right end" if wide else "bottom end"
    folded = ", folded" if len(part.rows) > 1 else ""
    return f"part {part.number} of {part.of}{folded}"


def _cut(lying: Pixels, part: Part) -> Pixels:
    rows = [lying[:, start : start + part.length] for start in part.rows]
    if len(rows) == 1:
        return rows[0]
    return _within(np.concatenate(rows), rendering.SHORT_SIDE)


def _within(pixels: Pixels, longest: int) -> Pixels:
    """The same pixels, scaled down if they are longer than ``longest``."""
    height, width, _ = pixels.shape
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))
