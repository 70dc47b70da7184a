"""Animations are looked at over their whole length, as browsers show them, whatever their authors wrote into them."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.examples import examples
from support.media import moving_pictures, pictures
from support.media.moving_pictures import animation, drifting, scene, shows, with_hidden

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, sniff
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving import animation as animations
from lemmy_safety.media.moving import animation_plan
from lemmy_safety.media.moving.animation import DEFAULT_PICTURE, decode_animation
from lemmy_safety.media.moving.animation_frames import only, stored_frames
from lemmy_safety.media.moving.animation_plan import cost_of, longest_unseen_s, worth_showing
from lemmy_safety.media.moving.sampling import LOOK_EVERY_S
from lemmy_safety.media.pixels.rendering import ON_DARK
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)
FORMATS = list(pictures.ANIMATION_FORMATS)
STORED = ["gif", "apng", "webp"]


def look(data, limits=LIMITS, **options):
    return decode_animation(data, sniff.sniff(data), limits, **options)


def kinds(media):
    return [anomaly.kind for anomaly in media.info.anomalies]


def found(media, picture=None, tolerance=14):
    """Number and second of the frames that show the hidden scene."""
    picture = picture or scene(99)
    return [
        (frame.index, round(frame.at_s, 2))
        for frame in media.frames
        if shows(frame.pixels, picture, tolerance=tolerance)
    ]


def every_frame_costs_too_much(monkeypatch, *, most=animation_plan.MOST_COST):
    """As if the animation were a long one in full HD."""
    monkeypatch.setattr(animation_plan, "ALL_FRAMES_COST", 0)
    monkeypatch.setattr(animations, "ALL_FRAMES_COST", 0)
    monkeypatch.setattr(animation_plan, "MOST_COST", most)


@pytest.mark.parametrize("file_format", FORMATS)
def test_one_other_frame_is_found_with_its_number_and_second(file_format):
    """One frame of another scene, between similar ones, is among the frames; so are the first and the last."""
    frames = with_hidden(drifting(60), 41)
    media = look(animation(frames, file_format, [50] * 41 + [500] + [50] * 18))
    assert found(media) == [(41, 2.05)]
    assert [(frame.index, frame.view) for frame in media.frames] == [(0, ""), (41, ""), (59, "")]
    assert media.info.media_type == pictures.ANIMATION_FORMATS[file_format]
    assert (media.info.width, media.info.height, media.info.frame_count) == (*moving_pictures.SIZE, 60)
    assert media.info.duration_s == pytest.approx(3.45)
    assert media.info.anomalies == ()


@pytest.mark.parametrize("file_format", FORMATS)
def test_half_a_second_is_found_among_flashes(file_format):
    """More scenes than are looked at, each for a moment: the one that is shown for half a second is among the frames."""
    frames = [scene(number, (64, 48)) for number in range(70)]
    frames[50] = scene(99, (64, 48))
    media = look(animation(frames, file_format, [40] * 50 + [500] + [40] * 19))
    assert 50 in [number for number, _ in found(media, scene(99, (64, 48)), tolerance=20)]
    assert len(media.frames) == LIMITS.max_frames
    (anomaly,) = media.info.anomalies
    assert (anomaly.kind, anomaly.detail) == (AnomalyKind.FRAMES_LEFT_OUT, "checked 32 of about 70 different frames")


@pytest.mark.parametrize("file_format", STORED)
def test_a_hidden_frame_is_found_where_looking_at_all_would_take_too_long(file_format, monkeypatch):
    """Of a long animation fewer frames are decoded, but none that is shown for half a second escapes."""
    every_frame_costs_too_much(monkeypatch)
    for at in (0, 33, 59):
        durations = [40] * 60
        durations[at] = 500
        data = animation(with_hidden(drifting(60), at), file_format, durations)
        media = look(data)
        stored = stored_frames(data, sniff.sniff(data))
        assert longest_unseen_s(stored, worth_showing(stored)) <= LOOK_EVERY_S
        assert [number for number, _ in found(media)] == [at]
        assert media.info.frame_count == 60
        assert media.info.anomalies == ()


@pytest.mark.parametrize("file_format", STORED)
def test_half_a_second_made_of_many_frames_is_found_as_well(file_format, monkeypatch):
    """The same when the hidden scene is a dozen short frames, each a little different."""
    every_frame_costs_too_much(monkeypatch)
    hidden = drifting(13, seed=99)
    frames = [*drifting(30), *hidden, *drifting(30, seed=0)]
    media = look(animation(frames, file_format, 40))
    assert all(30 <= number < 43 for number, _ in found(media))
    assert found(media)


@pytest.mark.parametrize("file_format", STORED)
def test_frames_far_beyond_the_budget_are_left_out_and_that_is_said(file_format, monkeypatch):
    """When even one look every 0.4 s is too much, the longest shown frames are looked at, and an anomaly has numbers."""
    every_frame_costs_too_much(monkeypatch, most=10 * 70_000)
    durations = [100] * 60
    durations[23] = 900
    media = look(animation(with_hidden(drifting(60), 23), file_format, durations))
    assert [number for number, _ in found(media)] == [23]
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert " of 60 frames, at most " in anomaly.detail


def test_a_costly_avif_is_given_to_the_player_that_can_skip(monkeypatch):
    """AVIF frames need each other, so a long one is played as the video that it is."""
    every_frame_costs_too_much(monkeypatch)
    durations = [50] * 41 + [500] + [50] * 18
    media = look(animation(with_hidden(drifting(60), 41), "avif", durations))
    assert found(media) == [(41, 2.05)]
    assert (media.info.media_type, media.info.frame_count, media.info.anomalies) == ("image/avif", 60, ())
    assert [frame.view for frame in media.frames] == ["", "", ""]


@pytest.mark.parametrize("file_format", STORED)
def test_a_file_with_fewer_frames_shows_those(file_format):
    """Leaving frames out gives a file that Pillow plays, with the pictures of the frames that stayed."""
    frames = [scene(number) for number in range(9)]
    data = animation(frames, file_format)
    kind = sniff.sniff(data)
    fewer = only(data, stored_frames(data, kind), [0, 3, 8])
    stored = stored_frames(fewer, kind)
    assert (len(stored.frames), stored.cut_off, stored.announced) == (3, False, 3 if file_format == "apng" else None)
    media = look(fewer)
    assert [shows(frame.pixels, scene(number)) for frame, number in zip(media.frames, (0, 3, 8), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("asked", [0, 10])
def test_frames_that_ask_for_no_time_are_shown_for_a_tenth_of_a_second(file_format, asked):
    """As in browsers, so that what is said to flash by counts for as long as it is seen."""
    media = look(animation([scene(number) for number in range(4)], file_format, asked))
    assert [frame.at_s for frame in media.frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert media.info.duration_s == pytest.approx(0.4)


@pytest.mark.parametrize("file_format", ["gif", "webp", "avif"])
def test_a_still_file_gives_its_one_frame(file_format):
    """What has one frame has one frame."""
    media = look(pictures.encode(scene(3), file_format))
    assert len(media.frames) == 1
    assert shows(media.frames[0].pixels, scene(3))


def test_frames_are_composed_as_viewers_compose_them():
    """A GIF whose frames change only a part, some of them undone afterwards, shows the whole picture each time."""
    ground = scene(1)
    patch = scene(2, (40, 30))
    frames = [ground.convert("RGBA")]
    for place in ((10, 10), (60, 40), (20, 50)):
        layer = Image.new("RGBA", ground.size)
        layer.paste(patch, place)
        frames.append(layer)
    data = bytearray(
        pictures.encode(
            frames[0],
            "gif",
            save_all=True,
            append_images=frames[1:],
            duration=300,
            disposal=[1, 3, 1, 1],
            optimize=False,
        )
    )
    media = look(bytes(data))
    expected = []
    shown = ground.copy()
    for number, place in enumerate(((10, 10), (60, 40), (20, 50))):
        with_patch = shown.copy()
        with_patch.paste(patch, place)
        expected.append(with_patch)
        if number:
            shown = with_patch
    assert len(media.frames) == 4
    for frame, picture in zip(media.frames, [ground, *expected], strict=True):
        assert shows(frame.pixels, picture, tolerance=10)


@pytest.mark.parametrize("file_format", ["apng", "webp"])
def test_what_is_drawn_on_nothing_is_seen_on_the_page_where_it_shows(file_format):
    """White on transparent is invisible on a light page; that frame is told from the others and comes for a dark one."""
    empty = Image.new("RGBA", (96, 72))
    drawn = empty.copy()
    drawn.paste((255, 255, 255, 255), (20, 20, 70, 60))
    almost = empty.copy()
    almost.putpixel((0, 0), (9, 9, 9, 255))
    media = look(animation([empty, almost, drawn, empty], file_format, 200))
    dark = [frame for frame in media.frames if frame.view == ON_DARK and frame.index == 2]
    assert len(dark) == 1
    assert dark[0].pixels[40, 40].min() > 240
    assert dark[0].pixels[5, 90].max() < 60


def test_large_frames_are_scaled_down():
    """Frames are at most 512 px on their shorter side; the info has the real size."""
    media = look(animation([scene(number, (1200, 900)) for number in range(2)], "webp"))
    assert (media.info.width, media.info.height) == (1200, 900)
    assert media.frames[0].pixels.shape == (512, 683, 3)
    assert shows(media.frames[1].pixels, scene(1, (1200, 900)))
    assert media.frames[0].pixels.flags.c_contiguous


# --- lies and damage ---------------------------------------------------------------------------------------------------
def with_apng_count(data, count):
    at = data.index(b"acTL") + 4
    body = struct.pack(">I", count) + data[at + 4 : at + 8]
    return data[: at - 8] + pictures.png_chunk(b"acTL", body) + data[at + 12 :]


@pytest.mark.parametrize("count", [1, 2, 5, 4_000_000_000])
def test_an_apng_that_lies_about_its_number_of_frames_shows_all(count):
    """Frames beyond the number that the header gives are looked at; frames that are not there are not waited for."""
    data = with_apng_count(animation(with_hidden(drifting(12), 9), "apng"), count)
    media = look(data)
    assert [number for number, _ in found(media)] == [9]
    assert media.info.frame_count == 12


def test_the_default_picture_of_an_apng_is_looked_at():
    """What viewers show that know no APNG is a frame of its own, behind those of the animation."""
    out = [scene(1), scene(2), scene(3)]
    data = pictures.encode(scene(99), "png", save_all=True, append_images=out, default_image=True, duration=100)
    media = look(data)
    assert [(frame.index, frame.view) for frame in media.frames] == [(0, ""), (1, ""), (2, ""), (0, DEFAULT_PICTURE)]
    assert shows(media.frames[-1].pixels, scene(99))
    assert media.frames[-1].at_s is None
    assert media.info.frame_count == 3


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_there_is_of_a_truncated_animation_is_judged(file_format):
    """A hidden frame before the cut is found, and an anomaly says that the file is cut off."""
    frames = with_hidden(drifting(40), 11)
    data = pictures.truncated(animation(frames, file_format), 0.75)
    media = look(data)
    assert [number for number, _ in found(media)] == [11]
    assert AnomalyKind.TRUNCATED in kinds(media)


@pytest.mark.parametrize("file_format", ["apng", "webp"])
def test_a_broken_frame_does_not_hide_those_behind_it(file_format):
    """Rubbish in the data of one frame costs that frame; a hidden one behind it is found, and the damage recorded."""
    options = {"lossless": True} if file_format == "webp" else {}
    data = bytearray(animation(with_hidden([scene(number % 3) for number in range(30)], 24), file_format, **options))
    frame = stored_frames(bytes(data), sniff.sniff(bytes(data))).frames[12]
    start, end = frame.start + (frame.end - frame.start) // 2, frame.end - 6
    data[start:end] = bytes(value ^ 0xA5 for value in data[start:end])
    media = look(bytes(data))
    assert [number for number, _ in found(media)] == [24]
    assert kinds(media)[0] is AnomalyKind.DAMAGED


def test_an_apng_that_pillow_refuses_is_played_by_the_second_player():
    """A chunk with a broken name makes Pillow give up at once; FFmpeg plays the rest, and the damage is recorded."""
    data = bytearray(animation(with_hidden(drifting(8), 5), "apng"))
    data[data.index(b"fcTL") + 3] ^= 0x80
    media = look(bytes(data))
    assert found(media)
    assert AnomalyKind.DAMAGED in kinds(media)
    assert media.info.media_type == "image/apng"


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_gives_no_frame_is_unreadable(file_format):
    """A header and nothing else is unreadable, with words for a person."""
    data = animation([scene(number) for number in range(3)], file_format)[:60]
    with pytest.raises(MediaError) as caught:
        look(data)
    assert caught.value.status is ItemStatus.UNREADABLE
    assert sniff.sniff(data).name in caught.value.reason


@pytest.mark.parametrize("bomb", [pictures.gif_bomb(50_000, 50_000), pictures.webp_bomb(), pictures.png_bomb()])
def test_enormous_canvases_are_refused(bomb):
    """What announces more pixels than the limit is too large, and nothing is allocated for it."""
    kind = sniff.APNG if sniff.sniff(bomb) is sniff.PNG else sniff.sniff(bomb)
    with pytest.raises(MediaError) as caught:
        decode_animation(bomb, kind, LIMITS)
    assert caught.value.status is ItemStatus.TOO_LARGE
    assert caught.value.reason.endswith(" px is over the limit of 100 megapixels")


def test_a_frame_far_larger_than_its_canvas_is_cut_as_browsers_do():
    """An enormous frame on a small canvas costs no memory and hides nothing of what is shown beside it."""
    data = animation(with_hidden(drifting(6), 3), "gif")
    enormous = pictures.gif_bomb(60_000, 60_000)[19:-1]
    media = look(data[:-1] + enormous + b";")
    assert [number for number, _ in found(media)] == [3]
    assert (media.info.width, media.info.height, media.info.frame_count) == (*moving_pictures.SIZE, 7)


def test_looking_stops_when_the_time_is_up():
    """What was seen until then is judged, and an anomaly says how much that is."""
    ticks = itertools.count()
    media = look(animation(drifting(40), "webp"), deadline=Deadline(20, lambda: next(ticks) * 1.0))
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail == "only 20 of 40 frames could be checked within 20 s"


@pytest.mark.long
def test_a_gif_of_countless_tiny_frames_is_looked_at_in_bounded_time():
    """A hundred thousand frames of one pixel are thinned out instead of being decoded one by one, and not called cut off."""
    head, frame = pictures.gif_bomb(1, 1)[:19], pictures.gif_bomb(1, 1)[19:-1]
    data = head + frame * 100_000 + b";"
    stored = stored_frames(data, sniff.GIF)
    numbers = worth_showing(stored)
    assert len(stored.frames) > 50_000
    assert (stored.endless, stored.cut_off) == (True, False)
    assert cost_of(stored, numbers) <= animation_plan.MOST_COST
    assert {0, len(stored.frames) - 1} <= set(numbers)


@pytest.mark.parametrize("file_format", STORED)
def test_a_hundred_thousand_is_no_number_of_frames_in_an_ordinary_file(file_format):
    """Nothing ordinary counts as endless or as cut off."""
    data = animation(drifting(5), file_format)
    stored = stored_frames(data, sniff.sniff(data))
    assert (len(stored.frames), stored.endless, stored.cut_off) == (5, False, False)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), file_format=st.sampled_from(STORED))
def test_mutated_files_give_frames_or_a_media_error(data, file_format):
    """Whatever is done to the bytes, nothing but MediaError leaves; walks over the frames never raise."""
    original = SMALL[file_format]
    mutated = bytearray(original)
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(12, len(original) - 1), st.integers(0, 255)), max_size=12)
    ):
        mutated[at] = value
    cut = data.draw(st.integers(20, len(original)))
    octets = bytes(mutated[:cut])
    kind = sniff.sniff(original)
    stored = stored_frames(octets, kind)
    if stored is not None:
        assert only(octets, stored, [0])
    try:
        media = decode_animation(octets, kind, MediaLimits(max_bytes=10_000, max_pixels=1_000_000))
    except MediaError:
        return
    assert 1 <= len({frame.index for frame in media.frames}) <= 32


SMALL = {name: animation([scene(number, (24, 16)) for number in range(4)], name) for name in STORED}


@pytest.mark.parametrize("kind", [sniff.GIF, sniff.APNG, sniff.WEBP])
@given(data=st.binary(max_size=200))
@settings(max_examples=examples(30))
def test_walking_over_any_bytes_never_raises(kind, data):
    """No bytes make the walk over stored frames raise."""
    for octets in (data, b"\x89PNG\r\n\x1a\n" + data, b"GIF89a" + data, b"RIFF\x50\0\0\0WEBPVP8X" + data):
        stored = stored_frames(octets, kind)
        assert stored is None or len(stored.frames) == len(stored.starts_s)


def test_numbers_are_those_of_the_file_when_frames_were_thinned_out(monkeypatch):
    """Index and second are those of the original, not of what is left of it."""
    every_frame_costs_too_much(monkeypatch)
    data = animation(
        with_hidden([scene(1)] * 1 + [scene(2)] * 1 + drifting(38), 20), "webp", [40] * 20 + [600] + [40] * 19
    )
    assert found(look(data)) == [(20, 0.8)]


def test_frames_are_copies_that_own_their_pixels():
    """Pixels are eight-bit RGB, contiguous, and not part of something larger that would be kept with them."""
    for frame in look(animation([scene(number) for number in range(3)], "gif")).frames:
        assert (frame.pixels.dtype, frame.pixels.shape) == (np.uint8, (96, 128, 3))
        assert frame.pixels.flags.c_contiguous
