"""Damage to picture files, seeded: what disks, broken uploads and people who want to get past a check do to them."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from support.media import pictures

if TYPE_CHECKING:
    import random

    from PIL import Image

#: PNG's Adam7: first column and row, steps.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def damaged(data: bytes, rng: random.Random, *, first: int = 10) -> bytes:
    """The file with one kind of damage: bytes flipped, cut off, dropped, inserted or zeroed, from byte ``first`` on."""
    broken = bytearray(data)
    end = len(broken)
    at = rng.randrange(min(first, end - 1), end)
    match rng.choice(["flip", "flip", "cut", "drop", "insert", "zero"]):
        case "flip":
            for _ in range(rng.choice([1, 3, 10, 30])):
                broken[rng.randrange(min(first, end - 1), end)] = rng.randrange(256)
        case "cut":
            del broken[at:]
        case "drop":
            del broken[at : at + rng.choice([1, 2, 16, 200, 2000])]
        case "insert":
            broken[at:at] = rng.randbytes(rng.choice([1, 2, 16, 200]))
        case "zero":
            size = min(rng.choice([4, 64, 1000]), end - at)
            broken[at : at + size] = bytes(size)
    return bytes(broken)


def interlaced_png(image: Image.Image) -> bytes:
    """An RGB picture as an interlaced PNG, which Pillow reads but does not write."""
    pixels = np.asarray(image.convert("RGB"))
    rows = bytearray()
    for left, top, across, down in ADAM7:
        for row in pixels[top::down, left::across]:
            if row.size:
                rows += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pictures.png_chunk(name, body) for name, body in chunks)
