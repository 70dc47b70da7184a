"""A corpus of every format with the canary hidden in every place a stranger could hide a picture, and clean twins.

Made from a seed, in memory, one file at a time. Each place is filled twice: with the canary, which must be found, and
with a photo, on which nothing may be flagged. The canary keeps its shape where the rule that finds it (PDQ, at most 31
bits apart) needs that: at the end of a strip it is squeezed into exactly the end's square.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial

from PIL import Image
from support.media import hiding_places, pictures
from support.media.files import ANIMATIONS, STILLS, VIDEOS, MotionEncoder, StillEncoder

from lemmy_safety.detectors.hashes.canary import canary_image

#: Makes the picture that is hidden, in a size: the canary or a photo.
Subject = Callable[[tuple[int, int]], Image.Image]


class Expected(StrEnum):
    """What the whole tool must make of a file."""

    FOUND = "found"
    """Flagged: the canary can be seen in it."""
    CLEAR = "clear"
    """Not flagged, whatever else is said of it."""
    UNSEEN = "unseen"
    """The canary is in it, but no viewer shows it; not flagged for that, and reported in the table only."""


@dataclass(frozen=True)
class Scale:
    """How large and long the files are. Sides in pixels, ``motion`` as width and height."""

    still: tuple[int, int]
    end: int
    motion: tuple[int, int]
    seconds: float
    frames_per_s: int
    many_frames: int
    orientations: Sequence[int]
    """Those tried in formats other than JPEG, which gets all eight."""


#: For the suite: seconds to make and to judge.
SMALL = Scale(still=(192, 144), end=96, motion=(128, 96), seconds=6, frames_per_s=8, many_frames=120, orientations=(6,))
#: For the table in the documentation: what people upload.
FULL = Scale(
    still=(1600, 1200),
    end=512,
    motion=(640, 480),
    seconds=12,
    frames_per_s=12,
    many_frames=900,
    orientations=tuple(range(1, 9)),
)

#: How long the canary is shown in a moving picture: what the product promises to find.
SCENE_MS = 500
# One scene of the other pictures, in seconds.
_SCENE_S = 1.5
# Neighbouring pictures of a scene are this far apart, as a part of the width: a slow pan.
_PAN = 1 / 100


@dataclass(frozen=True)
class MediaFile:
    """One file of the corpus. ``place`` says where the canary is (or, in a clean twin, could be)."""

    form: str
    place: str
    data: bytes
    expected: Expected

    @property
    def name(self) -> str:
        return f"{self.form}, {self.place}"


def corpus(scale: Scale, seed: int = 1, *, only: str = "") -> Iterator[MediaFile]:
    """Every file whose name has ``only`` in it, each with the canary followed by its clean twin.

    The same for the same arguments and libraries.
    """
    for makers in (_stills, _motion, _ends, _turned, _transparent, _behind, _cut):
        for form, place, build, expected in makers(scale, seed):
            if only not in f"{form}, {place}":
                continue
            yield MediaFile(form, place, build(_canary), expected)
            # A photo of its own for each file, whatever is left out of the corpus elsewhere.
            chosen = partial(_photo, random.Random(f"{seed}/{form}/{place}"))
            yield MediaFile(form, f"clean: {place}", build(chosen), Expected.CLEAR)


_Plan = tuple[str, str, Callable[[Subject], bytes], Expected]


def _canary(size: tuple[int, int]) -> Image.Image:
    return canary_image().resize(size, Image.Resampling.BOX)


def _photo(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    return pictures.photo(dice.choice(sorted(pictures.PHOTOS))).resize(size)


def _moving_forms() -> Iterator[tuple[str, MotionEncoder]]:
    yield from ANIMATIONS.items()
    yield from VIDEOS.items()


# --- the picture itself ------------------------------------------------------------------------------------------


def _stills(scale: Scale, _seed: int) -> Iterator[_Plan]:
    for form, encoder in STILLS.items():
        yield form, "the picture itself", partial(_whole, encoder, scale.still), Expected.FOUND


def _whole(encoder: StillEncoder, size: tuple[int, int], subject: Subject) -> bytes:
    return encoder(subject(size))


# --- (a) one scene or one frame of many ---------------------------------------------------------------------------


def _motion(scale: Scale, seed: int) -> Iterator[_Plan]:
    for form, encoder in _moving_forms():
        scene = partial(_scene_in, encoder, scale, seed)
        yield form, f"a scene of {SCENE_MS} ms in the middle", scene, Expected.FOUND
        single = partial(_frame_in, encoder, scale, seed)
        yield form, f"one of {scale.many_frames} frames, shown {SCENE_MS} ms", single, Expected.FOUND


def _scene_in(encoder: MotionEncoder, scale: Scale, seed: int, subject: Subject) -> bytes:
    return encoder(*scene_in_the_middle(scale, subject, seed))


def _frame_in(encoder: MotionEncoder, scale: Scale, seed: int, subject: Subject) -> bytes:
    return encoder(*one_of_many(scale, subject, seed))


def scene_in_the_middle(scale: Scale, subject: Subject, seed: int) -> tuple[list[Image.Image], list[int]]:
    """Photos that flow by, with the subject for SCENE_MS at half the time."""
    count, duration = round(scale.seconds * scale.frames_per_s), 1000 // scale.frames_per_s
    frames = list(flow(count, scale.motion, scale.frames_per_s, seed))
    hidden = -(-SCENE_MS // duration)
    start = (count - hidden) // 2
    frames[start : start + hidden] = [subject(scale.motion)] * hidden
    return frames, [duration] * count


def one_of_many(scale: Scale, subject: Subject, seed: int) -> tuple[list[Image.Image], list[int]]:
    """Many short pictures, and a single longer one of the subject at a random place."""
    size = (128, 96)
    frames = list(flow(scale.many_frames, size, scale.frames_per_s, seed))
    durations = [50] * scale.many_frames
    at = random.Random(seed).randrange(scale.many_frames // 4, scale.many_frames * 3 // 4)
    frames[at], durations[at] = subject(size), SCENE_MS
    return frames, durations


@lru_cache(maxsize=3)
def flow(count: int, size: tuple[int, int], frames_per_s: int, seed: int) -> tuple[Image.Image, ...]:
    """Slow pans over random photos, a new one every second and a half."""
    dice = random.Random(seed)
    width, height = size
    wide, high = round(width * 1.5), round(height * 1.2)
    photo, top, leftwards = pictures.photo(), 0, False
    frames = []
    for number in range(count):
        at = number % round(_SCENE_S * frames_per_s)
        if at == 0:
            photo = pictures.photo(dice.choice(sorted(pictures.PHOTOS))).resize((wide, high))
            top, leftwards = dice.randrange(high - height), dice.random() < 0.5
        left = min(round(at * width * _PAN), wide - width)
        left = wide - width - left if leftwards else left
        frames.append(photo.crop((left, top, left + width, top + height)))
    return tuple(frames)


# --- (b) where a centre crop never looks ---------------------------------------------------------------------------

_END_FORMS = (
    "jpeg baseline", "jpeg progressive", "png", "png palette", "gif", "webp", "avif", "bmp", "tiff", "jxl", "heic",
)  # fmt: skip


def _ends(scale: Scale, seed: int) -> Iterator[_Plan]:
    for form in _END_FORMS:
        for place, across, down in (("far end of a 5:1 panorama", 5, 1), ("far end of a 1:6 strip", 1, 6)):
            if form in STILLS:
                build = partial(_at_far_end, STILLS[form], scale.end, (across, down), f"{seed}/{form}")
                yield form, place, build, Expected.FOUND
    for form, encoder in _moving_forms():
        if form in {"gif animated", "webp animated", "mp4 h264", "webm vp9"}:
            build = partial(_at_far_end_later, encoder, scale.motion[1], seed)
            yield form, "far end of a 5:1 panorama", build, Expected.FOUND


def _at_far_end(encoder: StillEncoder, side: int, squares: tuple[int, int], seed: str, subject: Subject) -> bytes:
    across, down = squares
    page = _photo(random.Random(seed), (side * across, side * down))
    page.paste(subject((side, side)), (page.width - side, page.height - side))
    return encoder(page)


def _at_far_end_later(encoder: MotionEncoder, side: int, seed: int, subject: Subject) -> bytes:
    frames = [frame.copy() for frame in flow(8, (5 * side, side), 8, seed)]
    for frame in frames[3:]:
        frame.paste(subject((side, side)), (4 * side, 0))
    return encoder(frames, [125] * len(frames))


# --- (c) to (e) ----------------------------------------------------------------------------------------------------


def _turned(scale: Scale, _seed: int) -> Iterator[_Plan]:
    for form in ("jpeg baseline", "png", "webp", "avif", "tiff", "heic"):
        if form not in STILLS:
            continue
        for orientation in range(1, 9) if form.startswith("jpeg") else scale.orientations:
            build = partial(hiding_places.turned, form=form, orientation=orientation, size=scale.still)
            yield form, f"EXIF orientation {orientation}", build, Expected.FOUND


def _transparent(scale: Scale, _seed: int) -> Iterator[_Plan]:
    for (form, place), encoder in hiding_places.TRANSPARENT.items():
        yield form, place, partial(_whole, encoder, scale.still), Expected.FOUND
    for form in ("apng", "webp animated lossless"):
        build = partial(_ghost_scene, ANIMATIONS[form], scale.motion)
        yield form, "a scene seen on a dark page only", build, Expected.FOUND


def _ghost_scene(encoder: MotionEncoder, size: tuple[int, int], subject: Subject) -> bytes:
    """Opaque white, then white whose transparency makes the picture."""
    blank = Image.new("RGBA", size, (255, 255, 255, 255))
    ghost = hiding_places.white_with_alpha(subject(size))
    return encoder([blank, ghost, blank], [500, SCENE_MS, 500])


def _behind(scale: Scale, seed: int) -> Iterator[_Plan]:
    cover = _photo(random.Random(seed), scale.still)
    for (form, place), build in hiding_places.BEHIND.items():
        yield form, place, partial(_hidden_in, build, cover), Expected.FOUND
    yield "jpeg", "a ZIP archive behind it, without a picture", partial(_with_archive, cover), Expected.CLEAR


def _hidden_in(build: Callable[[Image.Image, Image.Image], bytes], cover: Image.Image, subject: Subject) -> bytes:
    return build(cover, subject(cover.size))


def _with_archive(cover: Image.Image, _subject: Subject) -> bytes:
    return pictures.encode(cover, "jpeg", quality=80) + hiding_places.archive()


# --- (f) truncated files -------------------------------------------------------------------------------------------

#: Formats of which no browser shows anything when the end is missing: no browser shows them at all, their pictures are
#: one indivisible piece of data, or what lies at the end is the index.
_ALL_OR_NOTHING = frozenset(
    {
        "avif",
        "avif 4:4:4",
        "heic",
        "jxl",
        "jxl boxed",
        "jxl lossless",
        "tiff deflate",
        "tiff jpeg",
        "webp lossless",
        "mp4 h264 index last",
    }
)


def _cut(scale: Scale, seed: int) -> Iterator[_Plan]:
    for form, encoder in STILLS.items():
        seen = Expected.UNSEEN if form in _ALL_OR_NOTHING else Expected.FOUND
        yield form, "cut at 99 %", partial(_cut_near_the_end, encoder, scale.still), seen
        if form != "jpeg progressive":  # of one cut at 70 % all is seen, but not sharply
            from_below = form.startswith("bmp")  # its rows are stored from the bottom up
            build = partial(_first_of_strip, encoder, scale.end, seed, from_below)
            yield form, "first square of a 1:4 strip cut at 70 %", build, seen
    for form, moving in _moving_forms():
        seen = Expected.UNSEEN if form in _ALL_OR_NOTHING else Expected.FOUND
        yield form, "a scene in the middle, cut at 90 %", partial(_scene_in_part, moving, scale, seed), seen


def _cut_near_the_end(encoder: StillEncoder, size: tuple[int, int], subject: Subject) -> bytes:
    return pictures.truncated(encoder(subject(size)), 0.99)


def _first_of_strip(encoder: StillEncoder, side: int, seed: int, from_below: bool, subject: Subject) -> bytes:
    strip = _photo(random.Random(seed), (side, side * 4))
    strip.paste(subject((side, side)), (0, 3 * side if from_below else 0))
    return pictures.truncated(encoder(strip), 0.7)


def _scene_in_part(encoder: MotionEncoder, scale: Scale, seed: int, subject: Subject) -> bytes:
    return pictures.truncated(_scene_in(encoder, scale, seed, subject), 0.9)
