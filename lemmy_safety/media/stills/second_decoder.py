"""Decodes stills with FFmpeg (PyAV), for two things that Pillow cannot do.

- Files on which Pillow gives up: FFmpeg's decoders of JPEG, PNG, WebP, BMP, TIFF and JPEG 2000 are independent of
  the libraries that Pillow uses, and some damaged files can be decoded by one and not by the other.
- Large WebP pictures: for Pillow, libwebp makes 19 bytes a pixel of them (1.9 GB at 100 megapixels with transparency);
  FFmpeg keeps them as 1.5 to 4 bytes and scales them from there, four times as fast.

This module knows no limits except ``max_pixels``, and not what a failure means. It uses no demuxer: one packet is one
file, so nothing is probed and nothing is read from anywhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation
from PIL import Image

from lemmy_safety.media import sniff
from lemmy_safety.media.memory import shortage_or_damage
from lemmy_safety.media.structure import riff
from lemmy_safety.media.structure.parts import Block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

_CODECS: Final[Mapping[sniff.Kind, str]] = {
    sniff.JPEG: "mjpeg",
    sniff.PNG: "png",
    sniff.WEBP: "webp",
    sniff.BMP: "bmp",
    sniff.TIFF: "tiff",
    sniff.JPEG2000: "jpeg2000",
}
# FFmpeg counts the padding of each row as well.
_PADDING: Final = 2
_NO_OPTIONS: Final[Mapping[str, str]] = {}
# Keep the output from a damaged file instead of refusing it.
_TOLERANT: Final[Mapping[str, str]] = {"err_detect": "ignore_err", "flags": "+output_corrupt", "flags2": "+showall"}

# Bytes per pixel while a WebP is decoded and scaled here: 4:2:0 planes for a simple lossy file; for any other at worst
# ARGB plus a whole RGBA picture, because scaling must not mix in colours behind alpha 0.
_SIMPLE_LOSSY_BYTES: Final = 1.5
_OTHER_BYTES: Final = 8.0
_SIMPLE_LOSSY: Final = b"VP8 "


class CannotDecode(Exception):
    """FFmpeg cannot decode it; the text is its error."""


@shortage_or_damage()
def decode_damaged(data: bytes, kind: sniff.Kind, *, max_pixels: int) -> Image.Image:
    """FFmpeg's result for a damaged still, in mode RGB or RGBA; turned and coloured as stored.

    :raises CannotDecode: nothing, or there is no decoder for ``kind`` here.
    """
    if kind not in _CODECS:
        raise CannotDecode(f"no second decoder reads {kind.name}")
    frame = _first_frame(data, _CODECS[kind], max_pixels, _TOLERANT)
    return _whole(frame)


def webp_memory(data: bytes, pixels: int) -> int:
    """Bytes that decoding a WebP of this many pixels takes here at worst."""
    return int(pixels * (_SIMPLE_LOSSY_BYTES if data[12:16] == _SIMPLE_LOSSY else _OTHER_BYTES))


@shortage_or_damage()
def decode_large_webp(data: bytes, size: tuple[int, int], *, max_pixels: int) -> Image.Image:
    """A healthy still WebP, scaled to ``size`` if opaque and at full size otherwise; profile and EXIF in ``info``.

    :raises CannotDecode: it is damaged, or animated.
    """
    frame = _first_frame(data, _CODECS[sniff.WEBP], max_pixels)
    if _has_alpha(frame):
        image = _whole(frame)
    else:
        scaled = frame.reformat(
            width=size[0], height=size[1], format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image = Image.fromarray(scaled.to_ndarray())
    for part in riff.read_webp(data).parts:
        key = {Block.EXIF: "exif", Block.PROFILE: "icc_profile"}.get(part.block)
        if key is not None:
            image.info.setdefault(key, bytes(part.content(data)))
    return image


def _first_frame(data: bytes, codec: str, max_pixels: int, options: Mapping[str, str] = _NO_OPTIONS) -> VideoFrame:
    try:
        context = cast("VideoCodecContext", av.CodecContext.create(codec, "r"))
        context.options = {**options, "max_pixels": str(_PADDING * max_pixels)}
        context.thread_count = 1
        with shortage_or_damage():
            frames = context.decode(av.Packet(data)) or context.decode(None)
    except (FFmpegError, ValueError) as error:
        raise CannotDecode(str(error)) from error
    if not frames:
        raise CannotDecode("no picture came out")
    if frames[0].width * frames[0].height > max_pixels:
        raise CannotDecode(f"{frames[0].width} x {frames[0].height} px are over the limit")
    return frames[0]


def _has_alpha(frame: VideoFrame) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _whole(frame: VideoFrame) -> Image.Image:
    """The frame at its own size; RGBA shares the frame's memory, which saves 400 MB at 100 megapixels."""
    if not _has_alpha(frame):
        return Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))
    whole = frame.reformat(format="rgba", threads=1)
    plane = whole.planes[0]
    samples = np.frombuffer(cast("memoryview", plane), np.uint8)
    return Image.frombuffer("RGBA", (whole.width, whole.height), samples, "raw", "RGBA", plane.line_size, 1)
