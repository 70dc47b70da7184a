"""Animations and videos for the tests of what moves: every codec at hand, and what a container can do to its pictures.

Everything is generated and in memory. Frames are given as pictures, times in milliseconds.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from PIL import Image, ImageDraw
from support.media import pictures
from support.media.svt_av1 import tamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SIZE = (128, 96)
FRAME_MS = 40


@dataclass(frozen=True)
class Codec:
    """How one codec is written: encoder, container, pixel format, its fastest options."""

    encoder: str
    container: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = SIZE

    @property
    def available(self) -> bool:
        """Whether this build of FFmpeg has the encoder; distributions leave some out."""
        try:
            av.Codec(self.encoder, "w")
        except av.codec.codec.UnknownCodecError:
            return False
        return True


def with_key_frames(codec: Codec, every: int) -> Codec:
    """The same codec with a key frame so often, instead of one at the beginning."""
    options = {
        key: re.sub(r"(?<![0-9])(10000|1000|300)(?![0-9])", str(every), value) for key, value in codec.options.items()
    }
    return replace(codec, options=options)


#: Key frames nowhere but at the beginning, so that what is in the middle has to be decoded.
_ONE_KEY = {"g": "10000"}
_X264 = {"preset": "ultrafast", "sc_threshold": "0", "bf": "2", **_ONE_KEY}
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:scenecut=0:keyint=1000"}
_VPX = {"deadline": "realtime", "cpu-used": "8", **_ONE_KEY}
_AV1 = {"preset": "13", "svtav1-params": "lp=1:keyint=300"}

#: Every pair of container and codec that is looked into and that can be written here, by name.
CODECS = {
    "mp4 h264": Codec("libx264", "mp4", options=_X264),
    "mp4 h264 10 bit": Codec("libx264", "mp4", "yuv420p10le", _X264),
    "mp4 h265": Codec("libx265", "mp4", options=_X265),
    "mp4 av1": Codec("libsvtav1", "mp4", options=_AV1),
    "mp4 vp9": Codec("libvpx-vp9", "mp4", options=_VPX),
    "mp4 mpeg4": Codec("mpeg4", "mp4", options=_ONE_KEY),
    "mov h264": Codec("libx264", "mov", options=_X264),
    "mov mjpeg": Codec("mjpeg", "mov", "yuvj420p"),
    "mov prores": Codec("prores_ks", "mov", "yuv422p10le"),
    "mov png": Codec("png", "mov", "rgb24"),
    "mov h263": Codec("h263", "mov", options=_ONE_KEY, size=(176, 144)),
    "3gp h263": Codec("h263", "3gp", options=_ONE_KEY, size=(176, 144)),
    "webm vp8": Codec("libvpx", "webm", options=_VPX),
    "webm vp9": Codec("libvpx-vp9", "webm", options=_VPX),
    "webm av1": Codec("libsvtav1", "webm", options=_AV1),
    "mkv h264": Codec("libx264", "matroska", options=_X264),
    "mkv h265": Codec("libx265", "matroska", options=_X265),
    "mkv ffv1": Codec("ffv1", "matroska", options=_ONE_KEY),
    "avi mpeg4": Codec("mpeg4", "avi", options=_ONE_KEY),
    "avi mjpeg": Codec("mjpeg", "avi", "yuvj420p"),
    "flv h264": Codec("libx264", "flv", options=_X264),
    "flv sorenson": Codec("flv", "flv", options=_ONE_KEY),
    "mpeg mpeg1": Codec("mpeg1video", "mpeg", options=_ONE_KEY),
    "mpeg mpeg2": Codec("mpeg2video", "mpeg", options=_ONE_KEY),
    "bare mpeg2": Codec("mpeg2video", "mpeg2video", options=_ONE_KEY),
    "ts h264": Codec("libx264", "mpegts", options=_X264),
    "ogg vp8": Codec("libvpx", "ogg", options=_VPX),
    "asf wmv2": Codec("wmv2", "asf", options=_ONE_KEY),
}


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture unlike that of any other seed: coarse coloured patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def drifting(count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> list[Image.Image]:
    """One scene in which a small ball moves, so that every frame differs a little and no writer joins them."""
    ground = scene(seed, size)
    frames = []
    for number in range(count):
        frame = ground.copy()
        left = number * 3 % (size[0] - 6)
        ImageDraw.Draw(frame).ellipse((left, 4, left + 5, 9), fill=(250, 250, 90))
        frames.append(frame)
    return frames


def with_hidden(frames: Sequence[Image.Image], at: int, count: int = 1, seed: int = 99) -> list[Image.Image]:
    """The frames with another scene in the place of ``count`` of them."""
    hidden = scene(seed, frames[0].size)
    return [*frames[:at], *(hidden.copy() for _ in range(count)), *frames[at + count :]]


def shows(pixels: np.ndarray, picture: Image.Image, *, tolerance: float = 12) -> bool:
    """Whether a frame shows a picture, give or take what a codec does to it."""
    height, width, _ = pixels.shape
    wanted = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return float(np.abs(pixels - wanted).mean()) < tolerance


def animation(
    frames: Sequence[Image.Image], file_format: str, durations_ms: int | Sequence[int] = FRAME_MS, **more: Any
) -> bytes:
    """An animation in one of ``pictures.ANIMATION_FORMATS``, each frame as it is given."""
    options: dict[str, Any] = {"gif": {"optimize": False}, "webp": {"method": 0, "quality": 90}, "avif": {"speed": 10}}
    if file_format == "gif":  # choosing the colours of each frame is what takes most of the time; this is the quick way
        frames = [frame.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for frame in frames]
    out = io.BytesIO()
    frames[0].save(
        out,
        "png" if file_format == "apng" else file_format,
        save_all=True,
        append_images=list(frames[1:]),
        duration=durations_ms if isinstance(durations_ms, int) else list(durations_ms),
        loop=0,
        **{**options.get(file_format, {}), **more},
    )
    return out.getvalue()


def video(
    frames: Iterable[Image.Image],
    codec: Codec = CODECS["mp4 h264"],
    *,
    frame_ms: int = FRAME_MS,
    second: Sequence[Image.Image] = (),
    cover: Image.Image | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    aspect: Fraction | None = None,
    colours: dict[str, int] | None = None,
    times: Sequence[int] | None = None,
) -> bytes:
    """A video of equally long frames.

    ``second``: frames of a second video stream; ``cover``: an attached JPEG; ``rotation``: degrees counter-clockwise and
    two mirrorings; ``aspect``: width of a pixel by its height; ``colours``: attributes of each frame such as
    ``color_trc``; ``times``: of the frames, in milliseconds.
    """
    out = io.BytesIO()
    with tamed(codec.encoder), av.open(out, "w", format=codec.container) as container:
        rate = Fraction(1000, frame_ms)
        streams = [_stream(container, codec, rate)]
        _describe(streams[0], rotation, aspect, colours or {})
        if second:
            streams.append(_stream(container, codec, rate))
        cover_packet = _cover(container, cover) if cover is not None else None
        for stream, pictures_ in zip(streams, (frames, second), strict=False):
            for number, picture in enumerate(pictures_):
                frame = av.VideoFrame.from_image(picture.resize(codec.size))
                frame = frame.reformat(
                    format=codec.pixels, **({"dst_color_range": 1} if codec.pixels[:3] == "yuv" else {})
                )
                for name, value in (colours or {}).items():
                    setattr(frame, name, value)
                frame.pts = number if times is None else times[number]
                frame.time_base = 1 / rate if times is None else Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        if cover_packet is not None:
            container.mux(cover_packet)
    return out.getvalue()


def with_index_first(data: bytes) -> bytes:
    """An MP4 whose index stands before its frames, so that its beginning can be played."""
    at = data.index(b"moov") - 4
    index = bytearray(data[at:])
    entry = -1
    while (entry := index.find(b"stco", entry + 1)) >= 0:
        for number in range(struct.unpack(">I", index[entry + 8 : entry + 12])[0]):
            place = entry + 12 + 4 * number
            offset = struct.unpack(">I", index[place : place + 4])[0]
            index[place : place + 4] = struct.pack(">I", offset + len(index))
    header = struct.unpack(">I", data[:4])[0]
    return data[:header] + index + data[header:at]


def _stream(container, codec, rate):
    stream = container.add_stream(codec.encoder, rate=rate, options=codec.options)
    stream.width, stream.height = codec.size
    stream.pix_fmt = codec.pixels
    stream.codec_context.thread_count = 1
    if codec.container in {"mp4", "mov", "webm", "matroska"} and codec.encoder != "h263":
        stream.codec_context.time_base = Fraction(1, 1000)
    return stream


def _describe(stream, rotation, aspect, colours):
    if rotation is not None:
        stream.set_display_rotation(*rotation)
    if aspect is not None:
        stream.codec_context.sample_aspect_ratio = aspect
    for name, value in colours.items():
        setattr(stream.codec_context, name, value)


def _cover(container, picture):
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height = picture.size
    stream.pix_fmt = "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    packet = av.Packet(pictures.encode(picture, "jpeg"))
    packet.stream = stream
    packet.pts = packet.dts = 0
    packet.time_base = Fraction(1, 1000)
    packet.is_keyframe = True
    return packet
