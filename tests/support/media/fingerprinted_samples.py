"""Samples for detector tests: scikit-image's bundled photos, generated pictures, and the samples made of them."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

from lemmy_safety.fingerprints import pdq_of, sha256_of
from lemmy_safety.records import Frame, MediaInfo, Sample


def sample_of(*pictures, data=b"an object"):
    """A sample whose frames are these arrays (height, width, 3), with their real hashes."""
    frames = tuple(Frame(pixels=np.ascontiguousarray(picture), index=index) for index, picture in enumerate(pictures))
    high, wide = pictures[0].shape[:2]
    return Sample(
        sha256=sha256_of(data),
        info=MediaInfo(media_type="image/png", width=wide, height=high, frame_count=len(frames)),
        frames=frames,
        pdqs=tuple(pdq_of(frame.pixels) for frame in frames),
    )


@functools.cache
def bundled_photos():
    """Name -> RGB array of every still that lies inside the scikit-image package; nothing is downloaded."""
    folder = Path(skimage.data.__file__).parent
    photos = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in {".png", ".jpg"}:
            with Image.open(path) as image:
                photos[path.stem] = np.asarray(image.convert("RGB"))
    return photos


def generated_pictures(count, seed=20240):
    """Seeded pictures of five kinds in turn: noise, gradients, shapes, striped, and tiles in the canary's own manner."""
    random = np.random.default_rng(seed)
    makers = (_noise, _gradient, _shapes, _stripes, _tiles)
    return [makers[number % len(makers)](random) for number in range(count)]


def encoded(image, kind, **options):
    """The picture that comes back from an encoder, as an RGB array."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    with Image.open(io.BytesIO(buffer.getvalue())) as back:
        return np.asarray(back.convert("RGB"))


def _noise(random):
    coarse = random.integers(0, 256, (random.integers(4, 40), random.integers(4, 40), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC))


def _gradient(random):
    down, across = np.mgrid[0:300, 0:400]
    angle = random.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * down + np.sin(angle) * across) / 400
    waves = np.stack([np.sin(ramp * random.uniform(2, 30)) for _ in range(3)], axis=-1)
    return np.ascontiguousarray(((waves + 1) * 127).astype(np.uint8))


def _shapes(random):
    image = Image.new("RGB", (400, 300), tuple(int(part) for part in random.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 30))):
        left, top = (int(part) for part in random.integers(0, 300, 2))
        wide, high = (int(part) for part in random.integers(10, 150, 2))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((left, top, left + wide, top + high), fill=tuple(int(part) for part in random.integers(0, 256, 3)))
    return np.asarray(image)


def _stripes(random):
    bars = random.integers(0, 256, (1, int(random.integers(4, 60)), 3), dtype=np.uint8)
    image = Image.fromarray(bars).resize((400, 300), Image.Resampling.NEAREST)
    return np.asarray(image.rotate(float(random.uniform(0, 180))))


def _tiles(random):
    bits = random.integers(0, 2, (16, 16, 1), dtype=np.uint8)
    colours = np.where(bits, np.uint8([[[255, 214, 10]]]), np.uint8([[[0, 40, 85]]]))
    return np.asarray(Image.fromarray(colours.astype(np.uint8)).resize((512, 384), Image.Resampling.NEAREST))
