"""Stills of every format become the frame that a viewer sees; what is not one is refused with its reason."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from support import pictures

from lemmy_safety.errors import MediaError
from lemmy_safety.media import DECODER_VERSION, InlineDecoder, MediaLimits, decode, decoding, sniff
from lemmy_safety.records import ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)


def refusal(data, limits=LIMITS):
    with pytest.raises(MediaError) as caught:
        decode(data, limits)
    return caught.value


@pytest.mark.parametrize(("file_format", "media_type"), pictures.STILL_FORMATS.items())
def test_a_still_of_every_format_is_decoded_with_its_colours(file_format, media_type):
    """Size, media type and colours of each format come out right."""
    image = pictures.plasma(200, 140, seed=3)
    media = decode(pictures.encode(image, file_format), LIMITS)
    (frame,) = media.frames
    assert (media.info.media_type, media.info.width, media.info.height) == (media_type, 200, 140)
    assert (media.info.frame_count, media.info.anomalies) == (1, ())
    assert (frame.index, frame.at_s) == (0, None)
    assert (frame.pixels.shape, frame.pixels.dtype) == ((140, 200, 3), np.uint8)
    assert frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels.astype(int) - np.asarray(image)).mean() < 6  # the GIF's 256 colours differ most


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
def test_of_an_animation_the_first_frame_is_judged_and_that_is_said(file_format, media_type):
    """An animation gives its first frame, its frame count, and an anomaly naming the limitation."""
    frames = [pictures.shapes(seed=n) for n in range(5)]
    media = decode(pictures.encode_animation(frames, file_format), LIMITS)
    assert (media.info.media_type, media.info.frame_count, len(media.frames)) == (media_type, 5, 1)
    assert media.info.anomalies == ("first_frame_only: only the first of 5 frames was looked at",)
    assert media.frames[0].at_s == 0.0
    assert np.abs(media.frames[0].pixels.astype(int) - np.asarray(frames[0])).mean() < 8


def test_of_a_tiff_with_pages_the_first_is_judged_and_that_is_said():
    """Pages of a TIFF are counted like frames, but have no time."""
    pages = [pictures.shapes(seed=n) for n in range(3)]
    media = decode(pictures.encode(pages[0], "tiff", save_all=True, append_images=pages[1:]), LIMITS)
    assert media.info.frame_count == 3
    assert media.info.anomalies == ("first_frame_only: only the first of 3 frames was looked at",)
    assert media.frames[0].at_s is None


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", ItemStatus.UNREADABLE, "empty file"),
        (b"I am a text named photo.jpg\n", ItemStatus.UNREADABLE, "not a picture: looks like a text"),
        (b"<!doctype html><p>404</p>", ItemStatus.UNREADABLE, "not a picture: looks like a web page"),
        (bytes(range(256)), ItemStatus.UNREADABLE, "not a picture: of no kind that is known"),
        (b"PK\3\4" + bytes(40), ItemStatus.UNREADABLE, "not a picture: looks like an archive"),
        (b"\xff\xd8\xff\xe0 only the start", ItemStatus.UNREADABLE, "a JPEG picture that cannot be decoded: "),
        (b"\0\0\0\x14ftypisom\0\0\0\0isom", ItemStatus.UNSUPPORTED, "an MP4 video; this version does not look into"),
        (b"\x1aE\xdf\xa3\x84webm", ItemStatus.UNSUPPORTED, "a WebM video"),
        (b"\xff\x0a" + bytes(40), ItemStatus.UNSUPPORTED, "a JPEG XL picture; this version cannot decode those"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ItemStatus.UNSUPPORTED, "a HEIC picture"),
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
    assert refusal(pictures.webp_bomb()).reason == "16383 x 16383 px is over the limit of 100 megapixels"


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


def test_running_out_of_memory_is_too_large(monkeypatch):
    """A picture that does not fit into memory costs that one object."""

    class Hungry(JpegImagePlugin.JpegImageFile):
        def load(self):
            raise MemoryError

    monkeypatch.setitem(decoding._READERS, sniff.JPEG, Hungry)
    error = refusal(pictures.encode(pictures.gradient(), "jpeg"))
    assert (error.status, error.reason) == (
        ItemStatus.TOO_LARGE,
        "a JPEG picture that needs more memory than there is",
    )


def test_a_format_that_pillow_was_built_without_is_unsupported(monkeypatch):
    """Where Pillow has no AVIF library, AVIF files are unsupported, not unreadable."""
    monkeypatch.setitem(decoding._OPTIONAL, sniff.AVIF, False)
    error = refusal(pictures.encode(pictures.gradient(), "avif"))
    assert error.status is ItemStatus.UNSUPPORTED
    assert "built without" in error.reason


def test_the_decoder_says_what_it_can_and_may_decode():
    """The version names abilities and limits, so that raised limits make refused objects be read again."""
    with InlineDecoder(LIMITS) as decoder:
        assert decoder.version == f"{DECODER_VERSION} (64 MiB, 100 megapixels)"
        assert decoder.decode(pictures.encode(pictures.gradient(), "png")).info.width == 160


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_large_jpeg_is_decoded_in_little_memory(tmp_path):
    """A JPEG of 40 megapixels costs less than half of its 120 MB of pixels."""
    code = """
import pathlib, sys
from lemmy_safety.media import MediaLimits, decode
data = pathlib.Path(sys.argv[1]).read_bytes()
def peak_kib():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
before = peak_kib()
media = decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**8))
assert (media.info.width, media.info.height) == (8000, 5000)
print((peak_kib() - before) // 1024)
"""
    path = tmp_path / "large"
    path.write_bytes(pictures.encode(pictures.photo("retina").resize((8000, 5000)), "jpeg"))
    run = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert int(run.stdout) < 60
