"""Harmless files as in a pict-rs store, seeded and made in memory: photos cut, mirrored, scaled and encoded.

Sizes are log-normal (median 1.3, 0.15 to 8 megapixels); WebP 56, JPEG 25, PNG 14, AVIF 5 %; nine of ten files are followed by
their 256 px WebP thumbnail.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from PIL import Image, ImageOps
from support.media import pictures

from lemmy_safety.pictrs import keys as pictrs_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARES = {"webp": 56, "jpeg": 25, "png": 14, "avif": 5}
_OPTIONS = {"webp": {"method": 2}, "avif": {"speed": 9}, "png": {"compress_level": 3}}
_MEDIAN_MP, _SPREAD, _LEAST_MP, _MOST_MP = 1.3, 0.9, 0.15, 8.0
_THUMBNAIL = 256

#: Width to height, and how often of 100. ``mixed`` is our guess of what people upload: photos of phones and cameras,
#: squares, screenshots of phones and computers; no figures were found. Beyond 1.4:1 the tool looks at three parts of a
#: picture, the ancestor at one: with ``compact`` both look at one of each, with ``long`` the tool at three of each.
#: ``cuts`` are of any ratio, as they happen to be cut.
SHAPES = {
    "mixed": {(4, 3): 30, (3, 4): 20, (1, 1): 18, (3, 2): 7, (16, 9): 10, (9, 16): 8, (9, 19.5): 7},
    "compact": {(4, 3): 40, (3, 4): 30, (1, 1): 30},
    "long": {(3, 2): 25, (16, 9): 35, (9, 16): 30, (9, 19.5): 10},
    "cuts": {},
}

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def store_objects(number: int, *, seed: int, shapes: str = "mixed") -> Iterator[tuple[str, bytes]]:
    """So many objects as (key, bytes), a second apart; the same for the same arguments and libraries."""
    draw = random.Random(f"keys/{seed}")
    for second, (form, data) in enumerate(islice(_files(seed, shapes), number)):
        moment = _FIRST + timedelta(seconds=second)
        yield pictrs_keys.make_key(moment, draw.getrandbits(74), f".{form}"), data


def store_files(seed: int, shapes: str = "cuts") -> Iterator[bytes]:
    """Files without end, the same for the same seed."""
    return (data for _, data in _files(seed, shapes))


def _files(seed: int, shapes: str) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    ratios = SHAPES[shapes]
    while True:
        across, down = rng.choices(list(ratios), list(ratios.values()))[0] if ratios else (0, 0)
        picture = _photo(rng, across, down)
        form = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
        quality = {} if form == "png" else {"quality": rng.randint(60, 90)}
        yield form, pictures.encode(picture, form, **_OPTIONS.get(form, {}), **quality)
        if rng.random() < 0.9:
            picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
            yield "webp", pictures.encode(picture, "webp", quality=80)


def _photo(rng: random.Random, across: float, down: float) -> Image.Image:
    """A part of a photo in this ratio (0: any), scaled to a number of pixels as in a store."""
    photo = pictures.photo(rng.choice(list(pictures.PHOTOS)))
    width, height = (int(side * rng.uniform(0.5, 1.0)) for side in photo.size)
    if across:
        unit = min(width / across, height / down)
        width, height = round(unit * across), round(unit * down)
    left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    part = photo.crop((left, top, left + width, top + height))
    megapixels = min(max(rng.lognormvariate(0, _SPREAD) * _MEDIAN_MP, _LEAST_MP), _MOST_MP)
    factor = (megapixels * 1e6 / (width * height)) ** 0.5
    scaled = part.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
    return ImageOps.mirror(scaled) if rng.random() < 0.5 else scaled
