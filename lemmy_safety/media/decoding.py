"""Stored bytes to frames by Pillow: the allow-list, the limits, the second try for damaged files, the mapping of errors.

First step of this room: stills, and of an animation its first frame (an anomaly says so). Everything is in memory.
Whatever the bytes are, ``MediaError`` is all that leaves. Nothing here says whether a picture is good or bad.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, pillow_guard, rendering, sniff
from lemmy_safety.media.base import DecodedMedia, Decoder, MediaLimits
from lemmy_safety.records import Frame, ItemStatus, MediaInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from PIL import ImageFile

# The allow-list: each kind is read by exactly one class and by no other that Pillow has (its EPS reader would start
# Ghostscript). Named classes instead of Image.open(formats=...), because that re-reads a JPEG as MPO and so lets a
# broken MPO index stand in the way of the picture that browsers show.
_READERS: Final[Mapping[sniff.Kind, type[ImageFile.ImageFile]]] = {
    sniff.JPEG: JpegImagePlugin.JpegImageFile,
    sniff.PNG: PngImagePlugin.PngImageFile,
    sniff.APNG: PngImagePlugin.PngImageFile,
    sniff.GIF: GifImagePlugin.GifImageFile,
    sniff.WEBP: WebPImagePlugin.WebPImageFile,
    sniff.AVIF: AvifImagePlugin.AvifImageFile,
    sniff.BMP: BmpImagePlugin.BmpImageFile,
    sniff.TIFF: TiffImagePlugin.TiffImageFile,
}
# Pillow can be built without these two libraries (distributions do); then their files are UNSUPPORTED here.
_OPTIONAL: Final[Mapping[sniff.Kind, bool]] = {
    sniff.WEBP: WebPImagePlugin.SUPPORTED,
    sniff.AVIF: AvifImagePlugin.SUPPORTED,
}

#: What this installation can decode: the number rises when this room learns something, the names follow the libraries
#: at hand. Pillow's version is left out on purpose: it changes four times a year, a file that one release refused and
#: the next one reads is rare, and each change makes the next pass read every undecodable object again.
DECODER_VERSION: Final = "+".join(["stills-1", *sorted(k.media_type[6:] for k, there in _OPTIONAL.items() if there)])

_MAX_REASON: Final = 200
# libjpeg makes a few blocks of nothing before it gives up and leaves the rest grey: 99.9 % of a 600 x 400 frame.
_PAINT_SHARE: Final = 0.995
# What libjpeg leaves is at least twice the frame in both directions, so that it is Lanczos that shapes the frame.
_DRAFT_GAP: Final = 2


class InlineDecoder(Decoder):
    """Decodes in the thread that calls."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits

    @property
    def version(self) -> str:
        return f"{DECODER_VERSION} ({self._limits})"

    def decode(self, data: bytes) -> DecodedMedia:
        return decode(data, self._limits)

    def close(self) -> None:
        """Nothing is held between calls."""


@dataclass(frozen=True, slots=True)
class _Still:
    picture: Image.Image
    width: int
    height: int
    frame_count: int


def decode(data: bytes, limits: MediaLimits) -> DecodedMedia:
    """Decode one still, or the first frame of an animation. Thread-safe.

    The frame's shorter side is at most 512 px and its longer one at most 4096 px; ``info`` has the real size.
    A damaged file is judged by what can be shown of it, as a browser would, with an anomaly. Anomalies are texts that
    begin with a fixed word and a colon: ``truncated`` and ``damaged`` (then the decoder's complaint),
    ``first_frame_only`` (then how many frames there are).

    :raises MediaError: UNREADABLE, UNSUPPORTED or TOO_LARGE, with a reason for a person; nothing else is raised.
    """
    kind = sniff.sniff(data)
    _refuse_unfit(data, kind, limits)
    pillow_guard.prepare(limits.max_pixels)
    anomalies = []
    try:
        still = _attempt(data, kind, limits, tolerant=False)
    except _Damage as complaint:
        still, anomaly = _salvage(data, kind, limits, complaint)
        anomalies.append(anomaly)
    if still.frame_count > 1:
        anomalies.append(f"first_frame_only: only the first of {_count(still.frame_count)} frames was looked at")
    animated = still.frame_count > 1 and kind is not sniff.TIFF
    info = MediaInfo(
        media_type=kind.media_type,
        width=still.width,
        height=still.height,
        frame_count=still.frame_count,
        anomalies=tuple(anomalies),
    )
    return DecodedMedia(info=info, frames=(Frame(pixels=np.asarray(still.picture), at_s=0.0 if animated else None),))


def _count(frames: int) -> str:
    return f"at least {frames}" if frames >= containers.MAX_COUNTED_FRAMES else str(frames)


def _refuse_unfit(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> None:
    """Raise for what no decoder has to be asked about."""
    if kind is sniff.EMPTY:
        raise MediaError(ItemStatus.UNREADABLE, "empty file (0 bytes)")
    if len(data) > limits.max_bytes:
        reason = f"{len(data)} bytes are over the limit of {limits.max_bytes} bytes"
        raise MediaError(ItemStatus.TOO_LARGE, reason)
    if kind.family is sniff.Family.VIDEO:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; this version does not look into videos")
    if kind.family is sniff.Family.PICTURE:
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; this version cannot decode those")
    if kind.family is sniff.Family.OTHER:
        looks = kind.name if kind is sniff.UNKNOWN else f"looks like {kind.name}"
        raise MediaError(ItemStatus.UNREADABLE, f"not a picture: {looks}")
    if not _OPTIONAL.get(kind, True):
        raise MediaError(ItemStatus.UNSUPPORTED, f"{kind.name}; the installed Pillow was built without that format")


class _Damage(Exception):
    """One attempt at decoding failed on the bytes themselves."""

    def __init__(self, error: Exception) -> None:
        text = " ".join(str(error).split()) or type(error).__name__
        super().__init__("".join(c if c.isprintable() else "?" for c in text)[:_MAX_REASON])


def _salvage(data: bytes, kind: sniff.Kind, limits: MediaLimits, complaint: _Damage) -> tuple[_Still, str]:
    """What can be shown of a damaged file, and the anomaly to record.

    A file of which hardly more came out than the colour its decoder fills the canvas with is unreadable, lest "could
    not be read" be recorded as "looked at and fine".
    """
    refused = MediaError(ItemStatus.UNREADABLE, f"{kind.name} that cannot be decoded: {complaint}")
    padded = containers.padded_to_declared_length(data, kind, max_bytes=limits.max_bytes)
    try:
        still = _attempt(padded or data, kind, limits, tolerant=True)
    except _Damage:
        raise refused from complaint
    if _is_paint(np.asarray(still.picture)):
        raise refused from complaint
    word = "truncated" if padded or "truncated" in str(complaint).lower() else "damaged"
    return still, f"{word}: {complaint}"


def _is_paint(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether nearly all of a frame has the colour of its first or of its last pixel."""
    return any(
        np.count_nonzero((pixels == corner).all(axis=2)) >= _PAINT_SHARE * pixels.shape[0] * pixels.shape[1]
        for corner in (pixels[0, 0], pixels[-1, -1])
    )


def _attempt(data: bytes, kind: sniff.Kind, limits: MediaLimits, *, tolerant: bool) -> _Still:
    """Decode once; with ``tolerant``, keep what there is of a damaged file.

    :raises MediaError: TOO_LARGE.
    :raises _Damage: any other failure. Broken files make Pillow raise some ten unrelated exception classes.
    """
    try:
        with pillow_guard.tolerate_damage() if tolerant else nullcontext():
            return _read(data, kind, limits)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        reason = f"its parts are larger than the limit of {_megapixels(limits.max_pixels)}"
        raise MediaError(ItemStatus.TOO_LARGE, reason) from error
    except MemoryError as error:
        raise MediaError(ItemStatus.TOO_LARGE, f"{kind.name} that needs more memory than there is") from error
    except Exception as error:
        raise _Damage(error) from error


def _read(data: bytes, kind: sniff.Kind, limits: MediaLimits) -> _Still:
    if kind is sniff.WEBP and (canvas := containers.webp_canvas(data)):
        _refuse_large(*canvas, limits)
    with _READERS[kind](io.BytesIO(data)) as image:
        width, height = image.size
        _refuse_large(width, height, limits)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _refuse_large_tiles(image, limits)
        size = rendering.frame_size(width, height)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            # libjpeg then skips detail that scaling would discard: 0.4 s and 16 MB at 40 MP instead of 1.2 s and 168 MB.
            image.draft(None, (size[0] * _DRAFT_GAP, size[1] * _DRAFT_GAP))
        image.load()
        orientation = rendering.orientation_of(image)
        picture = rendering.render(image, size, orientation)
        if orientation in rendering.SIDEWAYS:
            width, height = height, width
        return _Still(picture, width, height, _frame_count(data, kind, image))


def _frame_count(data: bytes, kind: sniff.Kind, image: ImageFile.ImageFile) -> int:
    """How many frames or pages the file says it holds; counted by ourselves where Pillow would walk the whole file."""
    if kind is sniff.GIF:
        return max(1, containers.gif_frame_count(data))
    if kind is sniff.TIFF:
        return containers.tiff_page_count(data)
    if kind in {sniff.APNG, sniff.WEBP, sniff.AVIF}:
        return max(1, int(getattr(image, "n_frames", 1)))
    return 1


def _refuse_large(width: int, height: int, limits: MediaLimits) -> None:
    if width * height > limits.max_pixels:
        reason = f"{width} x {height} px is over the limit of {_megapixels(limits.max_pixels)}"
        raise MediaError(ItemStatus.TOO_LARGE, reason)


def _refuse_large_tiles(image: TiffImagePlugin.TiffImageFile, limits: MediaLimits) -> None:
    """A TIFF's tiles may be larger than its picture, and are allocated whole."""
    width = image.tag_v2.get(TiffImagePlugin.TILEWIDTH)
    height = image.tag_v2.get(TiffImagePlugin.TILELENGTH)
    if isinstance(width, int) and isinstance(height, int):
        _refuse_large(width, height, limits)


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1_000_000:g} megapixels"
