"""What passes in tests meet: harmless pictures, canaries, a store with both, a detector that fails to order."""

from __future__ import annotations

import functools
import io

from PIL import Image
from support.scan.passes import put

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.hashes.canary import canary_image, canary_png
from lemmy_safety.errors import DetectorError
from lemmy_safety.records import Finding
from lemmy_safety.scan import PassRequest

SWEEP = PassRequest(kind="sweep")

CANARIES = {"01/a1/96/fb/16/00/7a/bc/9d/ef/canary000001.png", "2/13/99/canary"}


def picture(number: int) -> bytes:
    """A small harmless PNG; each number gives other bytes."""
    image = Image.linear_gradient("L").resize((64 + number, 48)).convert("RGB")
    image.putpixel((0, 0), (number % 256, number // 256, 7))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def canary_thumbnail() -> bytes:
    """The canary as pict-rs would cache it: 256 px, WebP."""
    image = canary_image().convert("RGB")
    image.thumbnail((256, 256))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=50)
    return out.getvalue()


def fill_store(root):
    """Ten harmless pictures, two canaries (one re-encoded), in both of pict-rs's key layouts."""
    for key, data in _objects().items():
        put(root, key, data)


@functools.cache
def _objects() -> dict[str, bytes]:
    """By key; drawn once, for hundreds of tests."""
    folder = "01/a1/96/fb/16/00/7a/bc/9d/ef"
    new = {f"{folder}/0123456789a{number}.png": picture(number) for number in range(5)}
    old = {f"2/13/5{number}/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c0{number}": picture(10 + number) for number in range(5)}
    return new | old | {f"{folder}/canary000001.png": canary_png(), "2/13/99/canary": canary_thumbnail()}


class Recognizer(Detector):
    """A detector for faults: says nothing of anything, except what a test has planted by sha256.

    Stands in for detectors whose failures cannot be provoked with harmless pictures.
    """

    name = "clip"
    batch_size = 4

    def __init__(self, *, fails_on=(), breaks_whole_batches=False, error=None):
        self.fails_on = set(fails_on)
        self.breaks_whole_batches = breaks_whole_batches
        self.error = error or DetectorError("planted")
        self.looked_at = []

    @property
    def version(self):
        return "recognizer-1"

    def open(self): ...

    def detect(self, batch):
        if self.breaks_whole_batches and len(batch) > 1:
            raise self.error
        for sample in batch:
            if sample.info.width in self.fails_on:
                raise self.error
        self.looked_at.extend(sample.sha256 for sample in batch)
        return [
            [Finding(detector=self.name, version=self.version, label="nsfw", score=0.0, threshold=1.0)] for _ in batch
        ]

    def close(self): ...
