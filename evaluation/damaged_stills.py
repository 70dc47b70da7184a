"""Which way each damaged still is judged, and how many are not: seeded damage to every format of stills.

    python evaluation/damaged_stills.py --files 200
    python evaluation/damaged_stills.py --files 30 --only webp

The columns are the tries in their order, each with the files that it was the first to show: the healthy way (the damage
did no harm), Pillow's tolerant mode, files rewritten so that Pillow reads them, the part before the break (WebP, AVIF), the
second decoder (FFmpeg). What is left is unreadable. What a browser shows of such files is for shown_by_browsers.py.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING

import suite  # noqa: F401
from machine import print_header
from support.media import damage, pictures

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, decode, sniff
from lemmy_safety.media.stills import salvage
from lemmy_safety.records import AnomalyKind

if TYPE_CHECKING:
    from PIL import Image

LIMITS = MediaLimits(max_bytes=50_000_000, max_pixels=50_000_000)
WAYS = ("unharmed", *salvage.Way, "unreadable")
_BROKEN = {AnomalyKind.TRUNCATED, AnomalyKind.DAMAGED}
FORMS = {
    "jpeg": ("jpeg", {}),
    "jpeg progressive": ("jpeg", {"progressive": True}),
    "png": ("png", {}),
    "png interlaced": ("", {}),
    "gif": ("gif", {"interlace": 0}),
    "gif interlaced": ("gif", {"interlace": 1}),
    "webp": ("webp", {}),
    "webp lossless": ("webp", {"lossless": True}),
    "avif": ("avif", {}),
    "bmp": ("bmp", {}),
    "tiff": ("tiff", {"compression": "tiff_lzw"}),
}
_NAMES = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field", "page", "brick")
_ROW = "{:<18}" + "{:>12}" * len(WAYS) + "{:>14}{:>12}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="damaged files of each format")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", default="", help="formats whose name contains this")
    options = parser.parse_args()
    print_header("Damaged stills", vars(options))
    print("\n" + _ROW.format("format", *(way[:11] for way in WAYS), "judged in all", "median ms"))
    total: Counter[str] = Counter()
    for form in FORMS:
        if options.only not in form:
            continue
        healthy = [encoded(form, pictures.photo(name).resize((200, 150))) for name in _NAMES]
        rng = random.Random(options.seed)
        found: Counter[str] = Counter()
        taken = []
        for _ in range(options.files):
            data = damage.damaged(rng.choice(healthy), rng)
            start = time.perf_counter()
            found[way_of(data)] += 1
            taken.append(1000 * (time.perf_counter() - start))
        total += found
        print_row(form, found, f"{statistics.median(taken):.1f}")
    print_row("all", total, "")


def encoded(form: str, image: Image.Image) -> bytes:
    file_format, settings = FORMS[form]
    return pictures.encode(image, file_format, **settings) if file_format else damage.interlaced_png(image)


def way_of(data: bytes) -> str:
    """The try that shows something; 'unreadable' as well where the product refuses the file for another reason."""
    try:
        media = decode(data, LIMITS)
    except MediaError:
        return "unreadable"
    kind = sniff.sniff(data)
    if sniff.is_animated(data, kind) or not {one.kind for one in media.info.anomalies} & _BROKEN:
        return "unharmed"
    rescued = salvage.rescue(data, kind, LIMITS)
    return rescued[0] if rescued else "unharmed"


def print_row(form: str, found: Counter[str], taken: str) -> None:
    judged = found.total() - found["unreadable"]
    print(_ROW.format(form, *(found[way] for way in WAYS), f"{judged} of {found.total()}", taken), flush=True)


if __name__ == "__main__":
    main()
