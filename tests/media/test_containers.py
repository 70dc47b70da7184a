"""Containers are measured by their structure: where they end, what they hold, and never with an error."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.files import STILLS, VIDEOS, encode_video

from lemmy_safety.media import containers, sniff
from lemmy_safety.media.structure import boxes, gif, tiff
from lemmy_safety.media.structure.parts import MAX_PARTS, Block, merged, says_something

SMALL = pictures.photo("coffee").resize((48, 36))
FRAMES = [pictures.shapes(48, 36, seed=number) for number in range(8)]
FILES = {form: encoder(SMALL) for form, encoder in STILLS.items()}
FILES |= {f"{form} animation": pictures.encode_animation(FRAMES, form) for form in pictures.ANIMATION_FORMATS}
FILES |= {form: encode_video(FRAMES, [125] * 8, VIDEOS[form]) for form in ("mp4 h264", "webm vp8", "mkv h264")}
#: Their ends are not to be told without decoding.
ENDLESS = {form for form, data in FILES.items() if data[:2] == b"\xff\x0a"}
JPEG, PNG, GIF, WEBP = (pictures.encode(SMALL, form) for form in ("jpeg", "png", "gif", "webp"))


def structure_of(data):
    return containers.structure_of(data, sniff.sniff(data))


@pytest.mark.parametrize("form", sorted(FILES))
def test_a_healthy_file_ends_where_it_ends(form):
    """The walk over a whole file, as bytes or as a view, ends at its last byte, with and without more behind it."""
    data = FILES[form]
    end = None if form in ENDLESS else len(data)
    assert structure_of(data).end == end
    assert containers.structure_of(memoryview(data), sniff.sniff(data)).end == end
    assert structure_of(data + b"\xff\xd8\xff\xe0 something behind the end").end == end
    assert not structure_of(data).crowded
    assert containers.has_walk(data, sniff.sniff(data)) is (form not in ENDLESS)


@pytest.mark.parametrize("form", sorted(set(FILES) - ENDLESS))
def test_a_file_that_is_cut_off_has_no_end(form):
    """Without its last bytes a file has no end."""
    assert structure_of(FILES[form][:-20]).end is None


def test_a_jpeg_ends_at_its_first_end_marker():
    """An end marker within a segment is none; the first one behind the scan is, whatever comes then."""
    data = blocks.in_jpeg(JPEG, blocks.segment(0xFE, b"\xff\xd9" * 20))
    assert structure_of(data + JPEG).end == len(data)


def test_a_second_start_marker_ends_a_jpeg_without_an_end():
    """A JPEG that was cut off ends where the next one begins."""
    assert structure_of(JPEG[:-2] + JPEG).end == len(JPEG) - 2


def test_restart_markers_belong_to_the_scan():
    """A scan with restart markers, and one with filling bytes before a marker, is walked to its end."""
    data = pictures.encode(pictures.photo("coffee"), "jpeg", restart_marker_blocks=2)
    assert b"\xff\xd3" in data
    assert structure_of(data[:-2] + b"\xff\xff\xff\xd9").end == len(data) + 2


def test_blocks_of_one_scheme_are_joined():
    """A colour profile over three segments is one part with its content in one piece."""
    profile = np.random.default_rng(1).bytes(150_000)
    pieces = blocks.in_pieces(0xE2, b"ICC_PROFILE\0", profile, numbered=True)
    data = blocks.in_jpeg(JPEG, *pieces)
    (part,) = structure_of(data).parts
    assert (part.block, len(part.spans), part.joined) == (Block.PROFILE, len(pieces), profile)
    assert part.size == len(profile)


def test_text_chunks_are_inflated_up_to_a_limit():
    """A deflated text is read, a broken one is passed over, and a bomb gives no more than its limit."""
    text = b"a deflated text of some length"
    deflated = zlib.compress(text)
    chunks = [
        pictures.png_chunk(b"zTXt", b"Comment\0\0" + deflated),
        pictures.png_chunk(b"iTXt", b"Comment\0\1\0en\0Kommentar\0" + deflated),
        pictures.png_chunk(b"iTXt", b"Comment\0\0\0en\0Kommentar\0" + text),
        pictures.png_chunk(b"zTXt", b"Comment\0\0 this is not deflated"),
        pictures.png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000))),
        pictures.png_chunk(b"zTXt", b"Comment\0\0" + deflated),
    ]
    joined = [part.joined for part in structure_of(blocks.in_png(PNG, *chunks)).parts]
    assert joined[:4] == [text, text, None, None]
    assert 0 < len(joined[4] or b"") <= 4 * 1024 * 1024
    assert joined[5] is None


def test_sub_blocks_are_joined():
    """The comment of a GIF is its text without the lengths in between."""
    text = bytes(range(256)) * 5
    (part,) = structure_of(blocks.in_gif(GIF, blocks.gif_extension(0xFE, text))).parts
    assert (part.name, part.joined) == ("comment", text)


def test_an_xmp_block_of_a_gif_is_not_divided():
    """Adobe writes XMP as it is, with a trailer of descending numbers that the walk falls through."""
    packet = blocks.xmp("<a/>")
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    extension = b"\x21\xff\x0bXMP DataXMP" + packet + trailer
    structure = structure_of(GIF[:-1] + extension + b";")
    assert structure.end == len(GIF) + len(extension)
    assert packet in bytes(structure.parts[0].content(GIF[:-1] + extension))


@pytest.mark.long
def test_parts_and_steps_are_bounded():
    """Countless blocks are reported as crowded, with no more parts than are searched."""
    comment = blocks.segment(0xFE, b"x" * 20)
    for data in (
        blocks.in_jpeg(JPEG, comment * (MAX_PARTS + 1)),
        blocks.in_png(PNG, pictures.png_chunk(b"prVt", b"x" * 20) * (MAX_PARTS + 1)),
        blocks.in_gif(GIF, blocks.gif_extension(0xFE, b"x" * 20) * (MAX_PARTS + 1)),
        blocks.in_webp(WEBP, *[(b"XTRA", b"x" * 20)] * (MAX_PARTS + 1)),
        blocks.box(b"ftyp", b"isom\0\0\0\0isom") + blocks.box(b"free", b"x" * 20) * (MAX_PARTS + 1),
        blocks.webm(blocks.element(0xEC, b"x" * 20) * (MAX_PARTS + 1)),
    ):
        structure = structure_of(data)
        assert structure.crowded
        assert len(structure.parts) == MAX_PARTS
    assert structure_of(JPEG[:2] + blocks.segment(0xFE, b"") * 100_001 + JPEG[2:]).crowded
    assert structure_of(GIF[:-1] + blocks.gif_extension(0xFE, b"") * 300_000 + b";").crowded


def test_a_webm_of_open_length_ends_before_what_is_no_element():
    """A recording whose lengths were left open ends where something else begins."""
    cluster = blocks.element(0x1F43B675, blocks.element(0xE7, b"\0") + blocks.element(0xA3, bytes(30)), is_open=True)
    data = blocks.webm(cluster + cluster, is_open=True)
    assert structure_of(data).end == len(data)
    assert structure_of(data + JPEG).end == len(data)
    assert structure_of(data[:-4]).end is None


def test_the_second_of_two_files_in_one_is_behind_the_end_of_the_first():
    """A second MP4, or a second WebM, is no part of the first one."""
    for form in ("mp4 h264", "webm vp8"):
        assert structure_of(FILES[form] * 2).end == len(FILES[form])


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_a_bmp_is_measured_by_its_rows(bits):
    """The end comes from width, height and depth, for both orders of rows, and not from the length in the header."""
    stride = (11 * bits + 31) // 32 * 4
    palette = b"" if bits > 8 else bytes(4 << bits)
    for height in (7, -7):
        info = struct.pack("<IiiHHIIiiII", 40, 11, height, 1, bits, 0, 0, 0, 0, 0, 0)
        data = struct.pack("<2sIHHI", b"BM", 9_999_999, 0, 0, 54 + len(palette)) + info + palette + bytes(stride * 7)
        assert structure_of(data).end == len(data)


def test_the_gap_before_the_pixels_of_a_bmp_is_a_part():
    """Bytes between the palette and the pixels are free space."""
    data = bytearray(pictures.encode(SMALL, "bmp"))
    data[10:14] = struct.pack("<I", 54 + 5_000)
    structure = structure_of(bytes(data[:54]) + b"x" * 5_000 + bytes(data[54:]))
    assert [(part.block, part.offset, part.size) for part in structure.parts] == [(Block.FREE, 54 + 16, 4_984)]


def test_a_tiff_ends_with_the_last_byte_that_it_points_at():
    """Strips, values and directories count, whatever their order; strips belong to the picture."""
    data = pictures.encode(SMALL, "tiff", compression="jpeg")
    structure = structure_of(data + bytes(100))
    assert structure.end == len(data)
    assert any(data[at : at + 2] == b"\xff\xd8" for at, _ in structure.own)


def test_an_icon_ends_with_its_last_picture():
    """The pictures that an icon lists are its own."""
    data = pictures.encode(SMALL, "ico", sizes=[(16, 16), (32, 32)])
    structure = structure_of(data + b"something behind the end")
    assert structure.end == len(data)
    assert sum(size for _, size in structure.own) == len(data) - 6 - 2 * 16


def test_boxes_with_long_and_open_lengths_are_walked():
    """A box can have its length in eight bytes, or reach to the end of the file."""
    long = struct.pack(">I4sQ", 1, b"free", 16 + 5) + b"12345"
    rest = struct.pack(">I4s", 0, b"mdat") + bytes(100)
    found = list(boxes.boxes(long + rest))
    assert [(box.name, box.body, box.end) for box in found] == [(b"free", 16, 21), (b"mdat", 29, 129)]


def test_boxes_in_boxes_in_boxes_are_not_followed_for_ever():
    """Tracks within tracks, a thousand deep, are one unknown box."""
    nested = b""
    for _ in range(3_000):
        nested = struct.pack(">I4s", 8 + len(nested), b"trak") + nested
    data = blocks.box(b"ftyp", b"isom\0\0\0\0isom") + blocks.box(b"moov", nested)
    structure = structure_of(data)
    assert structure.end == len(data)
    assert [part.name for part in structure.parts] == ["box 'trak'"]


def test_the_movie_of_a_container_is_found():
    """Tracks are where the movie box is; a still picture has none."""
    offset, size = containers.movie_box(FILES["mp4 h264"]) or (0, 0)
    assert FILES["mp4 h264"][offset + 4 : offset + 8] == b"moov"
    assert size > 100
    assert containers.movie_box(FILES["avif"]) is None


def test_frames_are_counted():
    """Every frame of a GIF counts, one that is cut off too, and garbage between them does not stop the count."""
    animation = FILES["gif animation"]
    assert containers.gif_frame_count(animation) == len(FRAMES)
    assert containers.gif_frame_count(animation[:-200]) == len(FRAMES)
    last = [block.offset for block in gif.blocks(animation) if block.kind == gif.FRAME][-1]
    assert containers.gif_frame_count(animation[:last] + bytes(50) + animation[last:]) == len(FRAMES)
    assert containers.gif_frame_count(animation[:13]) == 0


def test_pages_are_counted():
    """Pages of a TIFF are the directories of its chain."""
    data = pictures.encode(SMALL, "tiff", save_all=True, append_images=[SMALL, SMALL])
    assert containers.tiff_page_count(data) == 3
    assert containers.tiff_page_count(data[:6]) == 1


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_the_canvas_of_a_webp_is_read(options):
    """Width and height stand in each of the three forms of header."""
    assert containers.webp_canvas(pictures.encode(SMALL, "webp", **options)) == SMALL.size
    assert containers.webp_canvas(b"RIFF\0\0\0\0WEBP") is None


def test_only_what_declares_its_length_is_filled_up():
    """A cut-off WebP or AVIF gets zeros up to its length, within the limit; nothing else does."""
    for form in ("webp", "avif"):
        padded = containers.padded_to_declared_length(FILES[form][:-100], sniff.sniff(FILES[form]), max_bytes=10**6)
        assert padded == FILES[form][:-100] + bytes(100)
        assert containers.padded_to_declared_length(FILES[form], sniff.sniff(FILES[form]), max_bytes=10**6) is None
        assert containers.padded_to_declared_length(FILES[form][:-9], sniff.sniff(FILES[form]), max_bytes=99) is None
    assert containers.padded_to_declared_length(JPEG[:-100], sniff.JPEG, max_bytes=10**6) is None


def test_circles_of_directories_end():
    """A chain of directories that leads back to itself is gone through once."""
    data = bytearray(pictures.encode(pictures.plasma(8, 8), "tiff"))
    directory = struct.unpack("<I", data[4:8])[0]
    entries = struct.unpack("<H", data[directory : directory + 2])[0]
    link = directory + 2 + 12 * entries
    data[link : link + 4] = struct.pack("<I", directory)
    assert len(list(tiff.TiffReader(bytes(data)).directories())) == 1
    assert containers.tiff_page_count(bytes(data)) == 1


@pytest.mark.parametrize(
    ("stretch", "speaks"),
    [
        (b"", False),
        (b"x" * 15, False),
        (b"\r\n", False),
        (bytes(10_000), False),
        (b"\xff" * 10_000, False),
        (b" " * 10_000, False),
        (bytes(1000) + b"short" + bytes(1000), False),
        (bytes(1000) + b"long enough to hold something" + bytes(1000), True),
        (b"0123456789abcdef", True),
    ],
)
def test_padding_says_nothing(stretch, speaks):
    """One byte over and over, or a few bytes between zeros, can hold nothing."""
    assert says_something(stretch) is speaks


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20))))
def test_merged_stretches_cover_the_same_bytes(stretches):
    """Merging keeps what is covered, and leaves stretches that are apart and in order."""
    result = list(merged(stretches))
    covered = {byte for at, size in result for byte in range(at, at + size)}
    assert covered == {byte for at, size in stretches for byte in range(at, at + size)}
    assert all(at + size < following for (at, size), (following, _) in pairwise(result))


WALKED = sorted({sniff.sniff(data) for data in FILES.values()} | {sniff.AVI, sniff.ICON}, key=lambda kind: kind.name)


def check(data, kind):
    """Walk ``data`` as if it was of that kind, and check that what comes back lies within it."""
    structure = containers.structure_of(data, kind)
    assert structure.end is None or 0 <= structure.end <= len(data)
    for part in structure.parts:
        assert all(at >= 0 and size >= 0 and at + size <= len(data) for at, size in part.spans)
        assert part.joined is not None or len(part.content(data)) == part.size
    assert containers.gif_frame_count(data) >= 0
    assert containers.tiff_page_count(data) >= 1
    containers.webp_canvas(data)
    containers.movie_box(data)
    sniff.is_animated(data, kind)


@settings(max_examples=examples(150))
@given(st.binary(max_size=300), st.sampled_from(WALKED))
def test_random_bytes_are_walked(data, kind):
    """Whatever the bytes are, walks end without an error and stay within them."""
    check(data, kind)


@settings(max_examples=examples(150))
@given(st.data())
def test_mutated_files_are_walked(data):
    """Flipped bytes, lost and doubled stretches of every format are walked without an error."""
    form = data.draw(st.sampled_from(sorted(FILES)))
    mutated = bytearray(FILES[form])
    places = st.integers(0, len(mutated) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.sampled_from([0, 1, 8, 127, 128, 255])), max_size=8)):
        mutated[place] = value
    start, end = sorted((data.draw(places), data.draw(places)))
    if data.draw(st.booleans()):
        del mutated[start:end]
    else:
        mutated[end:end] = mutated[start:end]
    check(bytes(mutated), sniff.sniff(FILES[form]))
