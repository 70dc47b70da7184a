"""What containers say and viewers obey: turned, stretched, in colours of their own, transparent, with covers."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from support.media import moving_pictures, pictures
from support.media.moving_pictures import drifting, scene, shows, video, with_hidden
from support.media.video_looks import COUNT, found, kinds, look

from lemmy_safety.media.moving import video as videos
from lemmy_safety.media.moving.video import COVER
from lemmy_safety.media.pixels.rendering import ON_DARK
from lemmy_safety.records import AnomalyKind


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
    """An anamorphic picture is stretched as players do; proportions that no one has are not believed."""
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
        "a cover picture of 80 x 60 px alongside the video",
    )
    assert anomaly.size == len(pictures.encode(scene(99, (80, 60)), "jpeg"))
    assert media.info.frame_count == 20


def test_a_cover_that_shows_the_video_is_no_frame_of_its_own():
    """A cover taken from the video costs nothing to look at twice."""
    media = look(video(drifting(20), cover=drifting(1)[0]))
    assert COVER not in [frame.view for frame in media.frames]
    assert kinds(media) == [AnomalyKind.EMBEDDED_PICTURE]
