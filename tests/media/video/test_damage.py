"""Of damaged, truncated and mutated videos what there is of them is judged."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.media import moving_pictures, pictures
from support.media.moving_pictures import CODECS, drifting, scene, video, with_hidden, with_index_first
from support.media.video_looks import COUNT, found, hiding, kinds, look, refusal

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, sniff
from lemmy_safety.media.moving.video import decode_video
from lemmy_safety.records import AnomalyKind, ItemStatus


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


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
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
