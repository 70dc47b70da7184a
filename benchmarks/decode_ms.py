"""Milliseconds to decode one picture, by format and size, before and after scaled decoding.

*After* is the product (``decode``: sniffing, limits, scaled decoding where the format has it, colours, views, hidden data,
PDQ). *Before* is the plain way in the same run: Pillow's ``open`` and ``load`` at full size, conversion to RGB, Lanczos to
the same frame size, PDQ; for JPEG XL and HEIC by the same optional libraries.

    python benchmarks/decode_ms.py --repeat 5
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import suite  # noqa: F401
from decoders import inline_decoder
from machine import print_header
from PIL import Image
from support.media import pictures
from support.media.files import STILLS

from lemmy_safety.errors import MediaError
from lemmy_safety.fingerprints import pdq_of
from lemmy_safety.media.pixels.rendering import frame_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.records import Pdq

SIZES = ((2400, 1800), (1200, 900), (640, 480))
FORMS = (
    "jpeg baseline", "jpeg progressive", "jpeg cmyk", "webp", "webp lossless", "png", "png palette", "avif", "gif", "bmp",
    "tiff", "jxl", "heic",
)  # fmt: skip
_NAMES = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field")
_ROW = "{:<20}{:>12}{:>9}{:>12}{:>12}{:>12}{:>12}{:>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="rounds over the photos; the median counts")
    parser.add_argument("--photos", type=int, default=3, choices=range(1, len(_NAMES) + 1))
    parser.add_argument("--only", default="", help="forms whose name contains this")
    options = parser.parse_args()
    print_header("Decoding, one thread", {**vars(options), "names": _NAMES[: options.photos]})
    print("\n" + _ROW.format("form", "pixels", "KB", "before ms", "after ms", "before cpu", "after cpu", "cpu x"))
    _register_optional()
    decoder = inline_decoder()
    for form in FORMS:
        if form not in STILLS or options.only not in form:
            continue
        for size in SIZES:
            files = [STILLS[form](pictures.photo(name).resize(size)) for name in _NAMES[: options.photos]]
            before = timed(plain_decode, files, options.repeat)
            try:
                after = timed(decoder.decode, files, options.repeat)
            except MediaError as error:
                print(f"{form:<20} {error}")
                break
            size_kb = f"{statistics.mean(map(len, files)) / 1000:.0f}"
            numbers = [f"{number:.1f}" for number in (before.wall_ms, after.wall_ms, before.cpu_ms, after.cpu_ms)]
            ratio = f"{after.cpu_ms / before.cpu_ms:.2f}"
            print(_ROW.format(form, f"{size[0]}x{size[1]}", size_kb, *numbers, ratio), flush=True)


class Cost(NamedTuple):
    """Medians over all decodes. Processor time counts the threads of codecs too, and not what else the machine does."""

    wall_ms: float
    cpu_ms: float


def timed(decode: Callable[[bytes], object], files: list[bytes], repeat: int) -> Cost:
    """After one decode that warms up."""
    decode(files[0])
    walls, cpus = [], []
    for _ in range(repeat):
        for data in files:
            wall, cpu = time.perf_counter(), time.process_time()
            decode(data)
            walls.append((time.perf_counter() - wall) * 1000)
            cpus.append((time.process_time() - cpu) * 1000)
    return Cost(statistics.median(walls), statistics.median(cpus))


def plain_decode(data: bytes) -> Pdq:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        frame = image.convert("RGB").resize(frame_size(*image.size), Image.Resampling.LANCZOS)
    return pdq_of(np.asarray(frame))


def _register_optional() -> None:
    """So that Pillow opens JPEG XL and HEIC too, for the column *before*."""
    if find_spec("pillow_jxl"):
        from pillow_jxl import JpegXLImagePlugin  # noqa: PLC0415

        # The product took it out again, so that nothing else of a process reads JPEG XL because of it.
        opener = JpegXLImagePlugin.JXLImageFile
        Image.register_open("JXL", opener, lambda head: head.startswith(b"\xff\x0a") or head[4:8] == b"JXL ")
    if find_spec("pillow_heif"):
        from pillow_heif import register_heif_opener  # noqa: PLC0415

        register_heif_opener()


if __name__ == "__main__":
    main()
