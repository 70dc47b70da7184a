"""Harmless pictures for every test: generated ones, and the photos bundled with scikit-image; nothing is downloaded.

Everything is seeded, so that a failing test fails again.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Photos that lie in scikit-image's own wheel (its other names want the network): colour first, then grey.
PHOTOS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "motorcycle_left": "motorcycle_left.png",
    "motorcycle_right": "motorcycle_right.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "brick": "brick.png",
    "camera": "camera.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "page": "page.png",
    "text": "text.png",
}

#: Every still format that media/ decodes, as ``encode`` names it, with its media type.
STILL_FORMATS = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
}
#: Those that can hold several frames. An animated PNG is written by the format "apng".
ANIMATION_FORMATS = {"gif": "image/gif", "apng": "image/apng", "webp": "image/webp", "avif": "image/avif"}

_FASTEST: dict[str, dict[str, Any]] = {
    "webp": {"method": 0},
    "avif": {"speed": 10},
    "png": {"compress_level": 1},
    "apng": {"compress_level": 1},
}


@lru_cache(maxsize=len(PHOTOS))
def _photo(name: str) -> Image.Image:
    spec = find_spec("skimage")
    assert spec is not None, "scikit-image is not installed"
    assert spec.origin is not None
    with Image.open(Path(spec.origin).parent / "data" / PHOTOS[name]) as image:
        return image.convert("RGB")


def photo(name: str = "astronaut") -> Image.Image:
    """A fresh RGB copy of one of PHOTOS."""
    return _photo(name).copy()


def gradient(width: int = 160, height: int = 120, *, seed: int = 0) -> Image.Image:
    """A smooth sweep of colours between four random corners."""
    corners = np.random.default_rng(seed).uniform(0, 255, (2, 2, 3))
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    top = corners[0, 0] * (1 - across) + corners[0, 1] * across
    bottom = corners[1, 0] * (1 - across) + corners[1, 1] * across
    return Image.fromarray((top * (1 - down) + bottom * down).astype(np.uint8))


def plasma(width: int = 160, height: int = 120, *, seed: int = 0) -> Image.Image:
    """Clouds of colour: sums of a few waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 40.0
    waves = np.zeros((height, width, 3))
    for _ in range(5):
        fx, fy, phase = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3), rng.uniform(0, 6, 3)
        waves += np.sin(x[..., None] * fx + y[..., None] * fy + phase)
    return Image.fromarray(((waves / 5 + 1) * 127.5).astype(np.uint8))


def checker(width: int = 160, height: int = 120, *, cell: int = 10) -> Image.Image:
    """A black and white chessboard."""
    y, x = np.mgrid[0:height, 0:width] // cell
    return Image.fromarray((((x + y) % 2) * 255).astype(np.uint8)).convert("RGB")


def shapes(width: int = 160, height: int = 120, *, seed: int = 0) -> Image.Image:
    """Random rectangles and ellipses."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for number in range(12):
        xs, ys = sorted(rng.integers(0, width, 2).tolist()), sorted(rng.integers(0, height, 2).tolist())
        figure = draw.ellipse if number % 2 else draw.rectangle
        figure((xs[0], ys[0], xs[1], ys[1]), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def lettering(text: str, width: int = 320, height: int = 120) -> Image.Image:
    """Dark text on a light ground, in the font that Pillow carries."""
    image = Image.new("RGB", (width, height), (245, 245, 240))
    font = ImageFont.load_default(size=height / 4)
    ImageDraw.Draw(image).text((width / 2, height / 2), text, fill=(20, 20, 60), font=font, anchor="mm")
    return image


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green, blue and yellow quarters (top left, top right, bottom left, bottom right): shows every turn."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    image.paste((0, 0, 255), (0, height // 2, width // 2, height))
    image.paste((255, 255, 0), (width // 2, height // 2, width, height))
    return image


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The picture as a file of one of STILL_FORMATS; options are Pillow's, the fastest settings are the default."""
    out = io.BytesIO()
    image.save(out, file_format, **{**_FASTEST.get(file_format, {}), **options})
    return out.getvalue()


def encode_animation(frames: Sequence[Image.Image], file_format: str, *, duration_ms: int = 100) -> bytes:
    """The pictures as an animation in one of ANIMATION_FORMATS; neighbours must differ, or writers merge them."""
    out = io.BytesIO()
    frames[0].save(
        out,
        "png" if file_format == "apng" else file_format,
        save_all=True,
        append_images=list(frames[1:]),
        duration=duration_ms,
        loop=0,
        **_FASTEST.get(file_format, {}),
    )
    return out.getvalue()


def with_orientation(image: Image.Image, orientation: int, file_format: str = "jpeg") -> bytes:
    """The stored pixels with an EXIF orientation tag (1..8); how a viewer turns them is the viewer's work."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, file_format, exif=exif.tobytes())


def truncated(data: bytes, fraction: float) -> bytes:
    """The first ``fraction`` of a file."""
    return data[: max(1, int(len(data) * fraction))]


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a hundred bytes whose header announces an enormous picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(64))) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def gif_bomb(width: int = 65_000, height: int = 65_000, *, on_screen: bool = True) -> bytes:
    """A GIF of some forty bytes with an enormous frame; with ``on_screen=False`` only the frame's own header says so."""
    screen = struct.pack("<HH", width, height) if on_screen else struct.pack("<HH", 1, 1)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + frame + b"\x02\x02\x44\x01\0;"


def webp_bomb(width: int = 16_383, height: int = 16_383) -> bytes:
    """A WebP of thirty bytes whose extended header announces an enormous canvas."""
    extended = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(extended)) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body
