"""Converts stored samples to sRGB colours: sample depths, palettes, colour spaces, profiles, gamma. Takes images, not
files.

Two steps, because scaling comes between them: ``plain_samples`` makes modes that can be scaled, ``to_srgb`` turns
the scaled result into what a screen shows. Other modules handle transparency, orientation and size.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageCms

_WIDE_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_SIXTEEN_BIT: Final = 65_535
_EIGHT_BIT: Final = 255

# CMYK profiles of print shops reach 2.7 MB; a larger one does not serve colours.
_MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
# Nearly all pictures share a few profiles (sRGB, Display P3, Adobe RGB, grey); building a transform takes 3 ms.
_KEPT_TRANSFORMS: Final = 8
# A profile that changes no colour by more than this is treated as sRGB.
_SAME_COLOUR: Final = 2
# libpng's own rule: a gamma within 5 % of the screen's is not worth a correction.
_SCREEN_GAMMA: Final = 2.2
_GAMMA_TOLERANCE: Final = 0.05


def plain_samples(image: Image.Image) -> Image.Image:
    """The same picture in one of L, RGB, RGBA, CMYK, F: modes that can be scaled and whose samples are colours."""
    if image.mode in _WIDE_MODES:
        return _wide_samples(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in {"L", "RGB", "CMYK"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(samples: Image.Image, original: Image.Image) -> Image.Image:
    """Scaled plain samples as colours of mode RGB, or RGBA where the picture has transparency.

    ``original`` is their source image; its mode and its metadata define what the samples mean.
    """
    if samples.mode == "F":
        samples = _eight_bit(samples, original)
    if samples.mode != "RGBA":
        return _managed(samples, original)
    colours = _managed(samples.convert("RGB"), original)
    colours.putalpha(samples.getchannel("A"))
    return colours


def _wide_samples(image: Image.Image) -> Image.Image:
    """Grey samples of 16 or more bits as floats; a PNG's transparent sample becomes white."""
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

    16-bit samples span their whole range, as PNG defines. 32-bit integers and floats have no defined range:
    0..1 (floats), 0..255 and 0..65535 are recognised by their values, anything else is stretched from its least
    to its greatest value, as in viewers.
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
    """Colours converted to sRGB by the picture's own profile or gamma, as in browsers; unmanaged if they fail.

    This is necessary: with a crafted profile or gamma, the stored numbers show another picture than the screen.
    """
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_PROFILE_BYTES:
        transform = _transform_to_srgb(profile, colours.mode)
        if transform is not None:
            return transform.apply(colours)
    elif "srgb" not in image.info and isinstance(gamma := image.info.get("gamma"), float):
        colours = _with_gamma(colours, gamma)
    return colours if colours.mode == "RGB" else colours.convert("RGB")


def _with_gamma(colours: Image.Image, file_gamma: float) -> Image.Image:
    """Apply a PNG's gAMA: shown = stored ** (1 / (file gamma x screen gamma)), samples as 0..1."""
    product = file_gamma * _SCREEN_GAMMA
    if product <= 0 or abs(product - 1) <= _GAMMA_TOLERANCE:
        return colours
    curve = [round(_EIGHT_BIT * (level / _EIGHT_BIT) ** (1 / product)) for level in range(256)]
    return colours.point(curve * len(colours.getbands()))


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if it is sRGB itself, damaged, or of another kind of colours."""
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
