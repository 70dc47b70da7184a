"""A sweep over originals and other sizes of them, by LEMMY_SAFETY_SKIP_SIZES: objects read and judged, seconds.

    python benchmarks/skip_sizes.py --originals 1000 --variants 900

The rows are in the tables of a real pict-rs on a real PostgreSQL, the files in a local folder. Of the variants, every
second one is a full-size WebP (what Lemmy's ?format=webp makes), the others are thumbnails of 256 pixels. Each setting
sweeps into a database of its own, with the detector hashes: models would take longer for each object that is judged.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import threading
import time
from pathlib import Path

import suite  # noqa: F401
from machine import print_header
from PIL import Image
from support.scan.passes import put
from support.servers.pictrs_repos import pictrs_with
from support.servers.pictrs_rows import insert_pictures, stored_hash

from lemmy_safety.ledger import SWEEP
from lemmy_safety.scan import PassRequest
from lemmy_safety.settings import Settings
from lemmy_safety.wiring import open_scanner

_SIZE = (640, 480)
_THUMBNAIL = 256
#: pict-rs's byte for the format jpeg.
_JPEG = 5


def encoded(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form, quality=80, method=0)
    return out.getvalue()


def fill(folder: Path, url: str, originals: int, variants: int, seed: int) -> None:
    """Keys in the order in which pict-rs would make them: sizes follow their picture sooner or later."""
    draw = random.Random(seed)
    hashes: dict[str, str] = {}
    rows: list[tuple[str, str, str]] = []
    for number in range(originals):
        small = Image.frombytes("RGB", (40, 30), draw.randbytes(40 * 30 * 3))
        image = small.resize(_SIZE, Image.Resampling.BICUBIC)
        key, data = f"{number:06}-original.jpeg", encoded(image, "JPEG")
        hashes[key] = stored_hash(data, _JPEG)
        put(folder, key, data)
        if number >= variants:
            continue
        operation = "webp" if number % 2 else f"thumbnail/{_THUMBNAIL}/webp"
        if number % 2 == 0:
            image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        later = f"{number + draw.choice((0, 1, 50)):06}-variant-of-{number}.webp"
        put(folder, later, encoded(image, "WEBP"))
        rows.append((hashes[key], operation, later))
    insert_pictures(url, hashes, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=int, default=1000)
    parser.add_argument("--variants", type=int, default=900, help="at most one for each original")
    parser.add_argument("--seed", type=int, default=20_261_130)
    options = parser.parse_args()
    print_header("sizes that follow their original", vars(options))
    with tempfile.TemporaryDirectory() as named:
        work = Path(named)
        with pictrs_with("0.5-postgres", work / "pictrs") as (_, url):
            assert url is not None
            fill(work / "files", url, options.originals, options.variants, options.seed)
            print(
                f"{'skip sizes':10}  {'sweep':6}  {'seen':>6}  {'read':>6}  {'judged':>6}  {'follow':>6}  {'seconds':>7}"
            )
            for choice in ("off", "exact", "all"):
                settings = Settings(
                    files_directory=str(work / "files"),
                    sqlite_filename=work / f"{choice}.db",
                    detectors=("hashes",),
                    pictrs_database_url=url,
                    skip_sizes=choice,
                    all=True,
                )
                with open_scanner(settings, stop=threading.Event()) as scanner:
                    for sweep in ("first", "second"):
                        began = time.monotonic()
                        found = scanner.run(PassRequest(kind=SWEEP))
                        seconds = time.monotonic() - began
                        print(
                            f"{choice:10}  {sweep:6}  {found.seen:6}  {found.done:6}  {found.checked:6}  "
                            f"{found.variants:6}  {seconds:7.1f}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
