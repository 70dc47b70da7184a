"""Stills of every format become the frame that a viewer sees; what is not one is refused with its reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from support.media import pictures

from lemmy_safety.errors import MediaError
from lemmy_safety.media import DECODER_VERSION, InlineDecoder, MediaLimits, decode, decoding, sniff
from lemmy_safety.media.stills import formats
from lemmy_safety.media.stills.formats import Pages
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)


def refusal(data, limits=LIMITS):
    with pytest.raises(MediaError) as caught:
        decode(data, limits)
    return caught.value


@pytest.mark.parametrize(("file_format", "media_type"), pictures.STILL_FORMATS.items())
def test_a_still_of_every_format_is_decoded_with_its_colours(file_format, media_type):
    """Size, media type and colours of each format come out right, in one frame that is the whole picture."""
    image = pictures.plasma(200, 150, seed=3)
    media = decode(pictures.encode(image, file_format), LIMITS)
    (frame,) = media.frames
    assert (media.info.media_type, media.info.width, media.info.height) == (media_type, 200, 150)
    assert (media.info.frame_count, media.info.duration_s, media.info.anomalies) == (1, None, ())
    assert (frame.index, frame.at_s, frame.view, frame.plain) == (0, None, "", False)
    assert (frame.pixels.shape, frame.pixels.dtype) == ((150, 200, 3), np.uint8)
    assert frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels.astype(int) - np.asarray(image)).mean() < 6  # the GIF's 256 colours differ most


@pytest.mark.long
@pytest.mark.parametrize("file_format", pictures.STILL_FORMATS)
def test_large_pictures_become_small_frames(file_format):
    """The shorter side of a frame is 512 px; the info keeps the real size; the picture looks the same."""
    image = pictures.photo("chelsea").resize((1600, 1200), Image.Resampling.BICUBIC)
    media = decode(pictures.encode(image, file_format), LIMITS)
    assert (media.info.width, media.info.height) == (1600, 1200)
    assert media.frames[0].pixels.shape == (512, 683, 3)
    same = np.asarray(image.resize((683, 512), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(media.frames[0].pixels - same).mean() < 8


@pytest.mark.parametrize(
    ("size", "shape"),
    [((6000, 100), (68, 4096, 3)), ((30, 20_000), (4096, 6, 3)), ((1, 1), (1, 1, 3)), ((9000, 1), (1, 4096, 3))],
)
def test_frames_of_extreme_shapes_are_bounded(size, shape):
    """The longer side of a frame is at most 4096 px, no side vanishes, and nothing is enlarged."""
    media = decode(pictures.encode(Image.new("RGB", size, (9, 9, 9)), "png"), LIMITS)
    assert media.frames[0].pixels.shape == shape
    assert (media.info.width, media.info.height) == size


@pytest.mark.parametrize(("file_format", "media_type"), pictures.ANIMATION_FORMATS.items())
def test_an_animation_is_played(file_format, media_type):
    """All different frames of a short animation are frames of the medium, with their times; the first one comes first."""
    frames = [pictures.shapes(seed=n) for n in range(5)]
    media = decode(pictures.encode_animation(frames, file_format), LIMITS)
    assert (media.info.media_type, media.info.frame_count, media.info.anomalies) == (media_type, 5, ())
    assert [frame.index for frame in media.frames] == [0, 1, 2, 3, 4]
    assert [frame.at_s for frame in media.frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=0.011)
    for frame, image in zip(media.frames, frames, strict=True):
        assert np.abs(frame.pixels.astype(int) - np.asarray(image)).mean() < 8


def test_all_pages_of_a_tiff_are_frames():
    """Pages of a TIFF are looked at like frames, but have no time; each has its own size."""
    pages = [pictures.shapes(160 + 4 * n, 120, seed=n) for n in range(3)]
    media = decode(pictures.encode(pages[0], "tiff", save_all=True, append_images=pages[1:]), LIMITS)
    assert (media.info.frame_count, media.info.width, media.info.anomalies) == (3, 160, ())
    assert [(frame.index, frame.at_s) for frame in media.frames] == [(0, None), (1, None), (2, None)]
    for frame, image in zip(media.frames, pages, strict=True):
        assert np.array_equal(frame.pixels, np.asarray(image))


def test_pages_beyond_the_limit_are_reported():
    """Of more pages than frames are allowed, the first ones are looked at, and an anomaly says so."""
    pages = [pictures.shapes(seed=n) for n in range(4)]
    data = pictures.encode(pages[0], "tiff", save_all=True, append_images=pages[1:])
    media = decode(data, MediaLimits(max_bytes=10**7, max_pixels=10**7, max_frames=3))
    assert len(media.frames) == 3
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert anomaly.detail == "only 3 of 4 frames or pages could be checked"
    few_pixels = decode(data, MediaLimits(max_bytes=10**7, max_pixels=160 * 120 * 2))
    assert len(few_pixels.frames) == 2


def test_a_broken_page_hides_no_other():
    """What comes before a damaged page of a TIFF is judged, and the damage is recorded."""
    pages = [pictures.shapes(seed=n) for n in range(2)]
    data = bytearray(pictures.encode(pages[0], "tiff", save_all=True, append_images=pages[1:], compression="tiff_lzw"))
    first = struct.unpack("<I", data[4:8])[0]
    link = first + 2 + 12 * struct.unpack("<H", data[first : first + 2])[0]
    second = struct.unpack("<I", data[link : link + 4])[0]
    data[second + 2 + 8 : second + 2 + 12] = struct.pack("<I", 0)  # a width of nothing
    media = decode(bytes(data), LIMITS)
    assert [frame.index for frame in media.frames] == [0]
    assert {anomaly.kind for anomaly in media.info.anomalies} == {AnomalyKind.DAMAGED, AnomalyKind.FRAMES_LEFT_OUT}


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", ItemStatus.UNREADABLE, "empty file"),
        (b"I am a text named photo.jpg\n", ItemStatus.UNREADABLE, "not a picture: looks like a text"),
        (b"<!doctype html><p>404</p>", ItemStatus.UNREADABLE, "not a picture: looks like a web page"),
        (bytes(range(256)), ItemStatus.UNREADABLE, "not a picture: of no kind that is known"),
        (b"PK\3\4" + bytes(40), ItemStatus.UNREADABLE, "not a picture: looks like an archive"),
        (b"\xff\xd8\xff\xe0 only the start", ItemStatus.UNREADABLE, "a JPEG picture that cannot be decoded: "),
        (b"\0\0\0\x14ftypisom\0\0\0\0isom", ItemStatus.UNREADABLE, "an MP4 video"),
        (b"qoif" + bytes(40), ItemStatus.UNSUPPORTED, "a QOI picture; this version cannot decode those"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ItemStatus.UNSUPPORTED, "an SVG drawing"),
    ],
)
def test_what_is_no_still_is_refused_by_its_own_name(data, status, words):
    """Texts are unreadable, videos and foreign pictures unsupported, each with words a person understands."""
    error = refusal(data)
    assert error.status is status
    assert error.reason.startswith(words)


@pytest.mark.parametrize("bomb", [pictures.png_bomb(), pictures.gif_bomb(50_000, 50_000)])
def test_an_enormous_header_is_refused_with_the_numbers(bomb):
    """A file of a hundred bytes that announces 50,000 x 50,000 px is too large; nothing is allocated for it."""
    error = refusal(bomb)
    assert error.status is ItemStatus.TOO_LARGE
    assert error.reason == "50000 x 50000 px is over the limit of 100 megapixels"


def test_an_enormous_webp_is_refused_before_its_library_sees_it():
    """libwebp allocates the canvas when it opens a file, so the header is read by ourselves."""
    limits = MediaLimits(max_bytes=10**6, max_pixels=50_000_000)
    assert refusal(pictures.webp_bomb(), limits).reason == "16383 x 16383 px is over the limit of 200 megapixels"


@pytest.mark.parametrize(("lossless", "mode"), [(False, "RGB"), (True, "RGB"), (False, "RGBA")])
def test_the_webp_header_is_read_in_all_three_shapes(lossless, mode):
    """The limit counts for lossy, lossless and extended WebP alike."""
    data = pictures.encode(pictures.gradient(200, 100).convert(mode), "webp", lossless=lossless, exif=b"Exif\0\0")
    tight = MediaLimits(max_bytes=1_000_000, max_pixels=19_999)
    assert refusal(data, tight).reason == "200 x 100 px is over the limit of 0.019999 megapixels"
    assert decode(data, MediaLimits(max_bytes=1_000_000, max_pixels=20_000)).info.width == 200


def test_a_gif_frame_larger_than_its_screen_is_refused():
    """A GIF whose screen is 1 x 1 px and whose frame is enormous is too large."""
    error = refusal(pictures.gif_bomb(on_screen=False))
    assert error.status is ItemStatus.TOO_LARGE
    assert "100 megapixels" in error.reason


def test_a_tiff_tile_larger_than_its_picture_is_refused():
    """Tiles are allocated whole, so their size counts as well."""
    entries = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: 50_000, 323: 50_000, 324: 8, 325: 8}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    error = refusal(b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(64))
    assert error.status is ItemStatus.TOO_LARGE
    assert error.reason == "50000 x 50000 px is over the limit of 100 megapixels"


def test_a_file_over_the_byte_limit_is_refused():
    """More bytes than allowed are too large, with both numbers."""
    error = refusal(pictures.encode(pictures.gradient(), "bmp"), MediaLimits(max_bytes=100, max_pixels=10**6))
    assert (error.status, error.reason) == (ItemStatus.TOO_LARGE, "57654 bytes are over the limit of 100 bytes")


def test_our_limit_decides_and_not_pillows(monkeypatch):
    """Pillow's own limit neither refuses nor warns below ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for file_format in pictures.STILL_FORMATS:
        assert decode(pictures.encode(pictures.gradient(), file_format), LIMITS).info.width == 160


def test_no_limit_of_pillow_is_lowered(monkeypatch):
    """Others in the same process keep the limit they had."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**9)
    decode(pictures.encode(pictures.gradient(), "png"), LIMITS)
    assert Image.MAX_IMAGE_PIXELS == 10**9


def test_running_out_of_memory_is_said(monkeypatch):
    """A picture that does not fit into memory costs that one object, and no one claims to know what it holds."""

    class Hungry(JpegImagePlugin.JpegImageFile):
        def load(self):
            raise MemoryError

    monkeypatch.setitem(formats._READERS, sniff.JPEG, lambda data: Pages(1, iter((Hungry(io.BytesIO(data)),))))
    error = refusal(pictures.encode(pictures.gradient(), "jpeg"))
    assert (error.status, error.reason, error.decoder_broke) == (ItemStatus.UNREADABLE, "out of memory", True)


def test_a_format_that_pillow_was_built_without_is_unsupported(monkeypatch):
    """Where Pillow has no AVIF library, AVIF files are unsupported, not unreadable."""
    monkeypatch.setitem(formats._MISSING, sniff.AVIF, formats._NOT_IN_PILLOW)
    error = refusal(pictures.encode(pictures.gradient(), "avif"))
    assert error.status is ItemStatus.UNSUPPORTED
    assert error.reason == "an AVIF picture; the installed Pillow was built without that format"


def test_the_decoder_says_what_it_can_and_may_decode():
    """The version names abilities and limits, so that raised limits make refused objects be read again."""
    assert DECODER_VERSION.startswith("media-3+")
    with InlineDecoder(LIMITS) as decoder:
        assert decoder.version == f"{DECODER_VERSION} (64 MiB, 100 megapixels, 32 frames in 20 s, crops from 1.4:1)"
        assert decoder.decode(pictures.encode(pictures.gradient(), "png")).info.width == 160


def test_a_fault_of_a_decoder_costs_one_object(monkeypatch, caplog):
    """An error that no one foresaw is an unreadable object whose decoder broke, and is logged with its traceback."""

    def broken(data, kind, limits):
        raise ZeroDivisionError("of a library")

    monkeypatch.setattr(decoding, "decode_still", broken)
    with InlineDecoder(LIMITS) as decoder, pytest.raises(MediaError) as caught:
        decoder.decode(pictures.encode(pictures.gradient(), "png"))
    assert (caught.value.status, caught.value.decoder_broke) == (ItemStatus.UNREADABLE, True)
    assert "of a library" in caplog.text


@pytest.mark.parametrize("limits", [{"max_bytes": 0, "max_pixels": 1}, {"max_bytes": 1, "max_pixels": 0}])
def test_limits_that_allow_nothing_are_refused(limits):
    """A limit below one is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least 1"):
        MediaLimits(**limits)


def test_decoding_opens_no_file_for_writing(tmp_path):
    """No image byte reaches a disk: a process that decodes every format opens nothing for writing."""
    code = """
import pathlib, sys
from lemmy_safety.media import MediaLimits, decode
files = [path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()]
def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+"):
        raise SystemExit(f"opened {arguments[0]} for writing")
sys.addaudithook(watch)
for data in files:
    decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**8))
print(len(files))
"""
    for file_format in pictures.STILL_FORMATS:
        data = pictures.encode(pictures.photo("coffee"), file_format)
        (tmp_path / file_format).write_bytes(data)
        (tmp_path / f"cut-{file_format}").write_bytes(pictures.truncated(data, 0.6))
    run = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == (str(2 * len(pictures.STILL_FORMATS)), "")
