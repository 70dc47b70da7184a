"""However many things are hidden, and whatever the bytes are, the search ends and what it hands out is bounded."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.examples import examples
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.drawn_damage import drawn_damage
from support.media.hidden_pictures import (
    COVERS,
    JPEG,
    MP4,
    PNG,
    SECRET_PNG,
    SECRETS,
    WEBM,
    hidden_in,
)
from support.media.hidden_samples import (
    PE,
    PHONES,
    PLACES,
    SAMSUNG,
    THUMBNAILS,
    ZIP,
)

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import MAX_ANOMALIES, MAX_EMBEDDED, find_hidden


def test_the_largest_pictures_are_handed_out_and_the_number_is_bounded():
    """Of many embedded pictures the largest come out, those that nothing declares before thumbnails."""
    secrets = [pictures.encode(pictures.plasma(16 + 4 * number, 16, seed=number), "png") for number in range(40)]
    block = blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_thumbnail(JPEG))
    hidden = hidden_in(blocks.in_jpeg(JPEG, block) + b"".join(secrets))
    assert [bytes(embedded.data) for embedded in hidden.embedded] == sorted(secrets, key=len)[: -MAX_EMBEDDED - 1 : -1]
    assert len(hidden.anomalies) == MAX_ANOMALIES
    assert hidden.anomalies[-1].detail.endswith("and 9 more oddities behind it")


@pytest.mark.parametrize(
    "flood",
    [
        b"\xff\xd8\xff\xe0\0\4\xff\xd8",
        SECRET_PNG[:33],
        b"II*\0\x08\0\0\0",
        struct.pack(">I4s8s", 16, b"ftyp", b"isomisom"),
        b"\xff\xd8\xff\xc0\0\4ab\xff\xda\0\2\0\xff\xd9",
        b"GIF89a\1\0\1\0\0\0\0!",
        b"RIFF\0\0\0\0WEBPVP8 ",
    ],
)
def test_a_flood_of_signatures_is_reported(flood):
    """Who writes more beginnings of pictures than are checked is found out by that."""
    hidden = hidden_in(JPEG + flood * 6_000)
    assert any("more beginnings of pictures" in anomaly.detail for anomaly in hidden.anomalies) or (
        "oddities" in hidden.anomalies[-1].detail
    )
    assert len(hidden.embedded) <= MAX_EMBEDDED


def test_flat_pixels_are_no_flood():
    """Pixels of one grey level can be nothing but the letters that a signature begins with."""
    for level in (0x49, 0x4D, 0x46):
        assert hidden_in(pictures.encode(Image.new("RGB", (700, 600), (level,) * 3), "bmp")).anomalies == ()


def test_many_previews_do_not_hide_what_is_appended():
    """Countless pictures in metadata are a flood, and the picture behind the end is found all the same."""
    comments = [blocks.segment(0xFE, b"%d " % number + base64.b64encode(SECRETS["gif"])) for number in range(80)]
    hidden = hidden_in(blocks.in_jpeg(JPEG, *comments) + SECRETS["bmp"])
    assert bytes(hidden.embedded[0].data) == SECRETS["bmp"]
    assert any("more beginnings of pictures" in anomaly.detail for anomaly in hidden.anomalies)


CANDIDATES = [*COVERS.values(), *PLACES.values(), *THUMBNAILS.values(), *(data for data, _, _ in PHONES.values())]
CANDIDATES += [COVERS["jpeg"] + ZIP, MP4, WEBM, JPEG + SAMSUNG, PNG + PE]
ALL_KINDS = [value for value in vars(sniff).values() if isinstance(value, sniff.Kind)]


def check(data, kind):
    """Search hostile bytes; what comes back lies within them and can be shown to a person."""
    hidden = find_hidden(data, kind)
    assert len(hidden.anomalies) <= MAX_ANOMALIES
    assert len(hidden.embedded) <= MAX_EMBEDDED
    for anomaly in hidden.anomalies:
        assert anomaly.detail.isprintable()
        if anomaly.offset is not None:
            assert 0 <= anomaly.offset <= anomaly.offset + anomaly.size <= len(data)
    for embedded in hidden.embedded:
        assert 0 <= embedded.offset < embedded.offset + embedded.size <= len(data)
        assert len(embedded.data) > 0


@settings(max_examples=examples(200))
@given(st.binary(max_size=400), st.sampled_from(ALL_KINDS))
def test_random_bytes_are_searched(data, kind):
    """Random bytes taken for any kind of file are searched without an error."""
    check(data, kind)


@settings(max_examples=examples(100))
@given(st.sampled_from(CANDIDATES), st.binary(max_size=200))
def test_random_bytes_behind_a_picture_are_searched(cover, tail):
    """Random bytes behind a true file are searched without an error."""
    check(cover + tail, sniff.sniff(cover))


@settings(max_examples=examples(400))
@given(st.data())
def test_mutated_files_are_searched(data):
    """Flipped bytes, lost and doubled stretches of files with something hidden are searched without an error."""
    original = data.draw(st.sampled_from(CANDIDATES))
    mutated = drawn_damage(data, original, st.sampled_from([0, 1, 8, 127, 128, 255]), most=10)
    check(mutated, data.draw(st.sampled_from([sniff.sniff(original), sniff.sniff(mutated)])))
