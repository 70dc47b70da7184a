"""Formats that need an extra or that few servers hold: HEIC, JPEG XL, JPEG 2000, icons."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.media import pictures
from support.media.files import VIDEOS

try:
    import pillow_heif
    from pillow_heif.as_plugin import _save_heif
except ImportError:
    pillow_heif = None
else:
    Image.register_save("HEIF", _save_heif)  # the writer alone: nothing else in this process is to read HEIC

from lemmy_safety.errors import MediaError
from lemmy_safety.media import DECODER_VERSION, MediaLimits, decode, sniff
from lemmy_safety.media.stills import formats, jxl
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=10_000_000, crop_ratio=0)

needs_heif = pytest.mark.skipif(not formats.readable(sniff.HEIC), reason="lemmy-safety[heic] is not installed")
needs_jxl = pytest.mark.skipif(not formats.readable(sniff.JXL), reason="lemmy-safety[jxl] is not installed")

# Four frames of 320 x 120 with a digit each, by libjxl 0.7's encoder: the plugin writes no animations. Only the header
# matters, so the rest is left out.
ANIMATED_JXL = bytes.fromhex("ff0ab8037e0a0690505c1200")
TURNED = Image.Transpose.ROTATE_270


def encode_heic(*images, **options):
    file = pillow_heif.HeifFile()
    for image in images:
        file.add_from_pillow(image)
    out = io.BytesIO()
    file.save(out, quality=80, **options)
    return out.getvalue()


def encode_jxl(image, **options):
    out = io.BytesIO()
    image.save(out, "JXL", effort=1, **options)
    return out.getvalue()


def off_by(media, image, index=0):
    return np.abs(media.frames[index].pixels.astype(int) - np.asarray(image)).mean()


@needs_heif
def test_a_heic_is_decoded_upright():
    """Size, colours and rotation of a HEIC come out right; its rotation is a property of the file, not of EXIF."""
    image = pictures.photo("coffee").resize((240, 180))
    media = decode(encode_heic(image), LIMITS)
    assert (media.info.media_type, media.info.width, media.info.height) == ("image/heic", 240, 180)
    assert off_by(media, image) < 6
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    image.save(out, "HEIF", exif=exif.tobytes())
    media = decode(out.getvalue(), LIMITS)
    assert (media.info.width, media.info.height) == (180, 240)
    assert off_by(media, image.transpose(TURNED)) < 6


@needs_heif
def test_all_pictures_of_a_heic_are_looked_at():
    """A burst has its main picture first, wherever that stands in the file."""
    images = [pictures.photo(name).resize((160, 120)) for name in ("coffee", "chelsea", "rocket")]
    media = decode(encode_heic(*images, primary_index=1), LIMITS)
    assert (media.info.frame_count, [frame.index for frame in media.frames]) == (3, [0, 1, 2])
    for index, number in enumerate([1, 0, 2]):
        assert off_by(media, images[number], index) < 8


def test_a_heic_sequence_is_played():
    """Pictures in a track of a HEIC are looked at like a video, whether the extra for the still ones is there or not."""
    frames = [pictures.shapes(96, 72, seed=n) for n in range(4)]
    data = bytearray(VIDEOS["mp4 h264"](frames, [400] * 4))
    data[8:12] = b"msf1"
    assert sniff.sniff(data) is sniff.HEIC
    media = decode(bytes(data), LIMITS)
    assert (media.info.media_type, media.info.frame_count) == ("image/heic", 4)
    assert [frame.index for frame in media.frames] == [0, 1, 2, 3]
    for index, image in enumerate(frames):
        assert off_by(media, image, index) < 16


@needs_heif
def test_damaged_heics_are_refused_or_judged():
    """A cut-off HEIC ends with a MediaError, and never as a blank picture that is recorded as looked at."""
    data = encode_heic(pictures.photo("coffee").resize((160, 120)))
    for share in (0.2, 0.5, 0.9):
        with pytest.raises(MediaError) as caught:
            decode(pictures.truncated(data, share), LIMITS)
        assert caught.value.status is ItemStatus.UNREADABLE


@needs_jxl
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_jpeg_xl_is_decoded(mode):
    """Colours, grey and transparency of a JPEG XL come out right."""
    image = pictures.photo("coffee").resize((240, 180))
    media = decode(encode_jxl(image.convert(mode), lossless=True), LIMITS)
    assert (media.info.media_type, media.info.width, media.info.height) == ("image/jxl", 240, 180)
    assert off_by(media, image if mode.startswith("RGB") else image.convert("L").convert("RGB")) < 2
    assert len(media.frames) == 1


@needs_jxl
def test_a_deep_jpeg_xl_is_shown_as_its_profile_says():
    """The writer marks 16-bit samples as linear light, so a screen shows them brighter than their numbers."""
    linear = np.linspace(0, 65_535, 240 * 180).reshape(180, 240).astype(np.uint16)
    media = decode(encode_jxl(Image.fromarray(linear), lossless=True), LIMITS)
    light = linear / 65_535
    screen = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert off_by(media, np.rint(255 * screen)[..., None].repeat(3, axis=2)) < 1.5


@needs_jxl
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded():
    """Its library decodes at once and asks for no limit, so the header is read first."""
    sizes = [(8, 8), (256, 256), (257, 33), (160, 90), (640, 480), (9000, 3), (1, 1), (1200, 1000), (2, 1030)]
    for size in sizes:
        for options in ({}, {"use_container": True}):
            header = jxl.read_header(encode_jxl(Image.new("RGB", size), **options))
            assert header == jxl.JxlHeader(*size, animated=False)
    data = encode_jxl(pictures.gradient(), use_container=True)
    with pytest.raises(MediaError) as caught:
        decode(data, MediaLimits(max_bytes=10**6, max_pixels=1000))
    assert caught.value.reason == "160 x 120 px is over the limit of 0.001 megapixels"


def test_headers_of_no_jpeg_xl_are_none():
    """Rubbish has no size and is no error."""
    assert jxl.read_header(b"") is None
    assert jxl.read_header(b"\0\0\0\x0cJXL \r\n\x87\n") is None
    assert jxl.read_header(b"\xff\x0a") == jxl.JxlHeader(1, 1, animated=False)


@needs_jxl
def test_an_animated_jpeg_xl_is_unsupported():
    """The library gives only what the last frame changed, which must not pass for the picture."""
    with pytest.raises(MediaError) as caught:
        decode(ANIMATED_JXL + bytes(100), LIMITS)
    assert caught.value.status is ItemStatus.UNSUPPORTED
    assert caught.value.reason.startswith("an animated JPEG XL picture")


@needs_jxl
def test_a_jpeg_packed_into_a_jpeg_xl_is_that_jpeg(tmp_path):
    """Repacked JPEGs are unpacked and read as what they are."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.encode(pictures.photo("coffee"), "jpeg"))
    with Image.open(path) as image:
        out = io.BytesIO()
        image.save(out, "JXL", lossless_jpeg=True)
    media = decode(out.getvalue(), LIMITS)
    assert (media.info.media_type, media.info.width) == ("image/jxl", 600)
    assert off_by(media, pictures.photo("coffee")) < 6


@needs_jxl
def test_damaged_jpeg_xls_are_refused():
    """A cut-off JPEG XL is unreadable; its library gives nothing of it."""
    data = encode_jxl(pictures.photo("coffee"))
    with pytest.raises(MediaError) as caught:
        decode(pictures.truncated(data, 0.5), LIMITS)
    assert caught.value.status is ItemStatus.UNREADABLE


@needs_jxl
def test_nobody_else_gets_a_new_opener():
    """Importing this room does not make every Image.open of the process read more formats."""
    code = "import PIL.Image as I; import lemmy_safety.media; I.init(); print('JXL' in I.OPEN, 'HEIF' in I.OPEN)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"]


def test_without_the_extras_their_formats_are_unsupported():
    """A JPEG XL and a HEIC name the extra that reads them, and the decoder's version does not claim them."""
    code = """
import sys
from importlib import metadata
sys.modules["pillow_jxl"] = sys.modules["pillow_heif"] = None  # not installed, so that pip has no record either
recorded = metadata.distribution
def without_extras(name):
    if name.startswith("pillow-") or name.startswith("pillow_"):
        raise metadata.PackageNotFoundError(name)
    return recorded(name)
metadata.distribution = without_extras
from lemmy_safety.errors import MediaError
from lemmy_safety.media import DECODER_VERSION, MediaLimits, decode
for data in (b"\\xff\\x0a" + bytes(40), b"\\0\\0\\0\\x18ftypheic\\0\\0\\0\\0mif1heic"):
    try:
        decode(data, MediaLimits(max_bytes=100, max_pixels=100))
    except MediaError as error:
        print(error.status, error.reason)
print(DECODER_VERSION)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert lines[:2] == [
        "unsupported a JPEG XL picture; install lemmy-safety[jxl]",
        "unsupported a HEIC picture; install lemmy-safety[heic]",
    ]
    assert not {"jxl", "heic"} & set(lines[2].split("+"))


@needs_heif
@needs_jxl
def test_the_version_names_the_optional_formats():
    """Installing an extra changes the version, so that refused objects are read again."""
    assert {"heic", "jxl"} <= set(DECODER_VERSION.split("+"))


def test_a_jpeg_2000_is_decoded():
    """Boxed and bare JPEG 2000 are read."""
    if not formats.readable(sniff.JPEG2000):
        pytest.skip("this Pillow has no OpenJPEG")
    image = pictures.photo("coffee").resize((240, 180))
    for no_jp2 in (False, True):
        media = decode(pictures.encode(image, "jpeg2000", no_jp2=no_jp2), LIMITS)
        assert (media.info.media_type, media.info.width, media.info.height) == ("image/jp2", 240, 180)
        assert off_by(media, image) < 1


def icon(*images, cursor=False):
    """A Windows icon (or cursor) of PNGs."""
    files = [pictures.encode(image, "png") for image in images]
    entries, at = b"", 6 + 16 * len(files)
    for image, file in zip(images, files, strict=True):
        entries += struct.pack("<BBBBHHII", image.width % 256, image.height % 256, 0, 0, 1, 32, len(file), at)
        at += len(file)
    return struct.pack("<HHH", 0, 2 if cursor else 1, len(files)) + entries + b"".join(files)


@pytest.mark.parametrize("cursor", [False, True])
def test_an_icon_shows_its_largest_picture_first(cursor):
    """Sizes that show the same picture are looked at once; one that shows another picture is a frame, too."""
    large = pictures.photo("chelsea").resize((128, 128))
    other = pictures.photo("coffee").resize((48, 48))
    media = decode(icon(large.resize((32, 32)), large, other, cursor=cursor), LIMITS)
    assert (media.info.width, media.info.height, media.info.frame_count) == (128, 128, 3)
    assert [frame.pixels.shape[0] for frame in media.frames] == [128, 48]
    assert off_by(media, large) == 0
    assert off_by(media, other, 1) == 0
    assert AnomalyKind.EMBEDDED_PICTURE not in {anomaly.kind for anomaly in media.info.anomalies}


def test_an_icon_with_an_enormous_picture_is_refused():
    """An icon's directory says 256 px at most; the PNG in it may say anything."""
    bomb = pictures.png_bomb()
    data = struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(bomb), 22) + bomb
    with pytest.raises(MediaError) as caught:
        decode(data, LIMITS)
    assert caught.value.status is ItemStatus.TOO_LARGE
