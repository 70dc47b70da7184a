"""Parts of wide and tall pictures: the ends exactly, everything between, a bounded number, enough pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.examples import examples
from support.media import pictures

from lemmy_safety.media import MediaLimits, decode
from lemmy_safety.media.pixels import views
from lemmy_safety.records import Frame

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)


def strip(*images):
    """Pictures side by side, all as high as the first one."""
    height = images[0].height
    fitted = [image.resize((round(image.width * height / image.height), height)) for image in images]
    whole = Image.new("RGB", (sum(image.width for image in fitted), height))
    at = 0
    for image in fitted:
        whole.paste(image, (at, 0))
        at += image.width
    return whole


def frames_of(image, **options):
    return {frame.view: frame for frame in decode(pictures.encode(image, "png", **options), LIMITS).frames}


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((140, 100), []),
        ((100, 140), []),
        ((142, 100), ["left end", "right end"]),
        ((1920, 1080), ["left end", "right end"]),
        ((1080, 2400), ["top end", "bottom end"]),
        ((300, 100), ["left end", "part 2 of 5", "part 4 of 5", "right end"]),
        ((100, 300), ["top end", "part 2 of 5", "part 4 of 5", "bottom end"]),
        ((500, 100), ["left end", *(f"part {n} of 7" for n in (2, 3, 5, 6)), "right end"]),
        ((100, 600), ["top end", *(f"part {n} of 9" for n in (2, 3, 4, 6, 7, 8)), "bottom end"]),
    ],
)
def test_the_number_of_parts_follows_the_shape(size, names):
    """The whole comes first, then the ends and what is between them; the middle is what the whole's middle shows."""
    media = decode(pictures.encode(Image.effect_noise(size, 80).convert("RGB"), "png"), LIMITS)
    assert [frame.view for frame in media.frames] == ["", *names]
    for frame in media.frames[1:]:
        assert frame.pixels.shape[0] == frame.pixels.shape[1]
        assert frame.pixels.flags.c_contiguous
        assert (frame.index, frame.at_s) == (0, None)


@pytest.mark.parametrize("turned", [False, True])
def test_the_ends_are_exact_squares(turned):
    """What fills the square at an end of a strip is that frame, pixel for pixel, at whatever end."""
    ends = [pictures.photo(name).resize((120, 120)) for name in ("chelsea", "rocket")]
    image = strip(ends[0], pictures.plasma(360, 120), ends[1])
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_270)
        ends = [end.transpose(Image.Transpose.ROTATE_270) for end in ends]
    frames = frames_of(image)
    for name, end in zip(["top end", "bottom end"] if turned else ["left end", "right end"], ends, strict=True):
        assert np.array_equal(frames[name].pixels, np.asarray(end))


@pytest.mark.long
def test_parts_of_large_strips_have_enough_pixels():
    """Parts are cut from as many pixels as a frame's shorter side may have, also where the frame itself has fewer."""
    end = pictures.photo("chelsea").resize((1000, 1000))
    wide = frames_of(strip(pictures.checker(5000, 1000, cell=100), end))
    assert wide[""].pixels.shape == (512, 3072, 3)
    same = np.asarray(end.resize((512, 512), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(wide["right end"].pixels - same)[:, 8:].mean() < 2
    end = pictures.photo("chelsea").resize((400, 400))
    long = frames_of(strip(pictures.checker(9600, 400, cell=100), end))
    assert long[""].pixels.shape == (164, 4096, 3)
    assert np.array_equal(long["right end"].pixels, np.asarray(end))


@pytest.mark.parametrize("size", [(50_000, 1), (1, 50_000), (20_000, 30), (3, 2), (2, 1), (9000, 100)])
def test_extreme_shapes_are_bounded(size):
    """However long a picture is, it has at most 24 parts, none larger than 512 px, and the ends are among them."""
    media = decode(pictures.encode(Image.effect_noise(size, 80).convert("RGB"), "png"), LIMITS)
    names = [frame.view for frame in media.frames]
    assert names[0] == ""
    ends = ["left end", "right end"] if size[0] > size[1] else ["top end", "bottom end"]
    assert [names[1], names[-1]] == ends
    assert len(names) <= 25
    assert max(max(frame.pixels.shape[:2]) for frame in media.frames[1:]) <= 512


@settings(max_examples=examples(200))
@given(st.integers(1, 60), st.integers(1, 4000), st.integers(3, 24))
def test_everything_is_in_some_part(side, extra, most):
    """No column of a strip lies outside all parts and the whole's middle square; the ends are exact; rows overlap."""
    length = side + extra
    parts = list(views.parts(length, side, most))
    assert len(parts) <= most
    assert (parts[0].rows, parts[0].length) == ((0,), side)
    assert (parts[-1].rows, parts[-1].length) == ((length - side,), side)
    covered = np.zeros(length, bool)
    middle = round((length - side) / 2)
    covered[middle : middle + side] = True
    for part in parts:
        assert part.length == side * len(part.rows)
        for start in part.rows:
            assert 0 <= start <= length - part.length
            covered[start : start + part.length] = True
    assert covered.all()


@settings(max_examples=examples(60))
@given(st.floats(1.5, 60), st.floats(0, 1))
def test_nothing_narrow_is_cut_at_every_border(ratio, place):
    """What is at most 0.29 of the height wide is whole in a part or in the middle, wherever it is."""
    side = 500
    length = round(side * ratio)
    width = round(0.29 * side)
    start = round(place * (length - width))
    rows = [(first, part.length) for part in views.parts(length, side, views.STILL_PARTS) for first in part.rows]
    rows.append((round((length - side) / 2), side))
    assert any(first <= start and start + width <= first + size for first, size in rows)


def test_folded_parts_are_rows_under_each_other():
    """Beyond 17.8:1 all of a picture is laid in rows under each other: a scene of it keeps its shape, at half its height."""
    scene = pictures.photo("chelsea").resize((60, 60))
    folded = [part for part in views.parts(2400, 60, views.STILL_PARTS) if len(part.rows) > 1]
    image = pictures.gradient(2400, 60)
    image.paste(scene, (folded[5].rows[1] + 30, 0))
    frame = frames_of(image)[f"part {folded[5].number} of 24, folded"]
    assert frame.pixels.shape == (120, 120, 3)
    assert np.array_equal(frame.pixels[60:, 30:90], np.asarray(scene))


def test_no_parts_are_made_where_they_are_switched_off():
    """A ratio of 0 switches parts off; another one sets from where on they are made."""
    data = pictures.encode(pictures.plasma(300, 100), "png")
    off = MediaLimits(max_bytes=10**6, max_pixels=10**6, crop_ratio=0)
    assert [frame.view for frame in decode(data, off).frames] == [""]
    late = MediaLimits(max_bytes=10**6, max_pixels=10**6, crop_ratio=3)
    assert [frame.view for frame in decode(data, late).frames] == [""]


def moving(*images):
    return [Frame(pixels=np.asarray(image), index=n, at_s=n / 10) for n, image in enumerate(images)]


def test_unchanged_parts_of_moving_pictures_are_looked_at_once():
    """Where only the right end moves, the left end is given with the first frame alone."""
    still = pictures.photo("coffee").resize((100, 100))
    images = [strip(still, pictures.plasma(80, 100), pictures.shapes(100, 100, seed=n)) for n in range(3)]
    views_of = [(frame.index, frame.view) for frame in views.with_parts(moving(*images), crop_ratio=1.4, moving=True)]
    assert views_of == [
        *((0, view) for view in ("", "left end", "part 2 of 5", "part 4 of 5", "right end")),
        *((n, view) for n in (1, 2) for view in ("", "part 4 of 5", "right end")),
    ]


def test_moving_pictures_have_a_budget_of_parts():
    """Many frames of a long strip get three parts each: both ends, and all of it folded."""
    images = [pictures.shapes(500, 100, seed=n) for n in range(32)]
    found = list(views.with_parts(moving(*images), crop_ratio=1.4, moving=True))
    assert len(found) <= 32 * 4
    assert {frame.view for frame in found} == {"", "left end", "part 2 of 3, folded", "right end"}
    assert [frame.index for frame in found] == sorted(frame.index for frame in found)
    wide = [pictures.shapes(178, 100, seed=n) for n in range(32)]
    assert {frame.view for frame in views.with_parts(moving(*wide), crop_ratio=1.4, moving=True)} == {
        "",
        "left end",
        "right end",
    }


def test_parts_of_a_rendering_are_named_after_both():
    """A part of a picture on a dark page says so, and is left out where it looks as it does on a light one."""
    image = pictures.plasma(300, 100).convert("RGBA")
    image.paste((255, 255, 255, 0), (200, 0, 300, 100))
    frames = frames_of(image)
    assert {"left end", "right end", "on a dark page", "on a dark page, right end"} <= set(frames)
    assert "on a dark page, left end" not in frames
