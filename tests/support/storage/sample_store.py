"""A store like pict-rs's in small: sample pictures under keys of both of its layouts, seeded and reproducible."""

from __future__ import annotations

import hashlib
import random
import uuid
from typing import TYPE_CHECKING

from PIL import Image, ImageOps
from support.media import pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Shares of the formats in a pict-rs store, in percent, without those that are not stills.
FORMAT_SHARES = {"webp": 54, "jpeg": 24, "png": 13, "avif": 5, "gif": 4}

#: 2025-01-01T00:00:00Z: the time of the first UUIDv7 key; the following ones are minutes apart.
FIRST_KEY_MS = 1_735_689_600_000
_LARGEST_STEP_MS = 10 * 60 * 1000


def uuid7_key(unix_ms: int, rng: random.Random, extension: str = ".webp") -> str:
    """A key as pict-rs >= 0.5.7 makes it: ten folders of two digits, twelve digits, extension."""
    tail = (7 << 76) | (rng.getrandbits(12) << 64) | (2 << 62) | rng.getrandbits(62)
    digits = f"{(unix_ms << 80) | tail:032x}"
    return "/".join([*(digits[at : at + 2] for at in range(0, 20, 2)), digits[20:] + extension])


def legacy_key(counter: int, rng: random.Random) -> str:
    """A key as pict-rs 0.4.0 to 0.5.6 made it: the counter's levels as folders, then a UUIDv4 without extension."""
    name = uuid.UUID(int=rng.getrandbits(128), version=4)
    return f"2/{counter // 1000 % 1000}/{counter % 1000}/{name}"


def sample_picture(rng: random.Random, *, max_side: int = 400) -> Image.Image:
    """A random part of a random photo, at most ``max_side`` pixels long, sometimes mirrored."""
    image = pictures.photo(rng.choice(list(pictures.PHOTOS)))
    width, height = (max(64, int(side * rng.uniform(0.35, 1.0))) for side in image.size)
    left, top = rng.randint(0, max(0, image.width - width)), rng.randint(0, max(0, image.height - height))
    part = image.crop((left, top, min(left + width, image.width), min(top + height, image.height)))
    part.thumbnail((side := rng.randint(min(96, max_side), max_side), side), Image.Resampling.BILINEAR)
    return ImageOps.mirror(part) if rng.random() < 0.5 else part


def sample_pictures(
    count: int, seed: int, *, max_side: int = 400, legacy_share: float = 0.3
) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` pairs of key and file; keys and files are all different, and the same for the same arguments.

    ``legacy_share`` of the keys have the layout of pict-rs < 0.5.7, the others are UUIDv7 keys in ascending order.
    """
    rng = random.Random(seed)
    seen: set[bytes] = set()
    unix_ms = FIRST_KEY_MS
    while len(seen) < count:
        file_format = rng.choices(list(FORMAT_SHARES), list(FORMAT_SHARES.values()))[0]
        options = {} if file_format in {"png", "gif"} else {"quality": rng.randint(50, 90)}
        data = pictures.encode(sample_picture(rng, max_side=max_side), file_format, **options)
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            continue
        if rng.random() < legacy_share:
            key = legacy_key(213_000 + len(seen), rng)
        else:
            unix_ms += rng.randint(1, _LARGEST_STEP_MS)
            key = uuid7_key(unix_ms, rng, f".{file_format}")
        seen.add(digest)
        yield key, data
