"""Harmless sample pictures for the demo, drawn from a seed while it runs: the package carries no picture files.

Landscapes, plots, tiles, blobs and gradients in the formats pict-rs stores. This module only makes bytes; the caller
decides where they go.
"""

from __future__ import annotations

import io
import math
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 20240601

#: pict-rs's extensions and Pillow's formats for them, in the proportions of a small instance.
_FORMATS: tuple[tuple[str, str, dict[str, int]], ...] = (
    (".webp", "WEBP", {"quality": 80}),
    (".jpeg", "JPEG", {"quality": 85}),
    (".png", "PNG", {}),
    (".webp", "WEBP", {"quality": 60}),
    (".gif", "GIF", {}),
    (".avif", "AVIF", {"quality": 60, "speed": 9}),
)

_SIZES = ((640, 480), (512, 512), (480, 720), (800, 450), (256, 256))


def sample_pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` pictures as (extension, bytes), all different, the same for every run of one Pillow build."""
    kinds = (_landscape, _plot, _tiles, _blobs, _rings, _skyline)
    formats = [item for item in _FORMATS if item[1] != "AVIF" or features.check("avif")]
    for number in range(count):
        dice = random.Random(f"{SEED}/{number}")  # noqa: S311 - repeatable pictures, no secret
        size = _SIZES[number % len(_SIZES)]
        picture = kinds[number % len(kinds)](dice, size)
        extension, form, options = formats[(number * 5 + number // len(kinds)) % len(formats)]
        yield extension, encoded(picture, form, **options)


def encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    """The picture as a file of this format."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def thumbnail(picture: Image.Image, side: int) -> Image.Image:
    """Scaled to fit a square, as pict-rs does for ``thumbnail=SIDE``."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


Dice = random.Random
Size = tuple[int, int]
Colour = tuple[int, int, int]


def _colour(dice: Dice, low: int = 30, high: int = 225) -> Colour:
    return (dice.randint(low, high), dice.randint(low, high), dice.randint(low, high))


def _gradient(size: Size, top: Colour, bottom: Colour) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def _ridge(dice: Dice, width: int, base: float, rough: float) -> Callable[[int], float]:
    waves = [(dice.uniform(0.5, 6) * math.tau / width, dice.uniform(0, math.tau), rough / n) for n in range(1, 6)]
    return lambda x: base + sum(strength * math.sin(rate * x + start) for rate, start, strength in waves)


def _landscape(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    sky = (dice.randint(60, 140), dice.randint(130, 200), dice.randint(200, 255))
    picture = _gradient(size, sky, (250, dice.randint(200, 240), dice.randint(150, 220)))
    draw = ImageDraw.Draw(picture)
    sun_x, sun_y, radius = dice.randint(0, width), dice.randint(20, height // 3), dice.randint(15, 50)
    draw.ellipse((sun_x - radius, sun_y - radius, sun_x + radius, sun_y + radius), fill=(255, 240, 180))
    for layer in range(4):
        line = _ridge(dice, width, height * (0.45 + 0.14 * layer), height * 0.06)
        shade = 150 - 32 * layer
        edge = [(x, line(x)) for x in range(0, width + 4, 4)]
        draw.polygon([(0, height), *edge, (width, height)], fill=(shade // 2, shade, shade // 2 + dice.randint(0, 30)))
    return picture


def _plot(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    picture = Image.new("RGB", size, (250, 250, 248))
    draw = ImageDraw.Draw(picture)
    for step in range(1, 10):
        draw.line((0, height * step // 10, width, height * step // 10), fill=(220, 220, 220))
        draw.line((width * step // 10, 0, width * step // 10, height), fill=(220, 220, 220))
    for _ in range(dice.randint(2, 4)):
        line = _ridge(dice, width, height * dice.uniform(0.3, 0.7), height * 0.15)
        draw.line([(x, line(x)) for x in range(0, width, 3)], fill=_colour(dice), width=4)
    return picture


def _tiles(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    picture = Image.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    side = dice.choice((24, 36, 48))
    palette = [_colour(dice) for _ in range(6)]
    for x in range(0, width, side):
        for y in range(0, height, side):
            draw.rectangle((x, y, x + side, y + side), fill=dice.choice(palette))
            if dice.random() < 0.5:  # noqa: PLR2004 - a coin
                draw.pieslice((x, y, x + side, y + side), 0, 180, fill=dice.choice(palette))
    return picture


def _blobs(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    picture = _gradient(size, _colour(dice), _colour(dice))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y, radius = dice.randint(0, width), dice.randint(0, height), dice.randint(8, 90)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(dice))
    return picture.filter(ImageFilter.GaussianBlur(dice.uniform(1, 6)))


def _rings(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    picture = Image.new("RGB", size, _colour(dice))
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y, step = dice.randint(0, width), dice.randint(0, height), dice.randint(12, 30)
        ink = _colour(dice)
        for radius in range(step, max(size), step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=4)
    return picture


def _skyline(dice: Dice, size: Size) -> Image.Image:
    width, height = size
    picture = _gradient(size, (20, 24, 60), (dice.randint(120, 230), 90, 120))
    draw = ImageDraw.Draw(picture)
    x = 0
    while x < width:
        wide, high = dice.randint(30, 80), dice.randint(height // 5, height * 3 // 4)
        draw.rectangle((x, height - high, x + wide, height), fill=(15, 15, dice.randint(25, 45)))
        for window_x in range(x + 6, x + wide - 8, 12):
            for window_y in range(height - high + 8, height - 8, 16):
                if dice.random() < 0.4:  # noqa: PLR2004 - share of lit windows
                    draw.rectangle((window_x, window_y, window_x + 5, window_y + 8), fill=(250, 220, 130))
        x += wide + dice.randint(2, 14)
    return picture
