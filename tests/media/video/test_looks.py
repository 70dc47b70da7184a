"""A scene of half a second is found anywhere in a video, in every codec, while there is time."""

from __future__ import annotations

import io
import itertools
import struct
from dataclasses import replace

import av
import pytest
from support.media.moving_pictures import CODECS, FRAME_MS, drifting, scene, video, with_hidden, with_key_frames
from support.media.video_looks import COUNT, HIDDEN_AT, HIDDEN_FRAMES, LIMITS, found, hiding, look

from lemmy_safety.errors import MediaError
from lemmy_safety.media import sniff
from lemmy_safety.media.deadline import Deadline
from lemmy_safety.media.moving import video as videos
from lemmy_safety.media.moving.video import decode_video
from lemmy_safety.records import AnomalyKind, ItemStatus


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


@pytest.mark.long
@pytest.mark.parametrize("name", ["mp4 h264", "mkv h265", "webm vp9", "webm av1", "webm vp8"])
def test_key_frames_all_along_change_nothing(name, skimming):
    """With a key frame every second, going from one to the next finds what lies between, where it lies."""
    codec = CODECS[name]
    if not codec.available:
        pytest.skip(f"this build of FFmpeg has no {codec.encoder}")
    for at in (5, 27, 45):
        frames = with_hidden(drifting(COUNT), at, HIDDEN_FRAMES)
        media = look(video(frames, with_key_frames(codec, 25)))
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
    assert anomaly.detail.startswith("checked 32 of about ")


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


@pytest.mark.long
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


def ticking(step):
    ticks = itertools.count()
    return Deadline(20, lambda: next(ticks) * step)


def test_looking_stops_when_the_time_is_up():
    """What was seen until then is judged, and an anomaly says how many seconds were not looked at."""
    media = look(video(drifting(COUNT)), deadline=ticking(1.0))
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail.endswith(" of 2.4 s could not be checked within 20 s")


@pytest.mark.long
def test_when_the_time_is_short_looks_are_spread_over_the_length(skimming):
    """Key frames of the whole length come first, so that a video that takes too long is not looked at in its beginning only."""
    codec = replace(CODECS["mp4 h264"], options={**CODECS["mp4 h264"].options, "g": "25"})
    frames = [picture for number in range(12) for picture in drifting(25, seed=number)]
    media = look(video(frames, codec), deadline=ticking(20 / 330))
    seconds = [frame.at_s for frame in media.frames]
    assert {int(second) for second in seconds} == set(range(12))
    (anomaly,) = media.info.anomalies
    assert " of 12.0 s could not be checked within 20 s" in anomaly.detail


def test_without_any_time_it_is_unreadable_because_of_the_decoder():
    """Nothing is known of what it holds, and that is what is recorded."""
    with pytest.raises(MediaError) as caught:
        look(video(drifting(5)), deadline=Deadline(0))
    assert (caught.value.status, caught.value.decoder_broke) == (ItemStatus.UNREADABLE, True)
