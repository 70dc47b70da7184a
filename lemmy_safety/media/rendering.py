"""One loaded Pillow image to the pixels that a viewer shows: eight-bit sRGB, upright, on white, at a bounded size.

Takes images, not files: limits and damage are dealt with before. Order of work: plain colours, scaling, colour
management, transparency, orientation; scaling comes early so that all that follows is cheap.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms

#: The shorter side of a frame is at most this many pixels. CLIP looks at 224 x 224, NudeNet at 320 x 320, and PDQ's
#: reference implementation scales to 512 x 512 before it hashes: more pixels cost memory and change no finding.
SHORT_SIDE: Final = 512
#: The longer side is at most this: eight squares in a row are 6 MB of pixels, the most one frame can take.
LONG_SIDE: Final = 8 * SHORT_SIDE

# A first rough reduction to no less than twice the final size, then Lanczos: within 1.2 of 255 levels on average of
# doing without, measured on pure noise, the worst case; photos differ less.
_REDUCING_GAP: Final = 2.0
_WIDE_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_SIXTEEN_BIT: Final = 65_535
_EIGHT_BIT: Final = 255

# CMYK profiles of print shops reach 2.7 MB; what is larger is not there for its colours.
_MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
# Few profiles make up nearly all pictures (sRGB, Display P3, Adobe RGB, grey); building a transform takes 3 ms.
_KEPT_TRANSFORMS: Final = 8
# A profile that moves no colour by more than this is sRGB for all that follows.
_SAME_COLOUR: Final = 2
# libpng's own rule: a gamma within 5 % of the screen's is not worth a correction.
_SCREEN_GAMMA: Final = 2.2
_GAMMA_TOLERANCE: Final = 0.05

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
    """Width and height of the frame made of a picture: same proportions, within the bounds, never enlarged."""
    scale = min(1.0, SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation 1..8 that browsers obey; 1 where there is none or the EXIF block is damaged.

    Only the EXIF block counts: Pillow's own ``getexif`` also believes XMP, which no browser does. An AVIF's rotation
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
    """The picture as shown, in mode RGB.

    ``size`` is the frame's size before ``orientation`` is applied. Transparent parts are shown on white, as on a light
    page; what a dark page would show instead is not looked at.
    """
    plain = _scaled(_plain(image), size)
    if plain.mode in {"I", "F"}:
        plain = _eight_bit(plain, image)
    alpha = plain.getchannel("A") if plain.mode == "RGBA" else None
    colours = _managed(plain.convert("RGB") if alpha is not None else plain, image)
    if alpha is not None:
        ground = Image.new("RGB", colours.size, (255, 255, 255))
        ground.paste(colours, mask=alpha)
        colours = ground
    turn = _UPRIGHT.get(orientation)
    return colours if turn is None else colours.transpose(turn)


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _plain(image: Image.Image) -> Image.Image:
    """The same picture in one of L, RGB, RGBA, CMYK, F: modes that can be scaled and whose samples are colours."""
    if image.mode in _WIDE_MODES:
        return _wide_samples(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in {"L", "RGB", "CMYK"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _wide_samples(image: Image.Image) -> Image.Image:
    """Grey samples of 16 or more bits as floats; what a PNG's transparent sample marks becomes white."""
    transparent = image.info.get("transparency")
    wide = image.convert("F") if image.mode != "F" else image
    if image.mode == "F" and not np.isfinite(np.asarray(wide)).all():
        wide = Image.fromarray(np.nan_to_num(np.asarray(wide), nan=0.0, posinf=0.0, neginf=0.0))
    if isinstance(transparent, int):
        samples = np.asarray(wide)
        wide = Image.fromarray(np.where(samples == transparent, np.float32(_SIXTEEN_BIT), samples))
    return wide


def _eight_bit(scaled: Image.Image, original: Image.Image) -> Image.Image:
    """Wide grey samples as L.

    16-bit samples span their whole range, as PNG defines. 32-bit integers and floats have no range of their own:
    0..1 (floats), 0..255 and 0..65535 are taken for what they look like, anything else is stretched from its least
    to its greatest value, as viewers do.
    """
    samples = np.asarray(scaled, dtype=np.float32)
    low, high = float(samples.min()), float(samples.max())
    if original.mode.startswith("I;16"):
        low, high = 0.0, float(_SIXTEEN_BIT)
    elif low >= 0 and original.mode == "F" and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= _SIXTEEN_BIT:
        low, high = 0.0, float(_EIGHT_BIT if high <= _EIGHT_BIT else _SIXTEEN_BIT)
    span = high - low or 1.0
    levels = (samples - low) * (_EIGHT_BIT / span)
    return Image.fromarray(np.clip(np.rint(levels), 0, _EIGHT_BIT).astype(np.uint8))


def _managed(colours: Image.Image, image: Image.Image) -> Image.Image:
    """Colours converted to sRGB by the picture's own profile or gamma, as browsers do; unmanaged where they fail.

    Not a nicety: a profile or a gamma can be written so that the stored numbers show another picture than the screen.
    """
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_PROFILE_BYTES:
        transform = _to_srgb(profile, colours.mode)
        if transform is not None:
            return transform.apply(colours)
    elif "srgb" not in image.info and isinstance(gamma := image.info.get("gamma"), float):
        colours = _with_gamma(colours, gamma)
    return colours if colours.mode == "RGB" else colours.convert("RGB")


def _with_gamma(colours: Image.Image, file_gamma: float) -> Image.Image:
    """Apply a PNG's gAMA: shown = stored ** (1 / (file gamma x screen gamma)), samples taken as 0..1."""
    product = file_gamma * _SCREEN_GAMMA
    if product <= 0 or abs(product - 1) <= _GAMMA_TOLERANCE:
        return colours
    curve = [round(_EIGHT_BIT * (level / _EIGHT_BIT) ** (1 / product)) for level in range(256)]
    return colours.point(curve * len(colours.getbands()))


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None when it is sRGB itself, damaged, or of another kind of colours."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            # Without its one-pixel cache a transform may be used by several threads at once.
            flags=ImageCms.Flags.NOCACHE,
        )
        changed = _changes_colours(transform, mode)
    except Exception:  # noqa: BLE001 - a parser of hostile bytes; browsers show pictures with a broken profile too
        return None
    return transform if changed else None


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "RGB":
        steps = np.linspace(0, _EIGHT_BIT, 17).astype(np.uint8)
        probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3))
    elif mode == "L":
        probe = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(1, -1))
    else:
        return True
    difference = np.asarray(ImageChops.difference(transform.apply(probe), probe.convert("RGB")))
    return int(difference.max()) > _SAME_COLOUR
