"""Shows what it can of a damaged still: several tries, one after the other, until one shows something.

The tries are ordered by closeness to what browsers show of such files, found by comparing with Chromium: Pillow's
tolerant
mode, files rewritten so that Pillow's libraries read them, the part before the break, and a second decoder. This module
only judges whether anything can be seen at all.
"""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lemmy_safety.errors import MediaError
from lemmy_safety.media import costs, pillow_guard, sniff
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.stills import reading, repair, second_decoder
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from lemmy_safety.media.base import MediaLimits
    from lemmy_safety.media.stills.reading import Shown

# The output from a damaged file counts from this share of a square of the frame's shorter side on: two and a half rows.
_PAINTED_SHARE: Final = 0.005
# libjpeg outputs up to four empty blocks of 16 x 16 before it gives up and leaves the rest grey; in a small frame those
# are a large share, so for a JPEG it is a twentieth there.
_MADE_UP: Final = 4 * 16 * 16
_SMALL_SHARE: Final = 0.05
# Each costs a decode of a damaged WebP or AVIF; eight find the break to a 256th of the file.
_HALVINGS: Final = 8


class Way(StrEnum):
    """How a damaged file was made showable."""

    TOLERANT = "tolerant"
    REWRITTEN = "rewritten"
    FIRST_PART = "first part"
    SECOND_DECODER = "second decoder"


class Damage(Exception):
    """One try at decoding failed because of the bytes; the text is the decoder's error, in one line."""

    def __init__(self, error: Exception) -> None:
        super().__init__(complaint_of(error))


def attempt(data: bytes, kind: sniff.Kind, limits: MediaLimits, *, tolerant: bool = False) -> Shown:
    """Decode once; with ``tolerant``, keep the readable part of a damaged file.

    :raises MediaError: TOO_LARGE, UNSUPPORTED, or out of memory.
    :raises Damage: any other failure. Broken files make Pillow raise some ten unrelated exception classes.
    """
    try:
        with pillow_guard.tolerate_damage() if tolerant else nullcontext():
            return reading.read(data, kind, limits, tolerant=tolerant)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        reason = f"its parts are larger than the limit of {costs.megapixels(limits.max_pixels)}"
        raise MediaError(ItemStatus.TOO_LARGE, reason) from error
    except MemoryError as error:
        raise MediaError(ItemStatus.UNREADABLE, "out of memory", decoder_broke=True) from error
    except Exception as error:
        raise Damage(error) from error


def rescue(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> tuple[Way, Shown] | None:
    """The first try that shows something of a damaged file; None if none does.

    If the output is hardly more than the colour with which its decoder fills the canvas, the file shows nothing;
    otherwise
    "could not be read" would be recorded as "checked and fine".

    :raises MediaError: out of memory.
    """
    for way, decode in _ways(data, kind, limits):
        try:
            shown = decode()
        except (Damage, second_decoder.CannotDecode):
            continue
        except MediaError as error:
            if error.decoder_broke:
                raise
            continue  # a damaged size, or a file that only looks larger now
        if not _is_paint(shown.pages[0][0], kind):
            return way, shown
    return None


def _ways(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Iterator[tuple[Way, Callable[[], Shown]]]:
    yield Way.TOLERANT, lambda: attempt(data, kind, limits, tolerant=True)
    for other in repair.rewritten(data, kind, max_bytes=limits.max_bytes):
        yield Way.REWRITTEN, lambda other=other: attempt(other, kind, limits, tolerant=True)  # type: ignore[misc]
    breakable = repair.breakable(data, kind, max_bytes=limits.max_bytes)
    if breakable is not None:
        yield Way.FIRST_PART, lambda: _first_part(breakable, kind, limits)
    yield Way.SECOND_DECODER, lambda: _by_second_decoder(data, kind, limits)


def _first_part(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Shown:
    """The part before the break, which is found by bisection.

    :raises Damage: no part of it can be decoded.
    """
    found: list[Shown] = []

    def decodes(part: int) -> bool:
        try:
            found.append(attempt(repair.cut(data, part), kind, limits, tolerant=True))
        except (Damage, MediaError):
            return False
        return True

    repair.longest_part(len(data), decodes, tries=_HALVINGS)
    if not found:
        raise Damage(ValueError("no part of it can be decoded"))
    return found[-1]


def _by_second_decoder(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Shown:
    image = second_decoder.decode_damaged(data, kind, max_pixels=limits.max_pixels)
    return reading.shown(image, image.size, 1)


def _is_paint(pixels: npt.NDArray[np.uint8], kind: sniff.Kind) -> bool:
    """Whether almost all of a frame has the colour of its first or its last pixel."""
    height, width, _ = pixels.shape
    least = _PAINTED_SHARE * min(height, width) ** 2
    if kind is sniff.JPEG:
        least = max(least, min(_MADE_UP, _SMALL_SHARE * height * width))
    return any(np.count_nonzero((pixels != corner).any(axis=2)) <= least for corner in (pixels[0, 0], pixels[-1, -1]))
