"""Damaged files: what a browser would still show is judged, what shows nothing is unreadable, and nothing else leaves."""

from __future__ import annotations

import ast
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageFile
from support.examples import examples
from support.media import damage, pictures
from support.media.drawn_damage import drawn_damage

from lemmy_safety.errors import MediaError
from lemmy_safety.media import DecodedMedia, MediaLimits, decode, sniff
from lemmy_safety.media.costs import scaled_limit
from lemmy_safety.media.stills import repair
from lemmy_safety.records import AnomalyKind, ItemStatus

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000)


@pytest.mark.parametrize("file_format", pictures.STILL_FORMATS)
@pytest.mark.parametrize("fraction", [0.95, 0.6])
def test_the_part_that_is_there_of_a_truncated_file_is_judged(file_format, fraction):
    """A cut-off file of every format is decoded; the rows it has are right and an anomaly says that it is truncated."""
    image = pictures.photo("coffee")
    options = {"interlace": 0} if file_format == "gif" else {}
    media = decode(pictures.truncated(pictures.encode(image, file_format, **options), fraction), LIMITS)
    assert [anomaly.kind for anomaly in media.info.anomalies] == [AnomalyKind.TRUNCATED]
    assert (media.info.width, media.info.height) == image.size
    rows = int(image.height * fraction * 0.5)
    difference = np.abs(media.frames[0].pixels.astype(int) - np.asarray(image))
    there = difference[-rows:] if file_format == "bmp" else difference[:rows]  # BMP stores the last row first
    assert there.mean() < 8


def test_the_part_that_is_there_of_a_lossless_webp_is_judged():
    """Both codecs of WebP read on over missing data."""
    image = pictures.photo("coffee")
    media = decode(pictures.truncated(pictures.encode(image, "webp", lossless=True), 0.6), LIMITS)
    rows = np.abs(media.frames[0].pixels[:160].astype(int) - np.asarray(image)[:160])
    assert rows.max() == 0


@pytest.mark.parametrize("file_format", pictures.STILL_FORMATS)
def test_a_file_cut_off_before_its_pixels_is_unreadable(file_format):
    """A header without picture data is never recorded as looked at."""
    data = pictures.encode(pictures.photo("coffee"), file_format)
    for kept in (4, 16):
        with pytest.raises(MediaError) as caught:
            decode(data[:kept], LIMITS)
        assert caught.value.status is ItemStatus.UNREADABLE


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
@pytest.mark.parametrize("image", [pictures.photo("coffee"), pictures.shapes()])
def test_the_paint_a_decoder_starts_from_is_no_picture(image, file_format):
    """A complete header with nothing behind it decodes to one flat colour, which is unreadable, not clear."""
    data = pictures.encode(image, file_format)
    start = data.index(b"\xff\xda") + 14 if file_format == "jpeg" else data.index(b"IDAT") + 4
    with pytest.raises(MediaError) as caught:
        decode(data[:start], LIMITS)
    assert caught.value.status is ItemStatus.UNREADABLE


def test_a_few_rows_are_a_picture():
    """What is shown of a truncated file is judged, be it only a twentieth of it."""
    image = pictures.photo("coffee")
    media = decode(pictures.truncated(pictures.encode(image, "bmp"), 0.05), LIMITS)
    assert media.info.anomalies[0].kind is AnomalyKind.TRUNCATED
    assert np.array_equal(media.frames[0].pixels[-19:], np.asarray(image)[-19:])


def test_a_flat_picture_that_is_whole_is_decoded():
    """Only damage makes a flat colour suspicious."""
    image = pictures.gradient(8, 8).resize((1, 1)).resize((50, 50))
    assert decode(pictures.encode(image, "png"), LIMITS).info.anomalies == ()


def test_a_png_with_a_wrong_checksum_is_judged():
    """A checksum error beside the picture does not hide it; it is recorded as damage."""
    data = pictures.encode(pictures.plasma(), "png")
    comment = pictures.png_chunk(b"tEXt", b"Comment\0hello")[:-1] + b"?"
    media = decode(data[:33] + comment + data[33:], LIMITS)
    assert media.info.anomalies[0].kind is AnomalyKind.DAMAGED
    assert np.array_equal(media.frames[0].pixels, np.asarray(pictures.plasma()))


def test_a_png_with_an_exploding_text_is_judged():
    """A compressed text beyond Pillow's limit does not hide the picture."""
    data = pictures.encode(pictures.plasma(), "png")
    text = pictures.png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(3_000_000)))
    media = decode(data[:33] + text + data[33:], LIMITS)
    assert np.array_equal(media.frames[0].pixels, np.asarray(pictures.plasma()))


def test_a_png_with_an_invalid_animation_is_judged_as_a_still():
    """An animation announced with no frames leaves the default picture, as in browsers, and nothing warns."""
    data = pictures.encode(pictures.plasma(), "png")
    media = decode(data[:33] + pictures.png_chunk(b"acTL", bytes(8)) + data[33:], LIMITS)
    assert media.info.frame_count == 1
    assert np.array_equal(media.frames[0].pixels, np.asarray(pictures.plasma()))


def test_a_jpeg_with_a_broken_index_of_further_pictures_is_judged():
    """A malformed MPO index neither hides the picture nor warns."""
    data = pictures.encode(pictures.plasma(), "jpeg")
    index = b"MPF\0MM\0*\0\0\0\x08" + struct.pack(">H", 9) + bytes(20)
    segment = b"\xff\xe2" + struct.pack(">H", len(index) + 2) + index
    media = decode(data[:2] + segment + data[2:], LIMITS)
    assert (media.info.media_type, media.info.anomalies) == ("image/jpeg", ())


def test_a_declared_length_beyond_the_limit_is_not_filled_up():
    """A truncated WebP that declares gigabytes is not padded to them; what there is of it is judged."""
    data = bytearray(pictures.truncated(pictures.encode(pictures.photo("coffee"), "webp"), 0.5))
    data[4:8] = data[16:20] = struct.pack("<I", 3_000_000_000)
    files = list(repair.rewritten(bytes(data), sniff.WEBP, max_bytes=LIMITS.max_bytes))
    assert files
    assert max(map(len, files)) < len(data) + 100


def test_a_tiff_whose_pages_form_a_circle_is_counted_once():
    """A chain of directories that leads back to itself ends."""
    data = bytearray(pictures.encode(pictures.plasma(8, 8), "tiff"))
    directory = struct.unpack("<I", data[4:8])[0]
    entries = struct.unpack("<H", data[directory : directory + 2])[0]
    link = directory + 2 + 12 * entries
    data[link : link + 4] = struct.pack("<I", directory)
    assert decode(bytes(data), LIMITS).info.frame_count == 1


@pytest.mark.long
def test_tolerance_stays_within_its_thread():
    """Damaged files decoded beside healthy ones change nothing for them, nor for the rest of the process."""
    healthy = [pictures.encode(pictures.plasma(seed=n), "jpeg") for n in range(4)]
    damaged = [pictures.truncated(data, 0.7) for data in healthy]
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        files = healthy if number % 2 else damaged
        return [decode(files[turn % 4], LIMITS) for turn in range(40)]

    with ThreadPoolExecutor(4) as pool:
        for number, decoded in enumerate(pool.map(work, range(4))):
            for turn, media in enumerate(decoded):
                if number % 2:
                    alone = decode(healthy[turn % 4], LIMITS)
                    assert media.info.anomalies == ()
                    assert np.array_equal(media.frames[0].pixels, alone.frames[0].pixels)
                else:
                    assert media.info.anomalies[0].kind is AnomalyKind.TRUNCATED
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_tolerance_survives_other_libraries(monkeypatch):
    """Another library that sets Pillow's switch does not take damaged files out of our sight."""
    data = pictures.truncated(pictures.encode(pictures.plasma(), "jpeg"), 0.7)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    assert decode(data, LIMITS).info.anomalies[0].kind is AnomalyKind.TRUNCATED


@pytest.mark.long
def test_pillow_asks_only_for_the_truth_of_its_switch():
    """The object that stands in for Pillow's boolean is sound as long as Pillow only tests it."""
    tested = 0
    for path in Path(PIL.__file__).parent.glob("*.py"):
        parents = {
            child: node for node in ast.walk(ast.parse(path.read_text("utf-8"))) for child in ast.iter_child_nodes(node)
        }
        for node, parent in parents.items():
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if name == "LOAD_TRUNCATED_IMAGES" and isinstance(node.ctx, ast.Load):
                assert isinstance(parent, ast.If | ast.BoolOp | ast.UnaryOp), f"{path.name}:{node.lineno}"
                tested += 1
    assert tested > 10


def small_files():
    """One small file of every format, still and animated, and some odd ones."""
    frames = [pictures.shapes(40, 24, seed=n) for n in range(3)]
    files = {name: pictures.encode(frames[0], name) for name in pictures.STILL_FORMATS}
    files |= {f"{name} animation": pictures.encode_animation(frames, name) for name in pictures.ANIMATION_FORMATS}
    files["jpeg2000"] = pictures.encode(frames[0], "jpeg2000")
    files["icon"] = pictures.encode(frames[0], "ico", sizes=[(16, 16), (32, 32)])
    files["interlaced"] = damage.interlaced_png(frames[0])
    files["progressive"] = pictures.encode(frames[0], "jpeg", progressive=True)
    files["oriented"] = pictures.with_orientation(frames[0], 6)
    files["cmyk"] = pictures.encode(frames[0].convert("CMYK"), "jpeg")
    files["palette"] = pictures.encode(frames[0].convert("P"), "png", transparency=bytes([0, 128, 255]))
    files["lossless"] = pictures.encode(frames[0].convert("RGBA"), "webp", lossless=True)
    for compression in ("jpeg", "tiff_lzw", "tiff_deflate", "packbits"):
        files[f"tiff {compression}"] = pictures.encode(frames[0], "tiff", compression=compression)
    return files


FILES = small_files()
TIGHT = MediaLimits(max_bytes=200_000, max_pixels=1_000_000)


def decode_or_refuse(data):
    """Decode hostile bytes; anything but frames or a MediaError fails the test."""
    media: DecodedMedia | MediaError
    try:
        media = decode(data, TIGHT)
    except MediaError as error:
        media = error
    if isinstance(media, MediaError):
        assert media.status in {ItemStatus.UNREADABLE, ItemStatus.UNSUPPORTED, ItemStatus.TOO_LARGE}
        assert media.reason.isprintable()
        assert 0 < len(media.reason) < 400
        return
    assert media.frames[0].view == ""
    for frame in media.frames:
        height, width, bands = frame.pixels.shape
        assert 0 < min(height, width) <= 512
        assert max(height, width) <= 4096
        assert bands == 3
        assert frame.pixels.flags.c_contiguous
    scaled = media.info.media_type in {"image/jpeg", "image/webp"}  # decoded at a smaller size where that is needed
    assert media.info.width * media.info.height <= (scaled_limit(TIGHT) if scaled else TIGHT.max_pixels)
    assert media.info.frame_count >= 1


@settings(max_examples=examples(150))
@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_decoded(data):
    """Random bytes end in a MediaError, never in another error."""
    decode_or_refuse(data)


@settings(max_examples=examples(150))
@given(st.sampled_from(sorted(FILES)), st.integers(2, 64), st.binary(max_size=400))
def test_random_bytes_behind_a_true_start_are_refused_or_decoded(name, kept, tail):
    """A true beginning followed by random bytes ends in frames or a MediaError."""
    decode_or_refuse(FILES[name][:kept] + tail)


@pytest.mark.parametrize("name", sorted(FILES))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.differing_executors])
@given(data=st.data())
def test_mutated_files_are_refused_or_decoded(name, data):
    """Flipped bytes, lost and doubled parts of every format end in frames or a MediaError."""
    decode_or_refuse(drawn_damage(data, FILES[name], st.integers(0, 255), most=8))
