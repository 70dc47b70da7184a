"""Inputs that hurt once, found by ``evaluation/fuzz_media.py``; made here in small."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import ImageCms
from support.media import pictures
from support.media.files import STILLS
from support.media.hiding_places import white_with_alpha
from support.media.judging import MediaJudge
from support.media.moving_pictures import CODECS, drifting, video

from lemmy_safety.errors import MediaError
from lemmy_safety.media import InlineDecoder, MediaLimits, decode
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.records import ItemStatus

LIMITS = MediaLimits(max_bytes=5_000_000, max_pixels=5_000_000)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
#: Plays what it is given and then collects garbage, which is when a double free shows.
_PLAY_AND_COLLECT = """
import gc, sys
from lemmy_safety.media import MediaLimits, sniff
from lemmy_safety.media.moving import video
data = sys.stdin.buffer.read()
media = video.decode_video(data, sniff.sniff(data), MediaLimits(max_bytes=10**6, max_pixels=10**6))
print(len(media.frames), media.info.width, media.info.height)
gc.collect()
"""
#: Decodes what it is given with four megabytes of address space left, and then with as much as it wants.
_DECODE_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, decode
data = sys.stdin.buffer.read()
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for limit in (mapped + 4 * 2**20, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        print(decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**8)).info.width)
    except MediaError as error:
        print(error.reason, error.decoder_broke)
"""


@pytest.fixture
def judge():
    return MediaJudge(InlineDecoder(LIMITS))


def test_a_colour_profile_in_an_animation_is_freed_once():
    """PyAV frees a profile's dictionary twice when side data of its frame is looked at; the process ends much later."""
    frames = [pictures.plasma(64, 48, seed=seed) for seed in range(4)]
    data = pictures.encode(frames[0], "png", save_all=True, append_images=frames[1:], duration=100, icc_profile=PROFILE)
    done = subprocess.run([sys.executable, "-c", _PLAY_AND_COLLECT], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"4", b"64", b"48"]), done.stderr.decode()


def turned_film(file_format, rotation):
    """A QuickTime file of four pictures of 64 x 48 pixels, each with a colour profile, and a display matrix for them."""
    film = io.BytesIO()
    with av.open(film, "w", format="mov") as container:
        stream = container.add_stream({"jpeg": "mjpeg"}.get(file_format, file_format), rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, {"jpeg": "yuvj420p", "png": "rgb24"}[file_format]
        stream.time_base = Fraction(1, 10)
        stream.set_display_rotation(*rotation)
        for number in range(4):
            picture = pictures.plasma(64, 48, seed=number)
            packet = av.Packet(pictures.encode(picture, file_format, icc_profile=PROFILE))
            packet.stream, packet.time_base, packet.is_keyframe = stream, stream.time_base, True
            packet.pts = packet.dts = number
            container.mux(packet)
    return film.getvalue()


@pytest.mark.parametrize("rotation", [(0, False, False), (90, False, False), (0, True, False), (270, False, True)])
@pytest.mark.parametrize("file_format", ["png", "jpeg"])
def test_a_colour_profile_in_a_turned_video_is_freed_once(file_format, rotation):
    """The display matrix is side data as well; looking at it does not touch the profile, and turns the picture."""
    data = turned_film(file_format, rotation)
    done = subprocess.run([sys.executable, "-c", _PLAY_AND_COLLECT], input=data, capture_output=True, check=False)
    size = [b"48", b"64"] if rotation[0] else [b"64", b"48"]
    assert (done.returncode, done.stdout.split()) == (0, [b"4", *size]), done.stderr.decode()
    shown = np.asarray(pictures.plasma(64, 48, seed=0))
    shown = np.rot90(shown, rotation[0] // 90)
    shown = shown[:, ::-1] if rotation[1] else shown
    shown = shown[::-1] if rotation[2] else shown
    frame = decode(data, LIMITS).frames[0].pixels
    assert np.abs(frame.astype(int) - shown).mean() < 12


def with_absurd_table(data):
    """An MP4 that claims a billion entries in the table of its frames' lengths."""
    at = data.index(b"stts") + 8
    return data[:at] + (2**30).to_bytes(4, "big") + data[at + 4 :]


@pytest.mark.parametrize("form", ["mp4 h264", "mov h264"])
def test_a_video_that_asks_for_absurd_amounts_of_memory_is_damaged(form):
    """FFmpeg calls that a shortage of memory; there was none, and it holds no picture."""
    data = with_absurd_table(video(drifting(6), CODECS[form]))
    with ProcessDecoder(LIMITS, workers=1, timeout_s=30, memory_bytes=256 * 1024 * 1024) as decoder:
        for one in (decoder, InlineDecoder(LIMITS)):
            with pytest.raises(MediaError) as caught:
                one.decode(data)
            assert caught.value.reason.endswith("cannot be decoded: it asks for more memory than any file may have")
            assert not caught.value.decoder_broke


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds processes to such a limit")
@pytest.mark.parametrize("codec", ["mov png", "mp4 h264"])
def test_a_video_that_needs_more_memory_than_there_is_may_be_healthy(codec):
    """A real shortage says nothing of the file."""
    data = video([pictures.gradient(2560, 1440)], replace(CODECS[codec], size=(2560, 1440)))
    program = [sys.executable, "-c", _DECODE_IN_LITTLE_MEMORY]
    said = subprocess.run(program, input=data, capture_output=True, check=True).stdout
    assert said.splitlines() == [b"out of memory True", b"2560"]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", ["webp", "webp alpha", "webp lossless"])
def test_a_webp_cut_anywhere_ends_with_a_status(judge, form, keep):
    """Mending a cut WebP with transparency failed with a ValueError of our own."""
    picture = (
        white_with_alpha(pictures.photo("coffee").resize((96, 72))) if "alpha" in form else pictures.plasma(96, 72)
    )
    data = pictures.truncated(STILLS[form](picture), keep)
    result = judge(form, data)
    assert result.status in {ItemStatus.CHECKED, ItemStatus.UNREADABLE}
    assert not result.decoder_broke


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.99])
def test_a_cut_lossless_webp_of_few_colours_is_seen(judge, keep):
    """What libwebp shows row by row: FFmpeg refuses such a file when what is missing is filled with zeros."""
    result = judge("few colours", pictures.truncated(STILLS["webp lossless"](pictures.shapes(192, 144, seed=3)), keep))
    assert result.status is ItemStatus.CHECKED, result.reason
