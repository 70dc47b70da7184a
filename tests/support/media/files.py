"""Files of every format and codec that Pillow and PyAV can write here, from any pictures; everything in memory.

Tables of encoders by name: ``STILLS`` take one picture, ``ANIMATIONS`` and ``VIDEOS`` take pictures and milliseconds
each. The same pictures give the same bytes with the same libraries.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from typing import Any, cast

import av
import numpy as np
from PIL import Image
from support.media.pictures import encode, png_chunk
from support.media.svt_av1 import tamed

StillEncoder = Callable[[Image.Image], bytes]
MotionEncoder = Callable[[Sequence[Image.Image], Sequence[int]], bytes]

#: Milliseconds of the clock of every video written here: all frame durations are whole numbers of it.
_CLOCK = Fraction(1, 1000)
#: No key frame but the first: a scene in the middle can only be seen by decoding what lies before it.
_NO_KEY_FRAMES = "10000"


def png_of_16_bits(image: Image.Image) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    samples = (np.asarray(image.convert("RGB"), dtype=np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_of_16_bit_grey(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L"), dtype=np.uint16) * np.uint16(257)
    return encode(Image.fromarray(grey), "png")


def with_some_alpha(image: Image.Image, mode: str) -> Image.Image:
    """In LA or RGBA, its top row half transparent, so that no encoder drops the alpha."""
    coloured = image.convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(128, (0, 0, image.width, 1))
    coloured.putalpha(alpha)
    return coloured


def heic(image: Image.Image, **options: Any) -> bytes:
    import pillow_heif  # noqa: PLC0415 - an extra

    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=70, **options)
    return out.getvalue()


def jxl(image: Image.Image, **options: Any) -> bytes:
    import pillow_jxl  # noqa: F401, PLC0415 - an extra; importing it is what makes Pillow write JPEG XL

    return encode(image, "jxl", effort=3, **options)


def _converted(mode: str, file_format: str, **options: Any) -> StillEncoder:
    return lambda image: encode(image.convert(mode), file_format, **options)


STILLS: dict[str, StillEncoder] = {
    "jpeg baseline": partial(encode, file_format="jpeg", quality=80),
    "jpeg progressive": partial(encode, file_format="jpeg", quality=80, progressive=True),
    "jpeg 4:4:4": partial(encode, file_format="jpeg", quality=80, subsampling=0),
    "jpeg cmyk": _converted("CMYK", "jpeg", quality=80),
    "jpeg grey": _converted("L", "jpeg", quality=80),
    "png": partial(encode, file_format="png"),
    "png 16-bit": png_of_16_bits,
    "png 16-bit grey": png_of_16_bit_grey,
    "png palette": lambda image: encode(image.quantize(64), "png"),
    "png grey+alpha": lambda image: encode(with_some_alpha(image, "LA"), "png"),
    "png rgba": lambda image: encode(with_some_alpha(image, "RGBA"), "png"),
    "png 1-bit": _converted("1", "png"),
    "gif": partial(encode, file_format="gif"),
    "webp": partial(encode, file_format="webp", quality=75),
    "webp lossless": partial(encode, file_format="webp", lossless=True),
    "webp alpha": lambda image: encode(with_some_alpha(image, "RGBA"), "webp", quality=75),
    "avif": partial(encode, file_format="avif", quality=60, max_threads=1),
    "avif 4:4:4": partial(encode, file_format="avif", quality=60, subsampling="4:4:4", max_threads=1),
    "bmp": partial(encode, file_format="bmp"),
    "bmp palette": lambda image: encode(image.quantize(64), "bmp"),
    "tiff": partial(encode, file_format="tiff"),
    "tiff deflate": partial(encode, file_format="tiff", compression="tiff_adobe_deflate"),
    "tiff jpeg": partial(encode, file_format="tiff", compression="jpeg"),
    **(
        {
            "jxl": jxl,
            "jxl lossless": partial(jxl, lossless=True),
            "jxl boxed": partial(jxl, use_container=True),
        }
        if find_spec("pillow_jxl")
        else {}
    ),
    **({"heic": heic} if find_spec("pillow_heif") else {}),
}


def _animation(
    frames: Sequence[Image.Image], durations_ms: Sequence[int], *, file_format: str, **options: Any
) -> bytes:
    out = io.BytesIO()
    frames[0].save(
        out, file_format, save_all=True, append_images=list(frames[1:]), duration=list(durations_ms), loop=0, **options
    )
    return out.getvalue()


def _without_times(data: bytes) -> bytes:
    """An ISO file without the times of writing in its headers, so that it is the same each time it is made."""
    out = bytearray(data)
    for name in (b"mvhd", b"tkhd", b"mdhd"):
        at = out.find(name)
        while at >= 0:
            long_times = out[at + 4] == 1
            out[at + 8 : at + 8 + (16 if long_times else 8)] = bytes(16 if long_times else 8)
            at = out.find(name, at + 4)
    return bytes(out)


ANIMATIONS: dict[str, MotionEncoder] = {
    "gif animated": lambda frames, durations_ms: _animation(
        # Choosing 64 colours is what costs most of the time, and this is its quick way.
        [frame.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for frame in frames],
        durations_ms,
        file_format="gif",
    ),
    "apng": partial(_animation, file_format="png", compress_level=1),
    "webp animated": partial(_animation, file_format="webp", method=0, quality=70),
    "webp animated lossless": partial(_animation, file_format="webp", method=0, lossless=True),
    "avif animated": lambda frames, durations_ms: _without_times(
        _animation(frames, durations_ms, file_format="avif", speed=10, quality=55, max_threads=1)
    ),
}


@dataclass(frozen=True)
class VideoForm:
    """A container and a codec by PyAV's names, with the options of each."""

    container: str
    codec: str
    codec_options: dict[str, str]
    container_options: dict[str, str]
    pixel_format: str = "yuv420p"

    def __call__(self, frames: Sequence[Image.Image], durations_ms: Sequence[int]) -> bytes:
        return encode_video(frames, durations_ms, self)


_X264 = {"preset": "ultrafast", "g": _NO_KEY_FRAMES, "sc_threshold": "0"}
_X265 = {
    "preset": "ultrafast",
    "x265-params": f"log-level=none:keyint={_NO_KEY_FRAMES}:scenecut=0:pools=none:frame-threads=1",
}
_AV1 = {"preset": "11", "g": _NO_KEY_FRAMES, "svtav1-params": "lp=1"}
_VPX = {"deadline": "realtime", "cpu-used": "8", "g": _NO_KEY_FRAMES}
#: Room kept for the index at the start of the file; ``faststart`` would need to open the output again by its name.
_INDEX_FIRST = {"moov_size": "{index_bytes}"}

VIDEOS: dict[str, VideoForm] = {
    "mp4 h264": VideoForm("mp4", "libx264", _X264, _INDEX_FIRST),
    "mp4 h264 index last": VideoForm("mp4", "libx264", _X264, {}),
    "mp4 h264 fragmented": VideoForm("mp4", "libx264", _X264 | {"g": "24"}, {"movflags": "frag_keyframe+empty_moov"}),
    "mp4 h264 10-bit": VideoForm("mp4", "libx264", _X264, _INDEX_FIRST, "yuv420p10le"),
    "mp4 h265": VideoForm("mp4", "libx265", _X265, _INDEX_FIRST),
    "mp4 av1": VideoForm("mp4", "libsvtav1", _AV1, _INDEX_FIRST),
    "mp4 mpeg4": VideoForm("mp4", "mpeg4", {"g": "600"}, _INDEX_FIRST),
    "mov h264": VideoForm("mov", "libx264", _X264, _INDEX_FIRST),
    "webm vp8": VideoForm("webm", "libvpx", _VPX, {}),
    "webm vp9": VideoForm("webm", "libvpx-vp9", _VPX, {}),
    "webm av1": VideoForm("webm", "libsvtav1", _AV1, {}),
    "mkv h264": VideoForm("matroska", "libx264", _X264, {}),
    "mkv h265": VideoForm("matroska", "libx265", _X265, {}),
}


def encode_video(frames: Sequence[Image.Image], durations_ms: Sequence[int], form: VideoForm) -> bytes:
    """The pictures, all of one even size, as one silent video track."""
    out = io.BytesIO()
    index_bytes = 4096 + 32 * len(frames)
    options = {name: value.format(index_bytes=index_bytes) for name, value in form.container_options.items()}
    with (
        tamed(form.codec),
        av.open(out, "w", format=form.container, options={"fflags": "+bitexact", **options}) as container,
    ):
        stream = cast("av.VideoStream", container.add_stream(form.codec, rate=25, options=form.codec_options))
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = form.pixel_format
        stream.thread_count = 1
        stream.codec_context.time_base = _CLOCK
        shown_ms = 0
        for image, duration in zip(frames, durations_ms, strict=True):
            frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
            frame.time_base, frame.pts = _CLOCK, shown_ms
            shown_ms += duration
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
