"""Pictures uploaded to a real pict-rs, some of them the canary re-encoded, with thumbnails, further aliases and a remote one.

What is known of each is kept: its aliases, the bytes that each of its URLs answered, and the key of each of its files.
"""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from PIL import ImageOps
from support.media.pictures import STILL_FORMATS, encode
from support.servers.pictrs_process import Pictrs, alias
from support.storage.sample_store import sample_picture

from lemmy_safety.detectors.hashes.canary import canary_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import httpx
    from support.removal.instance import Instance

#: Sides of thumbnails: the canary is recognised in the larger one, and not in the smaller one.
LARGE, SMALL = "256", "16"

#: Formats that pict-rs takes with ImageMagick 6.
_FORMATS = ("jpeg", "png", "webp", "gif")

#: How often each of the first canaries is uploaded.
COPIES = (2, 3, 4)

_TRIES = 3
_AT_ONCE = 3


@dataclass
class Picture:
    """One picture, uploaded ``copies`` times, or a ``remote`` one that pict-rs fetches from ``url``."""

    data: bytes
    media_type: str
    canary: bool
    copies: int = 1
    remote: bool = False
    url: str | None = None
    aliases: list[str] = field(default_factory=list)
    #: SHA-256 of what each path answered.
    shown: dict[str, str] = field(default_factory=dict)
    #: The key of each file: "original", or the side of a thumbnail.
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the original, as pict-rs stored it."""
        return self.shown[original_path(self.aliases[0])]


def original_path(name: str) -> str:
    return f"/image/original/{name}"


def thumbnail_path(name: str, side: str) -> str:
    return f"/image/process.webp?{urlencode({'src': name, 'thumbnail': side})}"


def canary(number: int) -> tuple[bytes, str]:
    """The canary in another size, format and quality for each number, now and then grey or mirrored."""
    image = canary_image()
    side = 1000 - 37 * (number % 16)
    image.thumbnail((side, side))
    if number % 5 == 3:
        image = ImageOps.grayscale(image).convert("RGB")
    if number % 7 == 5:
        image = ImageOps.mirror(image)
    kind = _FORMATS[number % len(_FORMATS)]
    options = {"quality": 40 + 5 * (number % 11)} if kind in {"jpeg", "webp"} else {}
    return encode(image, kind, **options), STILL_FORMATS[kind]


def drawn(uploads: int, canaries: int, *, seed: int = 16) -> list[Picture]:
    """Pictures that are ``uploads`` uploads together.

    The first canaries have several, the last one is remote; of the others, one has two and one is remote.
    """
    rng = random.Random(seed)
    bad = [Picture(*canary(number), canary=True) for number in range(canaries)]
    for picture, copies in zip(bad[:-1], COPIES, strict=False):
        picture.copies = copies
    good = []
    while sum(picture.copies for picture in (*bad, *good)) < uploads:
        kind = rng.choice(_FORMATS)
        data = encode(sample_picture(rng, max_side=300), kind)
        good.append(Picture(data, STILL_FORMATS[kind], canary=False, copies=1 if good else 2))
    bad[-1].remote = good[-1].remote = True
    together = [*bad, *good]
    rng.shuffle(together)
    return together


def again(pictures: Iterable[Picture]) -> list[Picture]:
    """The same bytes, to be uploaded once each."""
    return [Picture(picture.data, picture.media_type, picture.canary) for picture in pictures]


def upload_all(instance: Instance, pictures: Sequence[Picture], *, sides: Sequence[str] = (LARGE, SMALL)) -> None:
    """Give them to pict-rs, have thumbnails of these sides made, and note what is known of each."""
    before = instance.stored()
    for picture in pictures:
        if picture.remote:
            name = f"{hashlib.sha256(picture.data).hexdigest()[:16]}.{picture.media_type.removeprefix('image/')}"
            picture.url = instance.origin.offer(name, picture.data, picture.media_type)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda picture: _upload(instance.pictrs, picture, sides), pictures))
    by_bytes: dict[str, list[str]] = {}
    new = instance.stored() - before
    for key in new:
        by_bytes.setdefault(hashlib.sha256(instance.read(key)).hexdigest(), []).append(key)
    for picture in pictures:
        name = picture.aliases[0]
        picture.keys = {"original": instance.pictrs.internal("GET", "identifier", alias=name).json()["identifier"]}
        for side in sides:
            picture.keys[side] = by_bytes[picture.shown[thumbnail_path(name, side)]].pop()
    known = {key for picture in pictures for key in picture.keys.values()}
    assert known == new, f"{len(new - known)} files of no picture, {len(known - new)} not in the storage"
    instance.let_an_hour_pass()


def _upload(pictrs: Pictrs, picture: Picture, sides: Sequence[str]) -> None:
    if picture.url is not None:
        _shown(pictrs, f"/image/original?{urlencode({'proxy': picture.url})}")
        picture.aliases = pictrs.internal("GET", "aliases", proxy=picture.url).json()["aliases"]
    else:
        picture.aliases = [alias(_uploaded(pictrs, picture)) for _ in range(picture.copies)]
    for name in picture.aliases:
        paths = (original_path(name), *(thumbnail_path(name, side) for side in sides))
        picture.shown |= {path: _shown(pictrs, path) for path in paths}


def _uploaded(pictrs: Pictrs, picture: Picture) -> httpx.Response:
    """Several at once now and then fail in pict-rs 0.5.25: "No such file or directory"."""
    for _ in range(_TRIES):
        answer = pictrs.upload(picture.data, picture.media_type)
        if answer.status_code < 500:
            break
    return answer


def _shown(pictrs: Pictrs, path: str) -> str:
    """The SHA-256 of what pict-rs answers; on a busy machine it now and then fails to make a thumbnail."""
    for _ in range(_TRIES):
        answer = pictrs.get(path)
        if answer.status_code == 200:
            return hashlib.sha256(answer.content).hexdigest()
    raise AssertionError(f"{path} answers {answer.status_code}: {answer.text}")
