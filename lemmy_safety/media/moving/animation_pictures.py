"""One composed frame of an animation from Pillow, in both needed forms: small to compare, and whole.

Takes images, not files; other modules decide which frames are examined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lemmy_safety.media.moving.sampling import MINIATURE, on_both_pages
from lemmy_safety.media.pixels import rendering

if TYPE_CHECKING:
    import numpy.typing as npt

_OPAQUE: Final = (255, 255)


def reduced(image: Image.Image) -> Image.Image:
    """The picture at a size from which scaling to a frame's size is cheap, except for modes that cannot be averaged."""
    width, height = rendering.frame_size(*image.size)
    factor = min(image.width // width, image.height // height)
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.reduce(factor) if factor > 1 and image.mode in {"L", "RGB", "RGBA"} else image


def without_needless_alpha(image: Image.Image) -> Image.Image:
    """The frame in mode RGB if it is opaque, as most are in a file with an alpha channel; this speeds up the rest."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == _OPAQUE:
        return image.convert("RGB")
    return image


def miniature(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The copy by which frames are compared; with transparency, its look on both pages, next to each other."""
    if image.has_transparency_data:
        return on_both_pages(np.asarray(_squeezed(image.convert("RGBA"), MINIATURE // 2)))
    return np.asarray(_squeezed(image.convert("RGB"), MINIATURE))


def _squeezed(image: Image.Image, width: int) -> Image.Image:
    factors = max(1, image.width // width), max(1, image.height // MINIATURE)
    small = image.reduce(factors) if factors != (1, 1) else image
    return small.resize((width, MINIATURE), Image.Resampling.BILINEAR)
