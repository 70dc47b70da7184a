"""One still to frames: the limits, the tries at a damaged file, the mapping of every failure to ``MediaError``.

Also the first frame of an animation that cannot be played. Everything is in memory; whatever the bytes are,
``MediaError`` is all that leaves. What is cut out of the frames afterwards is not decided here, nor whether a picture is
good or bad.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from lemmy_safety.errors import MediaError
from lemmy_safety.media import (
    containers,
    costs,
    formats,
    likeness,
    pillow_guard,
    reading,
    rendering,
    repair,
    second_decoder,
    sniff,
)
from lemmy_safety.media.base import DecodedMedia, MediaLimits
from lemmy_safety.records import Anomaly, AnomalyKind, Frame, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from lemmy_safety.media.reading import Shown

_MAX_REASON: Final = 200
# What came out of a damaged file counts from this share of a square of the frame's shorter side on: two and a half rows.
_PAINTED_SHARE: Final = 0.005
# libjpeg makes up to four blocks of 16 x 16 of nothing before it gives up and leaves the rest grey; in a small frame those
# are much, so of a JPEG it is a twentieth there.
_MADE_UP: Final = 4 * 16 * 16
_SMALL_SHARE: Final = 0.05
# Each costs a decode of a damaged WebP or AVIF; eight find the break to a 256th of the file.
_HALVINGS: Final = 8


class _Damage(Exception):
    """One try at decoding failed on the bytes themselves."""

    def __init__(self, error: Exception) -> None:
        super().__init__(_one_line(str(error)) or type(error).__name__)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:_MAX_REASON]


def decode_still(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> DecodedMedia:
    """Decode a still of a kind that ``formats`` reads: all pages of a TIFF, all pictures of an icon or a HEIC.

    The shorter side of a frame is at most 512 px, and it has at most ``rendering.STRIP_PIXELS``. A page with
    transparency that a dark page shows differently comes twice, then with the view ``rendering.ON_DARK``. A damaged file is judged
    by what can be shown of it, as a browser would, with a TRUNCATED or DAMAGED anomaly that has the decoder's complaint.

    :raises MediaError: UNREADABLE, UNSUPPORTED or TOO_LARGE, with a reason for a person.
    """
    words = formats.missing(kind)
    if words is not None:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; {words}")
    pillow_guard.prepare(limits.max_pixels)
    anomalies = []
    try:
        shown = _attempt(data, kind, limits, tolerant=False)
    except _Damage as complaint:
        shown = _salvage(data, kind, limits, complaint)
        cut_off = "truncated" in str(complaint).lower() or repair.is_cut_off(data, kind)
        anomaly = AnomalyKind.TRUNCATED if cut_off else AnomalyKind.DAMAGED
        anomalies.append(Anomaly(kind=anomaly, detail=str(complaint)))
    if shown.broken_off:
        anomalies.append(Anomaly(kind=AnomalyKind.DAMAGED, detail=_one_line(shown.broken_off)))
    if shown.count > len(shown.pages):
        detail = f"only {_first(len(shown.pages))} of {_count(shown.count)} frames or pages could be looked at"
        anomalies.append(Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=detail))
    info = MediaInfo(
        media_type=kind.media_type,
        width=shown.width,
        height=shown.height,
        frame_count=shown.count,
        anomalies=tuple(anomalies),
    )
    moves = shown.count > 1 and sniff.is_animated(data, kind)
    return DecodedMedia(info=info, frames=tuple(_frames(shown, kind, 0.0 if moves else None)))


def _first(pages: int) -> str:
    return "the first" if pages == 1 else f"{pages}"


def _count(frames: int) -> str:
    return f"at least {frames}" if frames >= containers.MAX_COUNTED_FRAMES else str(frames)


def _frames(shown: Shown, kind: sniff.Kind, at_s: float | None) -> Iterator[Frame]:
    """The pages' frames; of an icon, only the sizes that show another picture than a larger one does."""
    seen: list[npt.NDArray[np.uint8]] = []
    for index, (light, dark) in enumerate(shown.pages):
        if kind is sniff.ICON and any(likeness.same_picture(larger, light) for larger in seen):
            continue
        seen.append(light)
        yield Frame(pixels=light, index=index, at_s=at_s)
        if dark is not None:
            yield Frame(pixels=dark, index=index, at_s=at_s, view=rendering.ON_DARK)


def _salvage(data: bytes, kind: sniff.Kind, limits: MediaLimits, complaint: _Damage) -> Shown:
    """What can be shown of a damaged file.

    A file of which hardly more came out than the colour its decoder fills the canvas with is unreadable, lest "could
    not be read" be recorded as "looked at and fine".
    """
    for attempt in _attempts(data, kind, limits):
        try:
            shown = attempt()
        except (_Damage, second_decoder.CannotDecode):
            continue
        except MediaError:  # a damaged size, or a file that only looks larger now
            continue
        if not _is_paint(shown.pages[0][0], kind):
            return shown
    raise MediaError(ItemStatus.UNREADABLE, f"{kind.name} that cannot be decoded: {complaint}") from complaint


def _attempts(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Iterator[Callable[[], Shown]]:
    """Ways to get something out of a damaged file, the one closest to what browsers show first."""
    yield lambda: _attempt(data, kind, limits, tolerant=True)
    for other in repair.rewritten(data, kind, max_bytes=limits.max_bytes):
        yield lambda other=other: _attempt(other, kind, limits, tolerant=True)  # type: ignore[misc]
    breakable = repair.breakable(data, kind, max_bytes=limits.max_bytes)
    if breakable is not None:
        yield lambda: _longest_part(breakable, kind, limits)
    yield lambda: _by_second_decoder(data, kind, limits)


def _longest_part(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Shown:
    found: list[Shown] = []

    def decodes(part: int) -> bool:
        try:
            found.append(_attempt(repair.cut(data, part), kind, limits, tolerant=True))
        except (_Damage, MediaError):
            return False
        return True

    repair.longest_part(len(data), decodes, tries=_HALVINGS)
    if not found:
        raise _Damage(ValueError("no part of it can be decoded"))
    return found[-1]


def _by_second_decoder(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> Shown:
    image = second_decoder.decode_damaged(data, kind, max_pixels=limits.max_pixels)
    return reading.shown(image, image.size, 1)


def _is_paint(pixels: npt.NDArray[np.uint8], kind: sniff.Kind) -> bool:
    """Whether hardly anything of a frame has another colour than its first or its last pixel."""
    height, width, _ = pixels.shape
    least = _PAINTED_SHARE * min(height, width) ** 2
    if kind is sniff.JPEG:
        least = max(least, min(_MADE_UP, _SMALL_SHARE * height * width))
    return any(np.count_nonzero((pixels != corner).any(axis=2)) <= least for corner in (pixels[0, 0], pixels[-1, -1]))


def _attempt(data: bytes, kind: sniff.Kind, limits: MediaLimits, *, tolerant: bool) -> Shown:
    """Decode once; with ``tolerant``, keep what there is of a damaged file.

    :raises MediaError: TOO_LARGE, or UNSUPPORTED.
    :raises _Damage: any other failure. Broken files make Pillow raise some ten unrelated exception classes.
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
        raise MediaError(ItemStatus.TOO_LARGE, f"{kind.name} that needs more memory than there is") from error
    except Exception as error:
        raise _Damage(error) from error
