"""Harmless pictures for the clip detector: seeded cuts of scikit-image's photos as arrays, and samples of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from support.media.pictures import PHOTOS, photo

from lemmy_safety.records import Frame, MediaInfo, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator


def sample_pictures(count: int, *, seed: int) -> Iterator[np.ndarray]:
    """``count`` pictures of different content, size (24 to 640 pixels), shape and brightness."""
    draw = np.random.default_rng(seed)
    names = list(PHOTOS)
    for number in range(count):
        source = np.asarray(photo(names[number % len(names)]).convert("RGB"))
        height, width = source.shape[:2]
        cut_height, cut_width = (int(draw.uniform(0.3, 1) * side) for side in (height, width))
        top, left = int(draw.integers(height - cut_height + 1)), int(draw.integers(width - cut_width + 1))
        cut = Image.fromarray(source[top : top + cut_height, left : left + cut_width])
        size = (int(draw.integers(24, 641)), int(draw.integers(24, 641)))
        scaled = np.asarray(cut.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
        yield np.clip(scaled * draw.uniform(0.4, 1.4), 0, 255).astype(np.uint8)


def sample_of(*pictures: np.ndarray, sha256: str = "0" * 64) -> Sample:
    """A sample whose frames are ``pictures``, with the indexes of every fifth frame of an animation."""
    height, width = pictures[0].shape[:2]
    return Sample(
        sha256=sha256,
        info=MediaInfo(media_type="image/png", width=width, height=height, frame_count=len(pictures)),
        frames=tuple(Frame(pixels=pixels, index=5 * number) for number, pixels in enumerate(pictures)),
        pdqs=(),
    )
