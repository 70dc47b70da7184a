"""Videos are looked at over their whole length, in every codec, and nothing is opened but the bytes at hand."""

from __future__ import annotations

import io
import itertools
import math
import os
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import moving_pictures, pictures
from support.moving_pictures import CODECS, FRAME_MS, drifting, scene, shows, video, with_hidden, with_index_first

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, sniff
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving import video as videos
from lemmy_safety.media.moving.video import COVER, decode_video
from lemmy_safety.media.moving.video_streams import DEMUXERS
from lemmy_safety.media.pixels.rendering import ON_DARK
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)
COUNT = 60
HIDDEN_AT, HIDDEN_FRAMES = 37, 13  # 0.52 s, at 62 % of the length


def look(data, limits=LIMITS, **options):
    return decode_video(data, sniff.sniff(data), limits, **options)


def refusal(data, limits=LIMITS, kind=None):
    with pytest.raises(MediaError) as caught:
        decode_video(data, kind or sniff.sniff(data), limits)
    return caught.value


def kinds(media):
    return [anomaly.kind for anomaly in media.info.anomalies]


def found(media, size=moving_pictures.SIZE, *, view=""):
    """Number and second of the frames that show the hidden scene."""
    return [
        (frame.index, frame.at_s)
        for frame in media.frames
        if frame.view == view and shows(frame.pixels, scene(99, size), tolerance=16)
    ]


def hiding(codec=CODECS["mp4 h264"], **options):
    return video(with_hidden(drifting(COUNT, size=codec.size), HIDDEN_AT, HIDDEN_FRAMES), codec, **options)


@pytest.fixture
def skimming(monkeypatch):
    """As if every video were a long one."""
    monkeypatch.setattr(videos, "ALL_FRAMES_COST", 0)


@pytest.mark.parametrize("name", CODECS)
def test_half_a_second_in_the_middle_is_found_in_every_codec(name, monkeypatch):
    """A scene of half a second is found with its second, by decoding all and by skimming; counts and times are right."""
    codec = CODECS[name]
    if not codec.available:
        pytest.skip(f"this build of FFmpeg has no {codec.encoder}")
    data = hiding(codec)
    kind = sniff.sniff(data)
    for cost in (videos.ALL_FRAMES_COST, 0):
        monkeypatch.setattr(videos, "ALL_FRAMES_COST", cost)
        media = decode_video(data, kind, LIMITS)
        hits = found(media, codec.size)
        assert hits
        for index, at_s in hits:
            assert HIDDEN_AT <= index < HIDDEN_AT + HIDDEN_FRAMES
            assert at_s == pytest.approx(index * FRAME_MS / 1000, abs=1.5 * FRAME_MS / 1000)
        assert {0, COUNT - 1} <= {frame.index for frame in media.frames}
        assert len(media.frames) <= 6
        assert (media.info.media_type, media.info.frame_count) == (kind.media_type, COUNT)
        # H.263 says of itself that its pixels are not square.
        assert (media.info.width, media.info.height) == ((192, 144) if codec.encoder == "h263" else codec.size)
        assert media.info.duration_s == pytest.approx(COUNT * FRAME_MS / 1000, abs=0.1)
        assert media.info.anomalies == ()


@pytest.mark.parametrize("name", ["mp4 h264", "mkv h265", "webm vp9", "webm av1", "webm vp8"])
def test_key_frames_all_along_change_nothing(name, skimming):
    """With a key frame every second, going from one to the next finds what lies between, where it lies."""
    codec = CODECS[name]
    if not codec.available:
        pytest.skip(f"this build of FFmpeg has no {codec.encoder}")
    shorter = {
        key: value.replace("10000", "25").replace("1000", "25").replace("300", "25")
        for key, value in codec.options.items()
    }
    for at in (5, 27, 45):
        frames = with_hidden(drifting(COUNT), at, HIDDEN_FRAMES)
        media = look(video(frames, replace(codec, options=shorter)))
        hits = [index for index, _ in found(media)]
        assert hits
        assert all(at <= index < at + HIDDEN_FRAMES for index in hits)
        assert media.info.anomalies == ()


def test_half_a_second_is_found_among_flashes():
    """More different frames than are looked at: half a second of one scene is found, and the numbers are told."""
    frames = [scene(number) for number in range(80)]
    for number in range(50, 63):
        frames[number] = scene(99)
    media = look(video(frames))
    assert [50 <= index < 63 for index, _ in found(media)] == [True]
    assert len(media.frames) == 32
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail.startswith("looked at 32 of about ")


def test_frames_that_no_other_frame_needs_are_not_a_hiding_place(skimming):
    """Skimming passes over disposable frames; a scene that consists of nothing else is found by going back."""
    codec = replace(
        CODECS["mp4 h264"],
        options={"preset": "ultrafast", "x264-params": "bframes=16:b-adapt=0:b-pyramid=none:scenecut=0:keyint=1000"},
    )
    frames = with_hidden(drifting(COUNT), 35, 13)
    data = video(frames, codec)
    with av.open(io.BytesIO(data)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        needed = [frame.pts * container.streams.video[0].time_base for frame in container.decode(video=0)]
    assert not [time for time in needed if 1.4 <= time < 1.92]  # else this file tests nothing
    assert found(look(data))


def test_what_is_shown_before_a_key_frame_and_stored_behind_it_is_found(skimming):
    """Frames that need the key frames on both sides of them belong to neither; they are looked at, and not called broken."""
    options = "open-gop=1:bframes=14:b-adapt=0:b-pyramid=none:scenecut=0:keyint=30:min-keyint=30:sync-lookahead=0"
    codec = replace(CODECS["mp4 h264"], options={"preset": "ultrafast", "x264-params": options})
    for at in (16, 31, 45):
        media = look(video(with_hidden(drifting(90), at, 13), codec))
        assert found(media)
        assert media.info.anomalies == ()


def test_a_frame_that_stays_long_is_found_right_after_another(skimming):
    """Skimming passes over what follows another frame closely, but not what is then shown for half a second."""
    frames = with_hidden(drifting(30), 14)
    times = [40 * number + (600 if number > 14 else 0) for number in range(30)]
    assert found(look(video(frames, times=times))) == [(14, 0.56)]


def test_a_container_that_lies_about_the_size_does_not_save_its_end(monkeypatch):
    """What takes longer than its container lets expect is skimmed as soon as that is noticed."""
    codec = replace(CODECS["mp4 mpeg4"], size=(320, 240), options={"g": "20"})
    monkeypatch.setattr(videos, "ALL_FRAMES_COST", COUNT * 260_000)
    data = bytearray(video(with_hidden(drifting(COUNT, size=(320, 240)), 40, 13), codec))
    at = data.index(b"mp4v", data.index(b"stsd")) + 28
    data[at : at + 4] = struct.pack(">HH", 16, 16)
    media = look(bytes(data))
    assert found(media, (320, 240))
    assert len(media.frames) <= 8


# --- what containers say and viewers obey ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rotation", "corners"),
    [
        (None, "RGBY"),
        ((90, False, False), "GYRB"),
        ((180, False, False), "YBGR"),
        ((270, False, False), "BRYG"),
        ((0, True, False), "GRYB"),
        ((0, False, True), "BYRG"),
    ],
)
def test_rotation_and_mirroring_are_obeyed(rotation, corners):
    """What a phone writes beside the picture turns it; width and height are those of the turned picture."""
    media = look(video([pictures.quarters(*moving_pictures.SIZE)] * 3, rotation=rotation))
    pixels = media.frames[0].pixels.astype(int)
    height, width, _ = pixels.shape
    assert (media.info.width, media.info.height) == (width, height)
    assert (height > width) == (rotation is not None and rotation[0] in {90, 270})
    colours = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "Y": (255, 255, 0)}
    places = [(1, 1), (1, 3), (3, 1), (3, 3)]
    for corner, (down, across) in zip(corners, places, strict=True):
        seen = pixels[height * down // 4, width * across // 4]
        assert np.abs(seen - colours[corner]).max() < 40


@pytest.mark.parametrize(
    ("aspect", "shown"), [(Fraction(2), (256, 96)), (Fraction(1, 2), (128, 192)), (Fraction(900), (128, 96))]
)
def test_pixels_that_are_not_square_are_obeyed(aspect, shown):
    """An anamorphic picture is stretched as players do; proportions that nobody has are not believed."""
    media = look(video([scene(1)] * 3, aspect=aspect))
    assert (media.info.width, media.info.height) == shown
    assert media.frames[0].pixels.shape == (shown[1], shown[0], 3)
    assert shows(media.frames[0].pixels, scene(1, shown))


BLOCKS = [(200, 60, 30), (30, 160, 60), (60, 60, 220), (235, 235, 235), (20, 20, 20)]


def blocks(size):
    image = Image.new("RGB", size)
    for number, colour in enumerate(BLOCKS):
        image.paste(colour, (number * size[0] // 5, 0, (number + 1) * size[0] // 5, size[1]))
    return image


def in_colours(size, matrix, *, full, said):
    """One frame in h264, converted by a matrix and in a range that it says or does not say."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "2"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if full else "yuv420p"
        frame = av.VideoFrame.from_image(blocks(size))
        frame = frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=2 if full else 1)
        if full:
            frame = frame.reformat(format="yuvj420p", src_color_range=2, dst_color_range=2)
        code = {"ITU709": 1, "ITU601": 6, "BT2020": 9}[matrix] if said else 2
        frame.colorspace = stream.codec_context.colorspace = code
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("size", "matrix", "full", "said"),
    [
        ((320, 240), "ITU601", False, False),
        ((1280, 720), "ITU709", False, False),
        ((320, 240), "ITU709", False, True),
        ((1280, 720), "ITU601", False, True),
        ((320, 240), "BT2020", False, True),
        ((320, 240), "ITU601", True, True),
    ],
)
def test_colours_are_those_that_players_show(size, matrix, full, said):
    """Matrix and range are obeyed where they are given, and guessed by the size, as browsers do, where they are not."""
    (frame,) = look(in_colours(size, matrix, full=full, said=said)).frames
    height, width, _ = frame.pixels.shape
    for number, colour in enumerate(BLOCKS):
        seen = frame.pixels[height // 2, int(width * (number + 0.5) / 5)].astype(int)
        assert np.abs(seen - colour).max() <= 8


@pytest.mark.parametrize(("transfer", "paper", "dim"), [(16, 0.5807, 0.3), (18, 0.75, 0.25)])
def test_hdr_is_mapped_to_what_an_ordinary_screen_shows(transfer, paper, dim):
    """In PQ and HLG paper white is nearly white, black is black, and grey lies between; unmapped it would all be grey."""
    levels = [0.0, dim, paper, 1.0]
    grey = np.zeros((96, 128, 3), np.uint16)
    for number, level in enumerate(levels):
        grey[:, number * 32 : (number + 1) * 32] = round(level * 65_535)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(grey, format="rgb48le")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace="BT2020", dst_color_range=1)
        for described in (frame, stream.codec_context):
            described.colorspace, described.color_primaries, described.color_trc, described.color_range = (
                9,
                9,
                transfer,
                1,
            )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pixels = look(out.getvalue()).frames[0].pixels
    black, grey_seen, white, brightest = (int(pixels[48, 16 + 32 * number].mean()) for number in range(4))
    assert black < 6
    assert 40 < grey_seen < 170
    assert 215 < white < 250
    assert white < brightest <= 255


def test_transparency_of_a_webm_is_seen_on_both_pages():
    """What only the transparency of VP9 shows is on the frames: black on nothing on the light page, and a dark one."""
    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=10, options={"auto-alt-ref": "0", "deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuva420p"
        for number in range(6):
            picture = Image.new("RGBA", (128, 96), (0, 0, 0, 0))
            if number == 3:
                picture.paste((0, 0, 0, 255), (30, 20, 90, 70))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgba").reformat(format="yuva420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    media = look(out.getvalue())
    by_view = {(frame.index, frame.view): frame.pixels for frame in media.frames}
    assert by_view[3, ""][45, 60].max() < 30
    assert by_view[3, ""][5, 5].min() > 225
    assert by_view[0, ON_DARK].max() < 60


def test_a_second_video_stream_is_looked_at_and_told_of():
    """A scene that only a second stream shows is found, with a view that says where, and an anomaly."""
    second = with_hidden(drifting(COUNT, seed=5), 20, 3)
    media = look(video(drifting(COUNT), second=second))
    assert [index for index, _ in found(media, view="video stream 2")] == [20]
    assert AnomalyKind.EMBEDDED_PICTURE in kinds(media)
    assert media.frames[0].view == ""
    assert media.info.frame_count == COUNT


@pytest.mark.parametrize("cost", [videos.ALL_FRAMES_COST, 0])
def test_a_cover_picture_is_looked_at_and_told_of(cost, monkeypatch):
    """The picture that players show before the video is a frame of its own, behind those of the video."""
    monkeypatch.setattr(videos, "ALL_FRAMES_COST", cost)
    media = look(video(drifting(20), cover=scene(99, (80, 60))))
    *rest, last = media.frames
    assert (last.view, last.at_s) == (COVER, None)
    assert shows(last.pixels, scene(99, (80, 60)))
    assert [frame.view for frame in rest] == ["", ""]
    (anomaly,) = media.info.anomalies
    assert (anomaly.kind, anomaly.detail) == (
        AnomalyKind.EMBEDDED_PICTURE,
        "a cover picture of 80 x 60 px beside the video",
    )
    assert anomaly.size == len(pictures.encode(scene(99, (80, 60)), "jpeg"))
    assert media.info.frame_count == 20


def test_a_cover_that_shows_the_video_is_no_frame_of_its_own():
    """A cover taken from the video costs nothing to look at twice."""
    media = look(video(drifting(20), cover=drifting(1)[0]))
    assert COVER not in [frame.view for frame in media.frames]
    assert kinds(media) == [AnomalyKind.EMBEDDED_PICTURE]


# --- lies --------------------------------------------------------------------------------------------------------------
def box(name, body):
    return struct.pack(">I", len(body) + 8) + name + body


def test_what_an_edit_list_leaves_out_is_looked_at(skimming):
    """A file that tells players to show its first second only is looked at to its end."""
    data = bytearray(hiding())
    at = data.index(b"elst") + 12
    data[at : at + 4] = struct.pack(">I", 1000)
    media = look(bytes(data))
    assert found(media)
    assert media.info.frame_count == COUNT


@pytest.mark.parametrize("name", ["mp4 h264", "mp4 vp9", "mp4 av1", "mp4 h265"])
def test_a_lie_about_key_frames_hides_nothing(name, skimming):
    """Where every frame is said to be a key frame, or none but the first, decoders find the real ones."""
    codec = CODECS[name]
    if not codec.available:
        pytest.skip(f"this build of FFmpeg has no {codec.encoder}")
    shorter = {
        key: value.replace("10000", "20").replace("1000", "20").replace("300", "20")
        for key, value in codec.options.items()
    }
    for options, lie in ((codec.options, b"free"), (shorter, b"free")):
        data = hiding(replace(codec, options=options))
        assert found(look(data.replace(b"stss", lie)))


@pytest.mark.parametrize("delta", [0, 1, 0x7FFFFFFF])
def test_lies_about_how_long_frames_are_shown_hide_nothing(delta):
    """Frames of no length, of a moment, of a month: what is hidden among them is found, and times stay sane."""
    data = bytearray(hiding(replace(CODECS["mp4 mpeg4"])))
    at = data.index(b"stts") + 12
    data[at : at + 4] = struct.pack(">I", delta)
    media = look(bytes(data))
    assert found(media)
    assert all(0 <= frame.at_s < 1e7 and math.isfinite(frame.at_s) for frame in media.frames)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.sampled_from([1, 2, 40, 500, 90_000, 10_000_000]), min_size=12, max_size=12))
def test_frames_are_in_order_whatever_their_times(gaps):
    """Times that jump are kept as they are; frames stay in order and each is there once."""
    times = list(itertools.accumulate(gaps, initial=0))
    media = look(video([scene(number) for number in range(13)], CODECS["mkv ffv1"], times=times))
    assert [frame.index for frame in media.frames] == list(range(13))
    assert [frame.at_s for frame in media.frames] == pytest.approx([time / 1000 for time in times])


def test_frames_that_change_their_size_are_looked_at():
    """A stream may grow in the middle; what comes after is looked at, up to the limit, and beyond it is too large."""
    codec = CODECS["ts h264"]
    large = replace(codec, size=(320, 240))
    data = video(drifting(20), codec) + video([scene(99, (320, 240))] * 20, large)
    assert found(look(data), (320, 240))
    error = refusal(data, replace(LIMITS, max_pixels=30_000))
    assert error.status is ItemStatus.TOO_LARGE
    assert error.reason == "320 x 240 px is over the limit of 0.03 megapixels"


@pytest.mark.parametrize("max_pixels", [10_000, 100])
def test_too_large_videos_are_refused_with_the_numbers(max_pixels):
    """More pixels than the limit is too large before anything is decoded."""
    error = refusal(video(drifting(3)), replace(LIMITS, max_pixels=max_pixels))
    assert error.status is ItemStatus.TOO_LARGE
    assert error.reason.startswith("128 x 96 px is over the limit of ")


def test_a_container_that_lies_about_the_size_is_found_out():
    """The size that counts is that of the frames."""
    data = bytearray(video(drifting(3)))
    at = data.index(b"avc1", data.index(b"stsd")) + 28
    data[at : at + 4] = struct.pack(">HH", 16, 16)
    error = refusal(bytes(data), replace(LIMITS, max_pixels=10_000))
    assert (error.status, error.reason) == (ItemStatus.TOO_LARGE, "128 x 96 px is over the limit of 0.01 megapixels")


# --- damage ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["mp4 h264", "webm vp9", "mkv h265", "avi mjpeg", "flv h264", "ts h264", "mpeg mpeg2", "ogg vp8", "asf wmv2"],
)
def test_what_there_is_of_a_truncated_video_is_judged(name):
    """A hidden scene before the cut is found; where the container says how long it is, an anomaly says what is missing."""
    codec = CODECS[name]
    if not codec.available:
        pytest.skip(f"this build of FFmpeg has no {codec.encoder}")
    frames = with_hidden(drifting(COUNT, size=codec.size), 20, 13)
    data = video(frames, codec)
    if codec.container == "mp4":
        data = with_index_first(data)
    data = pictures.truncated(data, 0.8)
    media = look(data)
    assert found(media, codec.size)
    if codec.container in {"mp4", "webm", "matroska"}:
        assert AnomalyKind.TRUNCATED in kinds(media)
    if codec.container == "mp4":
        detail = next(one.detail for one in media.info.anomalies if one.kind is AnomalyKind.TRUNCATED)
        assert detail.endswith(" of 60 frames are there")


def test_rubbish_in_the_middle_costs_what_it_hits(skimming):
    """Broken frames are passed over, what comes after the next key frame is found, and the damage is recorded."""
    codec = replace(CODECS["mp4 h264"], options={**CODECS["mp4 h264"].options, "g": "12"})
    data = bytearray(video(with_hidden(drifting(COUNT), 45, 13), codec))
    middle = len(data) // 3
    data[middle : middle + 900] = bytes(value ^ 0xA5 for value in data[middle : middle + 900])
    media = look(bytes(data))
    assert found(media)
    assert AnomalyKind.DAMAGED in kinds(media)


@pytest.mark.parametrize("kept", [200, 900])
def test_an_mp4_without_its_index_is_unreadable(kept):
    """Nothing can be decoded without it; the reason names the kind."""
    error = refusal(hiding()[:kept])
    assert error.status is ItemStatus.UNREADABLE
    assert error.reason.startswith("an MP4 video that cannot be decoded: ")


def test_a_codec_that_is_unknown_is_named():
    """What FFmpeg has no decoder for is unsupported, by the name that the container gives."""
    data = video(drifting(3))
    at = data.index(b"avc1", data.index(b"stsd"))
    error = refusal(data[:at] + b"xyz7" + data[at + 4 :])
    assert (error.status, error.reason) == (
        ItemStatus.UNSUPPORTED,
        "an MP4 video in the codec xyz7, which is not decoded here",
    )


def test_a_codec_that_nobody_uploads_is_not_given_hostile_bytes():
    """FFmpeg's hundreds of other decoders are not used."""
    data = video(drifting(3), moving_pictures.Codec("cinepak", "mov", "rgb24"))
    error = refusal(data)
    assert (error.status, error.reason) == (
        ItemStatus.UNSUPPORTED,
        "a QuickTime video in the codec cinepak, which is not decoded here",
    )


def test_sound_without_a_picture_has_no_video_in_it():
    """A sound file in a video container is unreadable, and says why."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    error = refusal(out.getvalue(), kind=sniff.MP4)
    assert (error.status, error.reason) == (ItemStatus.UNREADABLE, "an MP4 video with no video in it")


def test_a_video_with_sound_is_looked_at():
    """Sound beside the picture changes nothing."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height = moving_pictures.SIZE
        sound = container.add_stream("aac", rate=44_100)
        for picture in (scene(1), scene(99)):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(sound.encode(frame))
        for each in (stream, sound):
            container.mux(each.encode(None))
    assert found(look(out.getvalue())) == [(1, 0.04)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    name=st.sampled_from(
        ["mp4 mpeg4", "webm vp8", "avi mjpeg", "flv sorenson", "mpeg mpeg2", "ts h264", "ogg vp8", "asf wmv2"]
    ),
)
def test_mutated_files_give_frames_or_a_media_error(data, name):
    """Whatever is done to the bytes, nothing but MediaError leaves."""
    original = _small(name)
    mutated = bytearray(original)
    changes = data.draw(st.lists(st.tuples(st.integers(0, len(original) - 1), st.integers(0, 255)), max_size=20))
    for at, value in changes:
        mutated[at] = value
    octets = bytes(mutated[: data.draw(st.integers(1, len(original)))])
    try:
        media = decode_video(octets, sniff.sniff(original), MediaLimits(max_bytes=10**6, max_pixels=10**6))
    except MediaError as error:
        refused = error
        assert refused.status is not ItemStatus.CHECKED
        return
    assert media.frames


_SMALL = {}


def _small(name):
    if name not in _SMALL:
        _SMALL[name] = video(drifting(6, size=(64, 48)), replace(CODECS[name], size=(64, 48)))
    return _SMALL[name]


# --- nothing else is opened --------------------------------------------------------------------------------------------
@pytest.fixture
def bait(tmp_path):
    """A video on the disk and a server that nobody must call: what a hostile file could refer to."""
    path = tmp_path / "bait.mp4"
    path.write_bytes(video([scene(99)] * 3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield str(path), f"http://127.0.0.1:{server.getsockname()[1]}/bait.mp4"
        with pytest.raises(BlockingIOError):
            server.accept()


def referring(address):
    """Texts that FFmpeg would take for videos made of other files."""
    return [
        f"ffconcat version 1.0\nfile '{address}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
        f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{address}</BaseURL></Period></MPD>',
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=control:{address}\n",
        f"{address}\n",
    ]


@pytest.mark.parametrize("kind", DEMUXERS)
def test_playlists_are_no_videos(kind, bait):
    """A text that refers to files or addresses opens nothing, whatever kind it is taken for."""
    for address in (*bait, "concat:" + bait[0], "subfile,,start,0,end,0,,:" + bait[0]):
        for text in referring(address):
            error = refusal(text.encode(), kind=kind)
            assert error.status is ItemStatus.UNREADABLE


def with_reference(data, path):
    """A QuickTime file whose frames are said to lie in another file (data reference of type alias, by its full path)."""
    name = path.encode()
    alias = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12) + bytes([4]) + b"bait".ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 0, 0) + bytes(16)
    alias += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = box(b"alis", struct.pack(">I", 0) + alias)
    at = data.index(b"dref") - 4
    old = struct.unpack(">I", data[at : at + 4])[0]
    new = box(b"dref", struct.pack(">II", 0, 1) + entry)
    out = data[:at] + new + data[at + old :]
    for name_ in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size_at = out.rindex(name_, 0, at + 4) - 4
        size = struct.unpack(">I", out[size_at : size_at + 4])[0] + len(new) - old
        out = out[:size_at] + struct.pack(">I", size) + out[size_at + 4 :]
    return out


def test_a_data_reference_is_not_followed(bait):
    """A QuickTime file that says its frames are in another file does not get that file's frames."""
    data = with_reference(video([scene(1)] * 3, CODECS["mov h264"]), bait[0])
    assert b"alis" in data
    try:
        media = look(data)
    except MediaError as error:
        refused = error
        assert refused.status is ItemStatus.UNREADABLE
        return
    assert not found(media)


def test_nothing_reaches_standard_error():
    """FFmpeg's complaints about broken files are not printed; what of them matters is in the result."""
    script = (
        "from support.moving_pictures import CODECS, drifting, video\n"
        "from lemmy_safety.media import MediaLimits, sniff\n"
        "from lemmy_safety.media.moving.video import decode_video\n"
        "data = bytearray(video(drifting(20), CODECS['mp4 h264']))\n"
        "data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)\n"
        "media = decode_video(bytes(data), sniff.sniff(bytes(data)), MediaLimits(max_bytes=10**9, max_pixels=10**9))\n"
        "print([anomaly.kind.value for anomaly in media.info.anomalies])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "damaged" in done.stdout


# --- time --------------------------------------------------------------------------------------------------------------
def ticking(step):
    ticks = itertools.count()
    return Deadline(20, lambda: next(ticks) * step)


def test_looking_stops_when_the_time_is_up():
    """What was seen until then is judged, and an anomaly says how many seconds were not looked at."""
    media = look(video(drifting(COUNT)), deadline=ticking(1.0))
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail.endswith(" of 2.4 s could not be looked at within 20 s")


def test_when_the_time_is_short_looks_are_spread_over_the_length(skimming):
    """Key frames of the whole length come first, so that a video that takes too long is not looked at in its beginning only."""
    codec = replace(CODECS["mp4 h264"], options={**CODECS["mp4 h264"].options, "g": "25"})
    frames = [picture for number in range(12) for picture in drifting(25, seed=number)]
    media = look(video(frames, codec), deadline=ticking(20 / 330))
    seconds = [frame.at_s for frame in media.frames]
    assert {int(second) for second in seconds} == set(range(12))
    (anomaly,) = media.info.anomalies
    assert " of 12.0 s could not be looked at within 20 s" in anomaly.detail


def test_without_any_time_it_is_unreadable_because_of_the_decoder():
    """Nothing is known of what it holds, and that is what is recorded."""
    with pytest.raises(MediaError) as caught:
        look(video(drifting(5)), deadline=Deadline(0))
    assert (caught.value.status, caught.value.decoder_broke) == (ItemStatus.UNREADABLE, True)
