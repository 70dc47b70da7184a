"""Turns one loaded Pillow image into the pixels that a viewer shows: eight-bit sRGB, upright, on a page, limited size.

Takes images, not files: limits and damage are handled before. Order of steps: plain samples, scaling, colours,
transparency, orientation; scaling comes early so that all later steps are cheap.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageChops

from lemmy_safety.media.pixels import colours

#: The shorter side of a frame is at most this many pixels. CLIP sees 224 x 224, NudeNet 320 x 320, and PDQ's
#: reference implementation scales to 512 x 512 before it hashes: more pixels cost memory and change no finding.
SHORT_SIDE: Final = 512
#: The longer side is at most this: eight squares in a row are 6 MB of pixels, the most one frame can take.
LONG_SIDE: Final = 8 * SHORT_SIDE
#: Strips from which parts are cut may be longer, up to this many pixels (48 MB): a strip of up
#: to 64:1 keeps its 512 px.
STRIP_PIXELS: Final = 64 * SHORT_SIDE * SHORT_SIDE

#: The first page to show pictures on: white, as in a browser and in Lemmy's light themes.
LIGHT_PAGE: Final = (255, 255, 255)
#: The background of Lemmy's dark themes.
DARK_PAGE: Final = (34, 34, 34)
#: The view of a second frame of a picture that a dark page shows differently.
ON_DARK: Final = "on a dark page"
# The page visibly shows through if a pixel differs by more than this between the two; an alpha of 218 of 255 does.
_VISIBLE_STEP: Final = 32
# The rounded corners and the soft shadow of a screenshot take less than this share of it.
_VISIBLE_SHARE: Final = 0.005

# A first rough reduction to no less than twice the final size, then Lanczos: within 1.2 of 255 levels on average of the
# result without it, measured on pure noise, the worst case; photos differ less.
_REDUCING_GAP: Final = 2.0
# Converting and premultiplying make copies; in bands of this many pixels they take 16 MB instead of 800 MB for
# a transparent picture of 10,000 x 10,000.
_BAND_PIXELS: Final = 2_000_000

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: EXIF orientations that swap width and height.
SIDEWAYS: Final = frozenset({5, 6, 7, 8})


def frame_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the frame made from a picture: same proportions, within the limits, never enlarged."""
    return _scaled_size(width, height, min(SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height)))


def strip_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a still is rendered: that of its frame, or longer if it is longer than 8:1."""
    return _scaled_size(width, height, min(SHORT_SIDE / min(width, height), (STRIP_PIXELS / (width * height)) ** 0.5))


def _scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    scale = min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation 1..8 that browsers obey; 1 if there is none or the EXIF block is damaged.

    Only the EXIF block counts: Pillow's own ``getexif`` also uses XMP, which no browser does. An AVIF's rotation
    properties arrive here as EXIF, a TIFF's orientation has been applied while loading.
    """
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a parser of hostile bytes; browsers show pictures with a broken EXIF block too
        return 1
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1


def render(image: Image.Image, size: tuple[int, int], orientation: int) -> Image.Image:
    """The picture on a light page, in mode RGB; ``size`` is before ``orientation`` is applied."""
    return _upright(_on_page(_coloured(image, size), LIGHT_PAGE), orientation)


def render_on_pages(
    image: Image.Image, size: tuple[int, int], orientation: int
) -> tuple[Image.Image, Image.Image | None]:
    """The picture on a light page, and on a dark one if that differs visibly; both in mode RGB.

    White on transparency is visible only on a dark page, and a half-transparent picture is its own negative on the
    other
    page. They differ visibly if more than 0.5 % of the pixels do so by more than 32 of 255 levels.
    """
    coloured = _coloured(image, size)
    light = _on_page(coloured, LIGHT_PAGE)
    dark = None
    if coloured.mode == "RGBA":
        dark = _on_page(coloured, DARK_PAGE)
        if not _differ_visibly(light, dark):
            dark = None
    return _upright(light, orientation), None if dark is None else _upright(dark, orientation)


def _coloured(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return colours.to_srgb(_scaled(image, size), image)


def _on_page(coloured: Image.Image, page: tuple[int, int, int]) -> Image.Image:
    if coloured.mode != "RGBA":
        return coloured
    ground = Image.new("RGB", coloured.size, page)
    ground.paste(coloured, mask=coloured.getchannel("A"))
    return ground


def _differ_visibly(light: Image.Image, dark: Image.Image) -> bool:
    steps = np.asarray(ImageChops.difference(light, dark)).max(axis=2)
    return bool(np.count_nonzero(steps > _VISIBLE_STEP) > _VISIBLE_SHARE * steps.size)


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Plain samples of ``image`` at ``size``: Pillow's ``resize`` with a reducing gap, the first half in bands."""
    across, down = (max(1, int(full / wanted / _REDUCING_GAP)) for full, wanted in zip(image.size, size, strict=True))
    if across == 1 and down == 1:
        plain = colours.plain_samples(image)
        return plain if image.size == size else plain.resize(size, Image.Resampling.LANCZOS)
    rows = max(down, _BAND_PIXELS // image.width // down * down)
    bands = (image.crop((0, top, image.width, min(top + rows, image.height))) for top in range(0, image.height, rows))
    parts = [colours.plain_samples(band).reduce((across, down)) for band in bands]
    reduced = Image.new(parts[0].mode, (parts[0].width, sum(part.height for part in parts)))
    for number, part in enumerate(parts):
        reduced.paste(part, (0, number * (rows // down)))
    return reduced.resize(size, Image.Resampling.LANCZOS, box=(0, 0, image.width / across, image.height / down))
