"""Looking at a video as the decoder does, and finding the scene that was hidden in it."""

from __future__ import annotations

import struct

import pytest
from support.media import moving_pictures
from support.media.moving_pictures import CODECS, drifting, scene, shows, video, with_hidden

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, sniff
from lemmy_safety.media.moving.video import decode_video

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


def box(name, body):
    return struct.pack(">I", len(body) + 8) + name + body
