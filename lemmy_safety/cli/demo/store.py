"""The demo's pict-rs folder: sample pictures and the canary under keys of both of pict-rs's schemes.

The only place in lemmy-safety that writes pictures to a disk, because here it simulates the admin's server. The
pictures are drawn by us (``demo/pictures.py``), and the folder is deleted after the demo unless the user asked to keep it.
"""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lemmy_safety.cli.demo.pictures import SEED, encoded, sample_pictures, thumbnail
from lemmy_safety.detectors.hashes.canary import canary_image, canary_png
from lemmy_safety.pictrs.keys import make_key

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = 44

#: Every n-th picture has a key from before pict-rs 0.5.7; old instances have both schemes side by side.
_LEGACY_EVERY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStore:
    """Which files were stored. ``canaries`` must be flagged, ``damaged`` must be unreadable, and no others."""

    folder: Path
    pictures: frozenset[str]
    canaries: frozenset[str]
    damaged: str

    @property
    def keys(self) -> frozenset[str]:
        return self.pictures | self.canaries | {self.damaged}


def build_store(folder: Path) -> SampleStore:
    """Fill ``folder`` with what a small instance might hold after two months."""
    writer = _Writer(folder)
    pictures = set()
    for number, (extension, data) in enumerate(sample_pictures(PICTURES)):
        legacy = number % _LEGACY_EVERY == 0
        pictures.add(writer.put_legacy(data) if legacy else writer.put(data, extension))
    canary = canary_image()
    canaries = {
        writer.put(canary_png(), ".png"),
        writer.put(encoded(thumbnail(canary, 256), "WEBP", quality=50), ".webp"),
        writer.put_legacy(encoded(canary, "JPEG", quality=60)),
    }
    damaged = writer.put(b"An upload that broke off, or was never a picture.\n", ".jpeg")
    return SampleStore(folder=folder, pictures=frozenset(pictures), canaries=frozenset(canaries), damaged=damaged)


def present_keys(folder: Path) -> frozenset[str]:
    """The keys of all files in the folder."""
    return frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class _Writer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dice = random.Random(SEED)  # noqa: S311 - repeatable keys, no secret
        self._written = 0
        self._start = datetime.now(UTC) - timedelta(days=60)

    def put(self, data: bytes, extension: str) -> str:
        """Store under a key of pict-rs 0.5.7 and later, which contains its time."""
        moment = self._start + timedelta(hours=23 * self._written)
        return self._write(make_key(moment, self._dice.getrandbits(74), extension), data, moment)

    def put_legacy(self, data: bytes) -> str:
        """Store under an older key: counting folders, a random UUID, no extension."""
        name = uuid.UUID(int=self._dice.getrandbits(128), version=4)
        moment = self._start - timedelta(days=300) + timedelta(hours=5 * self._written)
        return self._write(f"2/0/{self._written}/{name}", data, moment)

    def _write(self, key: str, data: bytes, moment: datetime) -> str:
        path = self._folder.joinpath(*key.split("/"))
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        # As old as its key says: a sweep would leave a fresh file for later, because it might be half-written.
        os.utime(path, (moment.timestamp(), moment.timestamp()))
        self._written += 1
        return key
