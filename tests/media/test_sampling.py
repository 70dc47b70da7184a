"""The sampler keeps the different frames, few of them, and none that is shown for half a second escapes it."""

from __future__ import annotations

import math
import sys
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.examples import examples
from support.media import pictures

from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving.sampling import LONG_S, MINIATURE, FrameSampler, on_both_pages, spread_order
from lemmy_safety.records import AnomalyKind, Frame

FLASH_S = 1 / 30


@lru_cache(maxsize=2000)
def patches(seed):
    """A miniature unlike all others."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((MINIATURE, MINIATURE), Image.Resampling.BICUBIC))


def miniature(image):
    return np.asarray(image.convert("RGB").resize((MINIATURE, MINIATURE), Image.Resampling.BOX))


class Film:
    """Offers frames one by one and knows which of them were rendered."""

    def __init__(self, max_frames=32):
        self.sampler = FrameSampler(max_frames)
        self.rendered = []
        self.offered = 0
        self.clock = 0.0

    def show(self, look, shown_s=FLASH_S, *, at_s=None, pinned=False):
        index = self.offered
        self.offered += 1
        at = self.clock if at_s is None else at_s

        def render():
            self.rendered.append(index)
            return (Frame(pixels=np.zeros((1, 1, 3), np.uint8), index=index, at_s=at),)

        self.sampler.offer(look, at, shown_s, render, pinned=pinned)
        self.clock += shown_s

    @property
    def kept(self):
        return [frame.index for frame in self.sampler.frames]


def test_one_frame_of_each_scene_is_kept():
    """A still scene gives one frame, wherever and however often it comes back; so does each other one."""
    film = Film()
    for number in range(120):
        film.show(patches(number // 10 % 3))
    assert film.kept == [0, 10, 20]
    assert film.rendered == [0, 10, 20]
    assert film.sampler.anomaly() is None


def test_a_single_frame_among_900_is_kept():
    """One other frame in the middle of a still film is found."""
    film = Film()
    for number in range(900):
        film.show(patches(7 if number == 639 else 1), pinned=number in {0, 899})
    assert film.kept == [0, 639, 899]


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "astronaut"])
@pytest.mark.parametrize("share", [4, 9, 16])
def test_a_picture_pasted_into_part_of_the_frame_is_another_scene(name, share):
    """A photo over a quarter, a ninth, a sixteenth of the frame makes it a different one."""
    ground = pictures.photo(name)
    side = math.isqrt(share)
    inset = ground.copy()
    inset.paste(pictures.photo("grass").resize((ground.width // side, ground.height // side)), (ground.width // 3, 40))
    film = Film()
    film.show(miniature(ground))
    film.show(miniature(inset))
    assert film.kept == [0, 1]


def test_a_picture_with_the_same_colours_in_the_same_places_is_another_scene():
    """Replacing the fine structure of a photo by another one's is noticed, although every patch keeps its colour."""
    one, other = (pictures.photo(name).resize((512, 512)) for name in ("chelsea", "camera"))
    soft, soft_other = (
        np.asarray(image.reduce(16).resize((512, 512), Image.Resampling.BICUBIC)).astype(int) for image in (one, other)
    )
    hybrid = Image.fromarray(np.clip(soft + np.asarray(other) - soft_other, 0, 255).astype(np.uint8))
    film = Film()
    film.show(miniature(one))
    film.show(miniature(hybrid))
    assert film.kept == [0, 1]


@pytest.mark.parametrize("grain", [4, 10, 25])
def test_grain_makes_no_other_scene(grain):
    """Film grain and the noise of codecs change nothing."""
    rng = np.random.default_rng(1)
    photo = np.asarray(pictures.photo("coffee")).astype(int)
    film = Film()
    for _ in range(20):
        film.show(
            miniature(Image.fromarray(np.clip(photo + rng.normal(0, grain, photo.shape), 0, 255).astype(np.uint8)))
        )
    assert film.kept == [0]


@pytest.mark.long
@pytest.mark.parametrize("at", [20, 870])
def test_half_a_second_survives_hundreds_of_flashes(at):
    """A scene shown for half a second is kept however many different frames flash by around it."""
    film = Film()
    for number in range(900):
        film.show(patches(5000 if at <= number < at + 16 else number), pinned=number in {0, 899})
    kept = [number for number in film.kept if at <= number < at + 16]
    assert len(kept) == 1
    assert len(film.kept) == 32
    anomaly = film.sampler.anomaly()
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail.startswith("checked 32 of about ")
    assert 850 <= int(anomaly.detail.split("about ")[1].split()[0]) <= 900


@pytest.mark.long
def test_half_a_second_in_pieces_survives_flashes_as_well():
    """What counts is how long a scene is shown in all, not in one go."""
    film = Film()
    for number in range(900):
        film.show(patches(5000 if 300 <= number < 332 and number % 2 else number))
    assert len([number for number in film.kept if 300 <= number < 332 and number % 2]) >= 1


@pytest.mark.long
def test_all_long_scenes_are_kept_when_they_fit():
    """As many scenes of half a second as there are places are all kept, among flashes."""
    film = Film()
    for number in range(32):
        film.show(patches(number), LONG_S)
        for flash in range(20):
            film.show(patches(1000 + 20 * number + flash))
    assert [number for number in film.kept if number % 21 == 0] == [21 * number for number in range(32)]


def test_of_too_many_scenes_those_kept_are_spread_over_the_length():
    """210 scenes of the same length: no stretch of the film is left out, and the numbers are told."""
    film = Film()
    for number in range(210):
        film.show(patches(number), LONG_S, pinned=number in {0, 209})
    gaps = np.diff(film.kept)
    assert len(film.kept) == 32
    assert gaps.max() <= 3 * gaps.mean()
    assert film.sampler.anomaly().detail == "checked 32 of about 210 different frames"
    assert len(film.rendered) < 120


def test_of_too_many_scenes_the_longest_shown_are_kept():
    """Scenes of three seconds stay, scenes of half a second go."""
    film = Film()
    for number in range(160):
        film.show(patches(number), 3.0 if number % 8 == 3 else LONG_S)
    assert sum(number % 8 == 3 for number in film.kept) >= 18


def test_small_differences_beyond_the_limit_are_left_out_silently():
    """What is left out and looks nearly like something kept is no anomaly."""
    film = Film(max_frames=3)
    ground = patches(1).astype(int)
    for step in range(12):
        film.show(np.clip(ground + 14 * (step % 2) + step // 4, 0, 255).astype(np.uint8))
    assert film.sampler.anomaly() is None


def test_transparent_frames_are_told_apart_by_both_pages():
    """What is drawn in white or in black on nothing is seen on one of the two pages."""
    half = np.zeros((MINIATURE, MINIATURE // 2, 4), np.uint8)
    for colour in (255, 0):
        drawn = half.copy()
        drawn[40:80, 10:50] = (colour, colour, colour, 255)
        film = Film()
        film.show(on_both_pages(half))
        film.show(on_both_pages(drawn))
        assert film.kept == [0, 1]


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(
    offers=st.lists(
        st.tuples(
            st.integers(0, 60),
            st.one_of(st.floats(), st.floats(0, 100)),
            st.one_of(st.floats(), st.just(FLASH_S), st.just(1e300), st.just(-1e300)),
        ),
        min_size=1,
        max_size=80,
    ),
    max_frames=st.integers(1, 9),
)
def test_whatever_the_times_are_the_choice_is_bounded(offers, max_frames):
    """Any times, NaN and infinity included: never more than the limit, each frame once, first and last kept, in order."""
    film = Film(max_frames)
    for number, (seed, at_s, shown_s) in enumerate(offers):
        film.show(patches(seed), shown_s, at_s=at_s, pinned=number in {0, len(offers) - 1})
    kept = film.kept
    assert 1 <= len(kept) <= max_frames
    assert len(set(kept)) == len(kept)
    if max_frames > 1:
        assert {0, len(offers) - 1} <= set(kept)
    times = [frame.at_s if math.isfinite(frame.at_s) else 0.0 for frame in film.sampler.frames]
    assert times == sorted(times)
    assert film.sampler.left_out <= len({seed for seed, _, _ in offers})


def test_a_frame_at_the_end_of_all_time_is_no_fault():
    """The largest number there is as a time overflows nothing, and first and last are kept."""
    film = Film(max_frames=2)
    for number, at_s in enumerate([0.0, 8.98846567431158e307, sys.float_info.max, 1.0]):
        film.show(patches(number), at_s=at_s, pinned=number in {0, 3})
    assert set(film.kept) == {0, 3}


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_scenes():
    """A thousand scenes leave as many frames and looks behind as the limits say."""
    film = Film(max_frames=4)
    for number in range(1000):
        film.show(patches(number))
    assert len(film.sampler._kept) == 4
    assert film.sampler._looks.shape[0] == 256
    assert film.sampler._scenes == 256


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 100])
def test_every_beginning_of_a_spread_order_is_spread(count):
    """Each number comes once, and the first ones leave no half of the whole out."""
    order = spread_order(count)
    assert sorted(order) == list(range(count))
    if count >= 7:
        first = sorted(order[: count // 4 + 2])
        assert max(np.diff([0, *first, count])) <= count / 2


def test_a_deadline_is_over_when_its_seconds_have_passed():
    """Time is what the given clock says."""
    now = [100.0]
    deadline = Deadline(20, lambda: now[0])
    assert not deadline.over
    now[0] = 119.9
    assert not deadline.over
    now[0] = 120.0
    assert deadline.over


def test_a_part_of_a_deadline_is_over_in_its_share_of_what_is_left():
    """Shares are of the time that is left when they are asked for; the whole is the deadline itself."""
    now = [100.0]
    deadline = Deadline(20, lambda: now[0])
    now[0] = 104.0
    half = deadline.part(0.5)
    assert str(half) == "within 8 s"
    now[0] = 111.9
    assert not half.over
    now[0] = 112.0
    assert half.over
    assert not deadline.over
    assert deadline.part(1) is deadline
    now[0] = 130.0
    assert deadline.part(0.5).over
