"""However a file is put together, looking through it takes a bounded number of steps, in all its loops together."""

from __future__ import annotations

import struct
import zlib

import pytest
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.hidden_pictures import JPEG, PNG, hidden_in
from support.media.moving_pictures import drifting, video
from support.media.video_looks import refusal

from lemmy_safety.media import sniff
from lemmy_safety.media.deadline import Deadline, Pace
from lemmy_safety.media.hidden import previews
from lemmy_safety.media.hidden.search import find_hidden
from lemmy_safety.media.structure import boxes, ebml, riff
from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Part
from lemmy_safety.records import AnomalyKind, ItemStatus

#: Two of these are more than one walk may take steps, one is not.
MANY = MAX_STEPS * 6 // 10


def chunks(form):
    return struct.pack("<4sI4s", b"RIFF", 4 + 8 * MANY, form) + b"abcd\0\0\0\0" * MANY


EBML_HEADER = blocks.element(0x1A45DFA3, blocks.element(0x4282, b"webm"))
SEGMENT = blocks.element(0x18538067, b"\xec\x80" * MANY)
FILE_TYPE = blocks.box(b"ftyp", b"isom")
MOVIE = blocks.box(b"moov", blocks.box(b"free") * MANY)
TRACKS = blocks.box(b"moov", blocks.box(b"trak", blocks.box(b"free") * MANY) * 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("walk", "begin", "more"),
    [
        (ebml.read, EBML_HEADER + SEGMENT, SEGMENT),
        (riff.read_avi, chunks(b"AVI "), chunks(b"AVIX")),
        (boxes.read, FILE_TYPE + MOVIE, MOVIE),
        (boxes.read, FILE_TYPE, TRACKS),
    ],
    ids=["segments", "chunks", "movies", "tracks"],
)
def test_loops_within_loops_share_one_bound(walk, begin, more):
    """One long list is walked to its end; several of them, each as long, are crowded and have no end."""
    assert not walk(begin).crowded
    crowded = walk(begin + more)
    assert (crowded.crowded, crowded.end) == (True, None)


def test_a_kind_is_looked_for_among_the_first_elements_of_a_header():
    """A header of Matroska has a handful of elements; a file that is all header takes no walk through all of it."""
    name = blocks.element(0x4282, b"webm")
    assert ebml.doc_type(blocks.element(0x1A45DFA3, b"\xec\x80" * 900 + name)) == b"webm"
    assert ebml.doc_type(blocks.element(0x1A45DFA3, b"\xec\x80" * 2_000 + name)) == b""
    assert sniff.sniff(blocks.element(0x1A45DFA3, b"\xec\x80" * 2_000 + name)) is sniff.MATROSKA


def test_no_thumbnail_is_read_within_another_one():
    """Of hundreds of thumbnails in a Photoshop block that have no end, the first one takes all the rest."""
    # Each is a GIF with a comment whose pieces of 255 bytes step over all the others.
    endless = bytes(28) + b"GIF89a\1\0\1\0\0\0\0!\xfe\xff" + bytes(200)
    resource = b"8BIM" + struct.pack(">HHI", 1036, 0, len(endless)) + endless
    assert len(resource) == 256
    content = resource * 900
    part = Part(Block.PHOTOSHOP, "Photoshop block", ((0, len(content)),))
    assert [preview.offset for preview in previews.in_part(part, content)] == [12 + 28]


def test_all_blocks_of_a_file_share_what_is_spent_on_them():
    """Hundreds of deflated blocks full of what could begin pictures are a flood, like one block of them all."""
    chain = b"\xff\xd8\xff\xe0\0\x10" * 500
    block = pictures.png_chunk(b"zTXt", b"text\0\0" + zlib.compress(chain))
    for count, is_flood in ((2, False), (100, True)):
        anomalies = hidden_in(blocks.in_png(PNG, *[block] * count)).anomalies
        assert any("more beginnings" in one.detail for one in anomalies) is is_flood


def test_codecs_without_a_decoder_are_named_in_a_few_words():
    """However often a file names codecs that are not decoded, the reason stays one line, and the file is searched once."""
    names = b"".join(b"stsd" + bytes(12) + b"%04d" % number for number in range(5_000))
    error = refusal(video(drifting(2)).replace(b"avc1", b"zzzz") + blocks.box(b"free", names))
    assert error.status is ItemStatus.UNSUPPORTED
    assert len(error.reason) < 200


@pytest.mark.parametrize(
    "tail", [b"\1" * (3 << 20), b"GIF89a\1\0\1\0\0\0\0!\xfe\1a\0;" * 5_000], ids=["noise", "pictures"]
)
def test_a_search_ends_with_its_time_and_says_so(tail):
    """What could not be searched in time is an anomaly; what was found until then is handed out."""
    clock = iter(range(0, 10_000, 30))
    data = JPEG + tail
    hidden = find_hidden(data, sniff.JPEG, Pace(Deadline(20, lambda: next(clock)), 0.25))
    assert [one.detail for one in hidden.anomalies if one.kind is AnomalyKind.FRAMES_LEFT_OUT] == [
        "what lies alongside the picture could not all be checked within 0 s"
    ]
    in_time = find_hidden(data, sniff.JPEG)
    assert AnomalyKind.FRAMES_LEFT_OUT not in {one.kind for one in in_time.anomalies}
