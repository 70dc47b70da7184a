"""Turns one still into frames, and every failure into a ``MediaError``.

Also the first frame of an animation that cannot be played. Everything is in memory; whatever the bytes are, only
``MediaError`` is raised. Other modules decide what is cut out of the frames afterwards, and whether a picture is
good or bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, pillow_guard, sniff
from lemmy_safety.media.base import DecodedMedia, MediaLimits
from lemmy_safety.media.pixels import likeness, rendering
from lemmy_safety.media.stills import formats, repair, salvage
from lemmy_safety.records import Anomaly, AnomalyKind, Frame, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from lemmy_safety.media.stills.reading import Shown


def decode_still(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> DecodedMedia:
    """Decode a still of a kind that ``formats`` reads: all pages of a TIFF, all pictures of an icon or a HEIC.

    The shorter side of a frame is at most 512 px, and it has at most ``rendering.STRIP_PIXELS``. A page with
    transparency that a dark page shows differently comes twice, the second time with the view ``rendering.ON_DARK``. A
    damaged file is judged by what can be shown of it, as in a browser, with a TRUNCATED or DAMAGED anomaly that has the
    decoder's error.

    :raises MediaError: UNREADABLE, UNSUPPORTED or TOO_LARGE, with a reason for a person.
    """
    words = formats.missing(kind)
    if words is not None:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; {words}")
    pillow_guard.prepare(limits.max_pixels)
    anomalies = []
    try:
        shown = salvage.attempt(data, kind, limits)
    except salvage.Damage as complaint:
        rescued = salvage.rescue(data, kind, limits)
        if rescued is None:
            reason = f"{kind.name} that cannot be decoded: {complaint}"
            raise MediaError(ItemStatus.UNREADABLE, reason) from complaint
        _, shown = rescued
        cut_off = "truncated" in str(complaint).lower() or repair.is_cut_off(data, kind)
        anomaly = AnomalyKind.TRUNCATED if cut_off else AnomalyKind.DAMAGED
        anomalies.append(Anomaly(kind=anomaly, detail=str(complaint)))
    if shown.broken_off:
        anomalies.append(Anomaly(kind=AnomalyKind.DAMAGED, detail=shown.broken_off))
    if shown.count > len(shown.pages):
        detail = f"only {_first(len(shown.pages))} of {_count(shown.count)} frames or pages could be checked"
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
    """The pages' frames; for an icon, only the sizes that show another picture than a larger one does."""
    seen: list[npt.NDArray[np.uint8]] = []
    for index, (light, dark) in enumerate(shown.pages):
        if kind is sniff.ICON and any(likeness.same_picture(larger, light) for larger in seen):
            continue
        seen.append(light)
        yield Frame(pixels=light, index=index, at_s=at_s)
        if dark is not None:
            yield Frame(pixels=dark, index=index, at_s=at_s, view=rendering.ON_DARK)
