"""What the pre-check for plain pictures saves, and what it could miss.

A seeded corpus of photos, thumbnails, drawings, screenshots, icons, gradients, blank pages and tracking pixels, encoded
in the formats of a pict-rs store and decoded by the product. Printed: the share of frames that no classifier looks at,
by class; those of them that were made from something to see (misses); what NudeNet, when installed, and the hashes
detector's canary rule say of plain frames; and down to which size NudeNet still sees a face.

    python evaluation/plain_pictures.py --files 400
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import suite  # noqa: F401
from decoders import inline_decoder
from machine import print_header
from PIL import Image, ImageDraw
from support.media import pictures
from support.storage import sample_store as corpus

from lemmy_safety.cli.demo.pictures import sample_pictures as drawings
from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.detectors.nudenet import NudenetDetector
from lemmy_safety.errors import MissingExtra
from lemmy_safety.fingerprints import pdq_of
from lemmy_safety.media.pixels.complexity import TINY_PIXELS, is_plain
from lemmy_safety.records import Frame, MediaInfo, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from lemmy_safety.detectors.base import Detector

#: Classes of pictures with nothing to see on them; a plain frame of any other one is a miss.
BLANK = frozenset({"blank page", "tracking pixel"})
_FACE = (150, 0, 310, 160)  # of the astronaut, in pixels of the photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="pictures of each class")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_header("Plain pictures: saving and misses", {**vars(options), "tiny": f"<= {TINY_PIXELS} px in all"})
    frames = {name: list(frames_of(name, options.files, options.seed)) for name in MAKERS}
    print_shares(frames)
    print_cost([frame for each in frames.values() for frame in each])
    print_opinions(frames)


def print_shares(frames: dict[str, list[npt.NDArray[np.uint8]]]) -> None:
    print(f"\n{'class':<16}{'frames':>8}{'plain':>8}{'saved':>9}{'missed':>8}")
    totals: Counter[str] = Counter()
    for name, found in frames.items():
        plain = sum(is_plain(frame) for frame in found)
        missed = 0 if name in BLANK else plain
        totals.update(frames=len(found), plain=plain, missed=missed)
        print(f"{name:<16}{len(found):>8}{plain:>8}{plain / len(found):>9.1%}{missed:>8}")
    saved = totals["plain"] / totals["frames"]
    print(f"{'all':<16}{totals['frames']:>8}{totals['plain']:>8}{saved:>9.1%}{totals['missed']:>8}")


def print_cost(frames: list[npt.NDArray[np.uint8]]) -> None:
    times: dict[bool, list[float]] = defaultdict(list)
    for frame in frames:
        started = time.perf_counter()
        plain = is_plain(frame)
        times[plain].append((time.perf_counter() - started) * 1e6)
    print()
    for plain, found in sorted(times.items()):
        name = "plain" if plain else "not plain"
        print(f"is_plain on {name} frames: median {statistics.median(found):.0f} us, worst {max(found):.0f} us")


def print_opinions(frames: dict[str, list[npt.NDArray[np.uint8]]]) -> None:
    plain = [frame for found in frames.values() for frame in found if is_plain(frame)]
    hashes = findings(HashesDetector(), plain)
    print(f"\nhashes on the {len(plain)} plain frames: {sum(map(bool, hashes))} with a finding")
    canary = [np.asarray(canary_image().resize(size)) for size in ((16, 16), (18, 14), (20, 12), (12, 9), (8, 8))]
    print(
        f"canary at up to {TINY_PIXELS} px: {sum(map(bool, findings(HashesDetector(), canary)))} of {len(canary)} found"
    )
    print("  (the hashes detector looks at plain frames all the same)")
    try:
        nudenet = NudenetDetector()
        nudenet.open()
    except MissingExtra as error:
        print(f"NudeNet: {error}")
        return
    with nudenet:
        said = Counter(labels for labels in findings(nudenet, plain) if labels)
        print(f"NudeNet on the {len(plain)} plain frames: {sum(said.values())} with a finding {dict(said) or ''}")
        face = pictures.photo("astronaut").crop(_FACE)
        sides = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 128)
        small = [np.asarray(face.resize((side, side), Image.Resampling.LANCZOS)) for side in sides]
        seen = [side for side, labels in zip(sides, findings(nudenet, small), strict=True) if "FACE_FEMALE" in labels]
        print(f"NudeNet sees a face that fills the picture at sides of {seen} px, of {list(sides)} tried")


def findings(detector: Detector, frames: list[npt.NDArray[np.uint8]]) -> list[tuple[str, ...]]:
    """The labels found on each frame by itself."""
    info = MediaInfo(media_type="image/png", width=1, height=1)
    samples = [
        Sample(sha256="0" * 64, info=info, frames=(Frame(pixels=frame),), pdqs=(pdq_of(frame),)) for frame in frames
    ]
    found: list[tuple[str, ...]] = []
    for start in range(0, len(samples), 32):
        batch = samples[start : start + 32]
        found += [tuple(sorted(finding.label for finding in each)) for each in detector.detect(batch)]
    return found


def frames_of(name: str, count: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Pictures of one class, through a file of a random format."""
    dice = random.Random(f"{seed}/{name}")
    decoder = inline_decoder()
    for data in MAKERS[name](dice, count):
        yield decoder.decode(data).frames[0].pixels


def _encoded(image: Image.Image, dice: random.Random) -> bytes:
    file_format = dice.choices(list(corpus.FORMAT_SHARES), list(corpus.FORMAT_SHARES.values()))[0]
    quality = {} if file_format in {"png", "gif"} else {"quality": dice.choice((60, 75, 80, 90))}
    return pictures.encode(image, file_format, **quality)


def _colour(dice: random.Random) -> tuple[int, int, int]:
    """Blank pages are white or black more often than not."""
    grey = dice.choice((255, 255, 255, 0, 0, dice.randrange(256)))
    return dice.choice(((grey,) * 3, (grey,) * 3, (dice.randrange(256), dice.randrange(256), dice.randrange(256))))


def _photos(dice: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield _encoded(corpus.sample_picture(dice, max_side=800), dice)


def _thumbnails(dice: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        picture = corpus.sample_picture(dice)
        picture.thumbnail((dice.choice((256, 160, 96, 64, 48)),) * 2)
        yield _encoded(picture, dice)


def _drawings(_dice: random.Random, count: int) -> Iterator[bytes]:
    yield from (data for _, data in drawings(count))


def _screenshots(dice: random.Random, count: int) -> Iterator[bytes]:
    """Windows of text on a plain ground, some of them nearly empty."""
    for _ in range(count):
        page = Image.new("RGB", (dice.randrange(200, 700), dice.randrange(150, 500)), _colour(dice))
        for _ in range(dice.choice((1, 3, 12))):
            text = pictures.lettering("".join(dice.choices("abcdefgh ", k=12)), dice.randrange(60, 200), 30)
            page.paste(text, (dice.randrange(page.width), dice.randrange(page.height - 10)))
        yield _encoded(page, dice)


def _icons(dice: random.Random, count: int) -> Iterator[bytes]:
    """Two or three shapes of one colour each."""
    for _ in range(count):
        side = dice.choice((16, 24, 32, 48, 64, 128))
        icon = Image.new("RGB", (side, side), _colour(dice))
        draw = ImageDraw.Draw(icon)
        draw.ellipse((side // 6, side // 6, side * 5 // 6, side * 5 // 6), fill=_colour(dice))
        draw.rectangle((side // 3, side // 2, side * 2 // 3, side * 7 // 8), fill=_colour(dice))
        yield _encoded(icon, dice)


def _gradients(dice: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield _encoded(
            pictures.gradient(dice.randrange(60, 500), dice.randrange(60, 500), seed=dice.getrandbits(32)), dice
        )


def _blank(dice: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield _encoded(Image.new("RGB", (dice.randrange(30, 800), dice.randrange(30, 800)), _colour(dice)), dice)


def _pixels(dice: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield _encoded(Image.new("RGB", dice.choice(((1, 1), (1, 1), (2, 2), (1, 40))), _colour(dice)), dice)


MAKERS: dict[str, Callable[[random.Random, int], Iterator[bytes]]] = {
    "photo": _photos,
    "thumbnail": _thumbnails,
    "drawing": _drawings,
    "screenshot": _screenshots,
    "icon": _icons,
    "gradient": _gradients,
    "blank page": _blank,
    "tracking pixel": _pixels,
}

if __name__ == "__main__":
    main()
