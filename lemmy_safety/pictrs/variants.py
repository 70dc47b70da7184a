"""What pict-rs's operations do to a picture: which variants can show nothing but what their original shows. Pure.

``resize`` averages (ImageMagick's ``-resize``, with one of six filters that all do). ``thumbnail`` keeps single pixels
(``-sample``): an original can hide another picture in the pixels that are kept, which is invisible in the original and
is the whole thumbnail. ``crop`` cuts out a part. A JPEG has no transparency: it shows the colours that a transparent
original hides. AVIF and JPEG XL keep their descriptions of colours, which two decoders may read differently; pict-rs
removes profiles and gamma from the other formats before it stores them.
Source: pict-rs src/processor.rs (0.5.25, 0.6.0-rc.6); ``tests/e2e/test_skip_sizes.py`` makes such a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Operations that show all of the original, and each part of it in proportion.
_AVERAGING: Final = frozenset({"resize", "blur"})
_SAMPLING: Final = "thumbnail"
_JPEG: Final = frozenset({"jpeg", "jpg"})
#: Formats in which the stored numbers are the colours.
_PLAIN: Final = frozenset({"jpeg", "png", "webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A picture that pict-rs made of an original: ``original`` is its key.

    ``fits_in`` is set if this is sure to show the same only for originals whose longer side has at most so many pixels.
    """

    original: str
    fits_in: int | None = None

    def shows_the_same(self, longer_side: int | None) -> bool:
        """``longer_side`` of the original, in pixels; None if it is not known."""
        return self.fits_in is None or (longer_side is not None and longer_side <= self.fits_in)


def exact_variant(operation: str, *, original: str, original_format: str) -> Variant | None:
    """The variant made by this operation of a still picture; None if it may show something else than the original.

    ``operation`` is pict-rs's own text, with the format last, such as ``thumbnail/256/webp``; ``original_format`` is an
    extension without its dot.
    """
    *steps, made = operation.split("/")
    if original_format not in _PLAIN or (made in _JPEG and original_format not in _JPEG):
        return None
    if len(steps) % 2:
        return None
    fits_in: int | None = None
    for name, argument in zip(steps[::2], steps[1::2], strict=True):
        if name == _SAMPLING:
            if not argument.isascii() or not argument.isdecimal():
                return None
            fits_in = int(argument) if fits_in is None else min(fits_in, int(argument))
        elif name not in _AVERAGING:
            return None
    return Variant(original=original, fits_in=fits_in)
