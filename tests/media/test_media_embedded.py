"""Pictures and videos inside another medium are decoded one level deep, named, and judged within the same limits."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from PIL import Image
from support.media import moving_pictures, pictures

from lemmy_safety.media import MediaLimits, decode
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.records import AnomalyKind

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=10_000_000)


def jpeg(image, **options):
    return pictures.encode(image, "jpeg", **options)


def views_of(media):
    return [frame.view for frame in media.frames]


def kinds_of(media):
    return [anomaly.kind for anomaly in media.info.anomalies]


def exif_with_thumbnail(thumbnail, orientation=1):
    """An EXIF block: the first directory has an orientation, the second one the preview."""
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 8 + 18)
    at = 8 + 18 + 2 + 24 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail


def small(name):
    image = pictures.photo(name)
    image.thumbnail((160, 160))
    return image


def test_a_picture_behind_another_one_is_judged():
    """The picture after the end is a frame of its own, behind all frames of the one in front, with its parts."""
    cover, hidden = jpeg(pictures.photo("coffee")), pictures.photo("chelsea")
    media = decode(cover + pictures.encode(hidden, "png"), LIMITS)
    name = f"picture at byte {len(cover)}"
    assert views_of(media) == ["", "left end", "right end", name, f"{name}, left end", f"{name}, right end"]
    assert np.array_equal(media.frames[3].pixels, np.asarray(hidden))
    assert kinds_of(media) == [AnomalyKind.EMBEDDED_PICTURE, AnomalyKind.TRAILING_DATA]
    assert (media.info.media_type, media.info.frame_count) == ("image/jpeg", 1)


def test_an_animation_inside_is_played():
    """What is hidden may move: its frames are all looked at."""
    cover = jpeg(pictures.quarters())
    frames = [pictures.shapes(seed=n) for n in range(3)]
    media = decode(cover + pictures.encode_animation(frames, "gif"), LIMITS)
    inner = [frame for frame in media.frames if frame.view == f"picture at byte {len(cover)}"]
    assert [(frame.index, frame.at_s) for frame in inner] == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_the_same_picture_again_is_not_judged_twice():
    """A second copy of what the file shows is recorded, and makes no frame."""
    cover = jpeg(pictures.photo("chelsea"))
    media = decode(cover + jpeg(pictures.photo("chelsea").resize((300, 200))), LIMITS)
    assert views_of(media) == ["", "left end", "right end"]
    assert AnomalyKind.EMBEDDED_PICTURE in kinds_of(media)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_honest_thumbnail_is_nothing_odd(orientation):
    """The preview that a camera writes makes no frame and no anomaly, however the camera was held."""
    data = jpeg(pictures.photo("coffee"), exif=exif_with_thumbnail(jpeg(small("coffee")), orientation))
    media = decode(data, MediaLimits(max_bytes=10**6, max_pixels=10**6, crop_ratio=0))
    assert (views_of(media), media.info.anomalies) == ([""], ())


def test_a_thumbnail_of_another_picture_is_judged():
    """A preview that shows something else is a frame, and an anomaly with its place."""
    thumbnail = jpeg(small("chelsea"))
    data = jpeg(pictures.photo("coffee"), exif=exif_with_thumbnail(thumbnail))
    media = decode(data, MediaLimits(max_bytes=10**6, max_pixels=10**6, crop_ratio=0))
    at = data.index(thumbnail)
    assert views_of(media) == ["", f"thumbnail at byte {at}"]
    assert media.frames[1].pixels.shape == (106, 160, 3)
    (anomaly,) = media.info.anomalies
    assert (anomaly.kind, anomaly.offset, anomaly.size) == (AnomalyKind.OTHER_THUMBNAIL, at, len(thumbnail))
    assert anomaly.detail == f"the preview at byte {at} shows another picture than the file does"


def test_what_is_hidden_in_something_hidden_is_not_searched_again():
    """One level deep: each file behind the other is found from the outside, and none is opened twice."""
    layers = [jpeg(pictures.photo(name).resize((120, 100))) for name in ("coffee", "chelsea", "rocket")]
    media = decode(b"".join(layers), LIMITS)
    wanted = ["", f"picture at byte {len(layers[0])}", f"picture at byte {len(layers[0] + layers[1])}"]
    assert sorted(views_of(media)) == sorted(wanted)


def test_hidden_media_share_the_limits():
    """Frames and pixels of all that is hidden are bounded together; what is beyond is said."""
    cover = jpeg(pictures.quarters())
    hidden = b"".join(jpeg(pictures.shapes(seed=n)) for n in range(4))
    media = decode(cover + hidden, MediaLimits(max_bytes=10**6, max_pixels=10**6, max_frames=2))
    assert len(media.frames) == 1 + 2
    left_out = [anomaly for anomaly in media.info.anomalies if anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT]
    assert len(left_out) == 2
    assert left_out[0].detail.endswith("was not checked: the limits were reached before it")
    tight = decode(cover + hidden, MediaLimits(max_bytes=10**6, max_pixels=160 * 120 * 2))
    assert len(tight.frames) == 1 + 2


def ticking(step):
    """Twenty seconds on a clock that goes ``step`` seconds further each time someone looks at it."""
    ticks = itertools.count()
    return Deadline(20, lambda: next(ticks) * step)


def long_animation(seed, count=40):
    return moving_pictures.animation(moving_pictures.drifting(count, seed=seed), "gif")


@pytest.mark.long
def test_all_that_moves_in_a_file_shares_its_time():
    """A long animation leaves time for those hidden behind it, and what could not be looked at is reported of each."""
    animations = [long_animation(seed, 200) for seed in range(4)]
    media = decode(b"".join(animations), LIMITS, deadline=ticking(0.1))
    at = {f"picture at byte {sum(map(len, animations[:place]))}" for place in range(1, 4)}
    assert {view for view in views_of(media) if not view.endswith(" end")} == {"", *at}
    left_out = [anomaly.detail for anomaly in media.info.anomalies if anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT]
    assert len(left_out) == 4
    assert all(" of 200 frames could be checked within " in detail for detail in left_out)
    assert {detail.split(":")[0] for detail in left_out[1:]} == at


def test_time_that_a_still_does_not_take_is_left_to_what_moves_inside_it():
    """A photo that has a long animation behind it costs that animation nothing."""
    media = decode(jpeg(pictures.quarters()) + long_animation(0), LIMITS, deadline=ticking(1.0))
    (left_out,) = [one.detail for one in media.info.anomalies if one.kind is AnomalyKind.FRAMES_LEFT_OUT]
    looked_at = int(left_out.split("only ")[1].split()[0])
    assert looked_at > 10


def test_what_there_was_no_time_for_is_reported():
    """When the time is up before something hidden is reached, the file is judged without it, and an anomaly says so."""
    cover, hidden = long_animation(0), jpeg(pictures.photo("coffee"))
    media = decode(cover + hidden, LIMITS, deadline=ticking(12.0))
    assert {frame.view for frame in media.frames if not frame.view.endswith(" end")} == {""}
    detail = [one.detail for one in media.info.anomalies if one.kind is AnomalyKind.FRAMES_LEFT_OUT][-1]
    assert detail == (
        f"the picture at byte {len(cover)} was not checked: looking at what comes before it was not over within 20 s"
    )


def test_a_hidden_video_of_which_no_frame_came_out_in_time_is_reported():
    """A video that could not be looked at is no video that shows nothing."""
    hidden = moving_pictures.video(moving_pictures.drifting(5))
    seconds = itertools.chain(itertools.repeat(0.0, 4), itertools.repeat(21.0))  # in time to be begun
    deadline = Deadline(20, lambda: next(seconds))
    media = decode(jpeg(pictures.quarters()) + hidden, LIMITS, deadline=deadline)
    (detail,) = [one.detail for one in media.info.anomalies if one.kind is AnomalyKind.FRAMES_LEFT_OUT]
    assert "was not checked: a" in detail
    assert "no picture came out within" in detail


def test_a_hidden_picture_that_is_too_large_is_reported():
    """What cannot be looked at because of a limit is an anomaly with its reason, and the file is judged."""
    media = decode(jpeg(pictures.quarters()) + pictures.png_bomb(), LIMITS)
    assert views_of(media) == [""]
    (anomaly,) = [one for one in media.info.anomalies if one.kind is AnomalyKind.FRAMES_LEFT_OUT]
    assert anomaly.detail.endswith("was not checked: 50000 x 50000 px is over the limit of 10 megapixels")


def test_a_hidden_picture_that_shows_nothing_costs_nothing():
    """A broken picture inside a healthy one is named and makes no frame."""
    broken = bytearray(jpeg(pictures.shapes()))
    scan = broken.index(b"\xff\xda")
    media = decode(jpeg(pictures.quarters()) + bytes(broken[: scan + 14]), LIMITS)
    assert views_of(media) == [""]
    assert AnomalyKind.EMBEDDED_PICTURE in kinds_of(media)


def test_blank_and_tiny_frames_are_plain():
    """Every frame says whether a classifier could see anything on it: the whole, its parts, what is hidden."""
    image = Image.new("RGB", (300, 100), (10, 20, 30))
    image.paste(pictures.photo("chelsea").resize((60, 60)), (230, 20))
    media = decode(jpeg(image, quality=95) + pictures.encode(pictures.quarters(16, 16), "png"), LIMITS)
    plain = {frame.view: frame.plain for frame in media.frames}
    assert not plain[""]
    assert plain["left end"]
    assert not plain["right end"]
    assert [view for view in plain if view.startswith("picture")]
    assert all(flag for view, flag in plain.items() if view.startswith("picture"))
