"""Peak memory of the decoding worker and of its parent for the largest media there are, under the default limits.

Each medium is made here and decoded in a fresh process with a fresh pool of one worker, so that neither the making nor
another medium counts. Nothing is written to disk.

    python benchmarks/media_memory.py
    python benchmarks/media_memory.py --more --only animation --frames 90
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import suite  # noqa: F401
from decoders import process_decoder
from machine import print_header
from peak_memory import PeakMemory, mebibytes
from PIL import Image, ImageDraw
from support.media import pictures
from support.media.files import VIDEOS, encode_video

from lemmy_safety.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Callable

_HD = (1920, 1080)
_4K = (3840, 2160)
_FRAME_MS = 33
_ROW = "{:<34}{:>10}{:>13}{:>8}{:>9}{:>9}{:>12}{:>12}  {}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=900, help="of the animations and the video")
    parser.add_argument("--only", default="", help="media whose name contains this")
    parser.add_argument("--more", action="store_true", help="also formats whose making takes many minutes")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(sys.stdin.buffer.read())))
        return
    print_header(
        "Memory of decoding, default limits", {"frames": options.frames, "only": options.only, "more": options.more}
    )
    print("\n" + _ROW.format("medium", "MiB", "pixels", "frames", "looked", "ms", "worker", "parent", "result"))
    for name, make in (MEDIA | MORE if options.more else MEDIA).items():
        if options.only not in name:
            continue
        data = make(options.frames)
        child = subprocess.run([sys.executable, __file__, "--measure"], input=data, stdout=subprocess.PIPE, check=True)
        row = json.loads(child.stdout)
        size, worker, parent = f"{len(data) / 2**20:.1f}", mebibytes(row["worker"]), mebibytes(row["parent"])
        ms = f"{row['ms']:.0f}"
        print(
            _ROW.format(name, size, row["pixels"], row["frames"], row["looked"], ms, worker, parent, row["result"]),
            flush=True,
        )


def measured(data: bytes) -> dict[str, object]:
    """Decode once, in a pool that has decoded one tiny picture before."""
    row: dict[str, object] = {"pixels": "-", "frames": "-", "looked": "-"}
    with PeakMemory() as memory, process_decoder(workers=1) as decoder:
        decoder.decode(pictures.encode(pictures.gradient(64, 64), "png"))
        started = time.perf_counter()
        try:
            media = decoder.decode(data)
        except MediaError as error:
            row["result"] = f"{error.status}: {error.reason}"
        else:
            anomalies = ", ".join(one.kind for one in media.info.anomalies)
            row |= {
                "result": anomalies or "whole",
                "pixels": f"{media.info.width}x{media.info.height}",
                "frames": media.info.frame_count,
                "looked": len(media.frames),
            }
        row["ms"] = (time.perf_counter() - started) * 1000
        memory.look()
    return row | {"worker": memory.worker, "parent": memory.parent}


def _large_photo(width: int, height: int) -> Image.Image:
    """Many photos side by side: large, and as detailed as photos are."""
    page = Image.new("RGB", (width, height))
    names = ("astronaut", "coffee", "rocket", "hubble_deep_field", "chelsea")
    for number, top in enumerate(range(0, height, 500)):
        for across, left in enumerate(range(0, width, 600)):
            page.paste(pictures.photo(names[(number + across) % len(names)]).resize((600, 500)), (left, top))
    return page


def _jpeg_of_40_megapixels(_frames: int) -> bytes:
    return pictures.encode(_large_photo(7304, 5478), "jpeg", quality=85)


def _progressive_of_40_megapixels(_frames: int) -> bytes:
    """Holds all coefficients in memory, unlike a baseline JPEG."""
    return pictures.encode(_large_photo(7304, 5478), "jpeg", quality=85, progressive=True)


def _png_of_100_megapixels(_frames: int) -> bytes:
    """Drawn, not photographed: a photo of that size would be over the limit of bytes."""
    page = Image.new("RGB", (10_000, 10_000), (240, 240, 235))
    draw = ImageDraw.Draw(page)
    for step in range(0, 10_000, 40):
        draw.line((0, step, 10_000, 10_000 - step), fill=(step % 256, step // 7 % 256, 90), width=9)
    return pictures.encode(page, "png")


def _windows(size: tuple[int, int], count: int) -> list[Image.Image]:
    """``count`` crops of that size, moving over a larger picture and starting again after 60."""
    width, height = size
    page = _large_photo(width + 600, height + 300)
    few = [page.crop((10 * n, 5 * n, 10 * n + width, 5 * n + height)) for n in range(min(60, count))]
    return [few[n % len(few)] for n in range(count)]


def _webp_animation(count: int) -> bytes:
    """Lossy at a low quality: what keeps 900 full frames within the limit of bytes."""
    frames = _windows(_HD, count)
    out = io.BytesIO()
    frames[0].save(
        out,
        "webp",
        save_all=True,
        append_images=frames[1:],
        duration=_FRAME_MS,
        quality=5,
        method=0,
        minimize_size=False,
    )
    return out.getvalue()


def _ball(count: int, mode: str) -> list[Image.Image]:
    """A ball on a still page: each frame changes a small part, as in most GIFs."""
    page = Image.new("P", _HD, 0)
    page.putpalette([240, 240, 235, 200, 30, 40] + [0] * 750)
    frames = []
    for number in range(count):
        frame = page.copy()
        x, y = 100 + 37 * number % 1700, 100 + 23 * number % 850
        ImageDraw.Draw(frame).ellipse((x, y, x + 90, y + 90), fill=1)
        frames.append(frame if mode == "P" else frame.convert(mode))
    return frames


def _gif_animation(count: int) -> bytes:
    return _saved(_ball(count, "P"), "gif")


def _png_animation(count: int) -> bytes:
    return _saved(_ball(count, "P"), "png")


def _avif_animation(count: int) -> bytes:
    return _saved([frame.convert("RGB") for frame in _windows(_HD, count)], "avif", speed=10, quality=30)


def _saved(frames: list[Image.Image], file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    frames[0].save(out, file_format, save_all=True, append_images=frames[1:], duration=_FRAME_MS, **options)
    return out.getvalue()


def _video(form: str, count: int, **options: str) -> bytes:
    """At a quality that keeps 900 frames within the limit of bytes."""
    frames = _windows(_4K, count)
    coded = replace(VIDEOS[form], codec_options=VIDEOS[form].codec_options | {"crf": "36"} | options)
    return encode_video(frames, [_FRAME_MS] * count, coded)


def _raw_rows(_frames: int) -> bytes:
    """10,000 x 10,000 of noise-free grey in a 16-bit PNG: the largest canvas the limit allows, 200 MB unpacked."""
    samples = (np.arange(10_000, dtype=np.uint16) * 6).reshape(1, -1).repeat(10_000, axis=0)
    return pictures.encode(Image.fromarray(samples), "png")


MEDIA: dict[str, Callable[[int], bytes]] = {
    "JPEG 40 MP": _jpeg_of_40_megapixels,
    "JPEG 40 MP progressive": _progressive_of_40_megapixels,
    "PNG 10,000 x 10,000": _png_of_100_megapixels,
    "PNG 10,000 x 10,000 16-bit grey": _raw_rows,
    "animation WebP 1080p": _webp_animation,
    "animation GIF 1080p": _gif_animation,
    "animation APNG 1080p": _png_animation,
    "video mp4 h264 4K": lambda count: _video("mp4 h264", count, g="250"),
    "video mp4 h264 4K, one key frame": lambda count: _video("mp4 h264", count),
}
#: Besides those.
MORE: dict[str, Callable[[int], bytes]] = {
    "animation AVIF 1080p": _avif_animation,
    "video mp4 h265 4K, one key frame": lambda count: _video("mp4 h265", count),
    "video mp4 av1 4K, one key frame": lambda count: _video("mp4 av1", count, crf="50"),
}

if __name__ == "__main__":
    main()
