"""Containers that say what is not so hide nothing."""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.media.moving_pictures import CODECS, drifting, scene, video, with_key_frames
from support.media.video_looks import COUNT, LIMITS, found, hiding, look, refusal

from lemmy_safety.records import ItemStatus


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
    for written in (codec, with_key_frames(codec, 20)):
        assert found(look(hiding(written).replace(b"stss", b"free")))


@pytest.mark.parametrize("delta", [0, 1, 0x7FFFFFFF])
def test_lies_about_how_long_frames_are_shown_hide_nothing(delta):
    """Frames of no length, of a moment, of a month: what is hidden among them is found, and times stay sane."""
    data = bytearray(hiding(replace(CODECS["mp4 mpeg4"])))
    at = data.index(b"stts") + 12
    data[at : at + 4] = struct.pack(">I", delta)
    media = look(bytes(data))
    assert found(media)
    assert all(0 <= frame.at_s < 1e7 and math.isfinite(frame.at_s) for frame in media.frames)


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
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
