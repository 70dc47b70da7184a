"""What cameras, phones and programs declare: previews, further pictures, motion photos."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.media import picture_blocks as blocks
from support.media.hidden_pictures import (
    JPEG,
    MP4,
    PICTURE,
    SECRET_JPEG,
    SECRET_PNG,
    TRAILING,
    hidden_in,
    kinds,
    pixels,
)
from support.media.hidden_samples import (
    MOTION,
    PHONES,
    RAW,
    SAMSUNG,
    THUMBNAILS,
)

from lemmy_safety.media.hidden.search import Content


@pytest.mark.parametrize("form", sorted(THUMBNAILS))
def test_declared_previews_are_handed_out_and_are_no_anomaly(form):
    """A thumbnail where cameras and programs put it raises no alarm, and is there to be compared."""
    hidden = hidden_in(THUMBNAILS[form])
    assert hidden.anomalies == ()
    (embedded,) = hidden.embedded
    assert embedded.what is Content.THUMBNAIL
    expected = RAW if "raw" in form else Image.open(io.BytesIO(SECRET_JPEG)).convert("RGB")
    assert np.array_equal(pixels(embedded), np.asarray(expected))
    assert 0 < embedded.offset < embedded.offset + embedded.size <= len(THUMBNAILS[form])


def test_a_thumbnail_that_is_no_picture_is_passed_over():
    """An EXIF block that points at nothing, or at something else, gives no thumbnail."""
    for thumbnail in (b"", b"no picture at all, only some text"):
        block = blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_thumbnail(thumbnail))
        assert hidden_in(blocks.in_jpeg(JPEG, block)).embedded == ()


def test_a_picture_is_measured_by_its_own_structure():
    """A length that is too small hides nothing, and one that is too large takes nothing else with it."""
    exif = blocks.exif_with_thumbnail(SECRET_JPEG, beside=SECRET_PNG)
    length = struct.pack("<HHI", 0x0202, 4, 1) + struct.pack("<I", len(SECRET_JPEG))
    for claimed in (100, len(exif)):
        lying = exif.replace(length, length[:8] + struct.pack("<I", claimed))
        assert lying != exif
        hidden = hidden_in(blocks.in_jpeg(JPEG, blocks.segment(0xE1, b"Exif\0\0" + lying)))
        assert {bytes(embedded.data) for embedded in hidden.embedded} == {SECRET_JPEG, SECRET_PNG}
    listed = blocks.further_picture(JPEG, SECRET_JPEG)
    lying = listed.replace(struct.pack(">II", 0x020002, len(SECRET_JPEG)), struct.pack(">II", 0x020002, 100))
    assert lying != listed
    assert [bytes(embedded.data) for embedded in hidden_in(lying).embedded] == [SECRET_JPEG]


@pytest.mark.parametrize(("kind", "what"), [(0x020002, Content.PICTURE), (0x010001, Content.THUMBNAIL)])
def test_a_further_picture_is_said_to_be_listed(kind, what):
    """The second picture of a multi-picture file is named as listed; there is no other alarm."""
    hidden = hidden_in(blocks.further_picture(JPEG, SECRET_JPEG, kind=kind))
    (anomaly,) = hidden.anomalies
    assert anomaly.kind is PICTURE
    assert anomaly.detail.endswith("listed in the index of further pictures")
    (embedded,) = hidden.embedded
    assert (bytes(embedded.data), embedded.what) == (SECRET_JPEG, what)


@pytest.mark.parametrize("form", sorted(PHONES))
def test_what_phones_append_is_said_to_be_announced(form):
    """Motion photos and gain maps are named as announced, raise no other alarm, and are handed out."""
    data, secret, words = PHONES[form]
    hidden = hidden_in(data)
    assert set(kinds(hidden)) == {PICTURE}
    assert hidden.anomalies[-1].detail.endswith(words)
    assert secret in {bytes(embedded.data) for embedded in hidden.embedded}


def test_the_trailer_of_a_samsung_phone_is_named():
    """Its own structure around the video is called what it is."""
    hidden = hidden_in(JPEG + SAMSUNG)
    details = {anomaly.kind: anomaly.detail for anomaly in hidden.anomalies}
    assert details[PICTURE].endswith("announced as a motion photo")
    assert details[TRAILING].endswith("with the trailer of a Samsung phone")
    assert [bytes(embedded.data)[:40] for embedded in hidden.embedded] == [MP4[:40]]


def test_an_announcement_of_another_length_announces_nothing():
    """An XMP block cannot excuse a video that it does not measure."""
    data = blocks.in_jpeg(JPEG, blocks.xmp_segment(MOTION.replace(str(len(MP4)), "1234"))) + MP4
    assert set(kinds(hidden_in(data))) == {TRAILING, PICTURE}
