"""Milliseconds to decode one picture, by format and size, before and after scaled decoding.

*After* is the product (``decode``: sniffing, limits, scaled decoding where the format has it, colours, views, hidden data).
*Before* is the plain way in the same run: Pillow's ``open`` and ``load`` at full size, conversion to RGB, Lanczos to the
same frame size; for JPEG XL and HEIC by the same optional libraries.

    python benchmarks/decode_ms.py --repeat 5
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import suite  # noqa: F401
from decoders import inline_decoder
from machine import print_header
from PIL import Image
from support import pictures
from support.media_files import STILLS

from lemmy_safety.errors import MediaError
from lemmy_safety.media.rendering import frame_size

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ((2400, 1800), (1200, 900), (640, 480))
FORMS = (
    "jpeg baseline", "jpeg progressive", "jpeg cmyk", "webp", "webp lossless", "png", "png palette", "avif", "gif", "bmp",
    "tiff", "jxl", "heic",
)  # fmt: skip
_NAMES = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field")
_ROW = "{:<20}{:>12}{:>9}{:>12}{:>12}{:>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="rounds over the photos; the median counts")
    parser.add_argument("--photos", type=int, default=3, choices=range(1, len(_NAMES) + 1))
    parser.add_argument("--only", default="", help="forms whose name contains this")
    options = parser.parse_args()
    print_header("Decoding, one thread", {**vars(options), "names": _NAMES[: options.photos]})
    print("\n" + _ROW.format("form", "pixels", "KB", "before ms", "after ms", "ratio"))
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
            kilobytes = f"{statistics.mean(map(len, files)) / 1000:.0f}"
            pixels = f"{size[0]}x{size[1]}"
            print(
                _ROW.format(form, pixels, kilobytes, f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}"),
                flush=True,
            )


def timed(decode: Callable[[bytes], object], files: list[bytes], repeat: int) -> float:
    """The median over all decodes in milliseconds, after one that warms up."""
    decode(files[0])
    times = []
    for _ in range(repeat):
        for data in files:
            started = time.perf_counter()
            decode(data)
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def plain_decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.convert("RGB").resize(frame_size(*image.size), Image.Resampling.LANCZOS)


def _register_optional() -> None:
    """So that Pillow opens JPEG XL and HEIC too, for the column *before*."""
    if find_spec("pillow_jxl"):
        import pillow_jxl  # noqa: F401, PLC0415
    if find_spec("pillow_heif"):
        from pillow_heif import register_heif_opener  # noqa: PLC0415

        register_heif_opener()


if __name__ == "__main__":
    main()
