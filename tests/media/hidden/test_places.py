"""A picture in any place of a file is found, and named where it lies; what is a part of the medium is none."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.hidden_pictures import (
    AVIF,
    COVER,
    FRAMES,
    JPEG,
    MP4,
    PICTURE,
    PNG,
    SECRET,
    SECRET_JPEG,
    SECRET_PNG,
    SECRETS,
    TRAILING,
    hidden_in,
    kinds,
    pixels,
)
from support.media.hidden_samples import PLACES
from support.media.hiding_places import BEHIND

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import Content


@pytest.mark.parametrize("place", sorted(BEHIND, key=str))
def test_every_known_place_is_looked_at(place):
    """A picture in any of the places that people use is handed out; those that a player shows are none of ours."""
    hidden = hidden_in(BEHIND[place](pictures.photo("coffee").resize((96, 72)), pictures.photo("chelsea")))
    shown_by_a_decoder = place[0] in {"apng", "tiff"}
    assert bool(hidden.embedded) is not shown_by_a_decoder


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_picture_in_metadata_or_in_a_gap_is_found(place):
    """Wherever a container lets bytes lie, a picture among them is named as one and handed out."""
    hidden = hidden_in(PLACES[place])
    assert PICTURE in kinds(hidden)
    # A semicolon among the bytes of the picture is the trailer of the GIF.
    assert TRAILING not in kinds(hidden) or place == "gap between blocks"
    first = max(hidden.embedded, key=lambda embedded: embedded.size)
    assert np.array_equal(pixels(first), np.asarray(Image.open(io.BytesIO(bytes(first.data))).convert("RGB")))
    secrets = {
        form: np.asarray(Image.open(io.BytesIO(SECRETS[form])).convert("RGB")) for form in ("jpeg", "png", "webp")
    }
    assert any(np.array_equal(pixels(first), secret) for secret in secrets.values())
    anomaly = next(anomaly for anomaly in hidden.anomalies if anomaly.kind is PICTURE)
    assert 0 < anomaly.offset < len(PLACES[place])
    assert anomaly.detail.isprintable()


def test_offsets_are_those_of_the_stored_file():
    """What lies in one piece is named where it lies, byte for byte."""
    for place in ("comment", "private chunk", "unknown webp chunk", "free box", "gap between blocks"):
        data = PLACES[place]
        for embedded in hidden_in(data).embedded:
            assert data[embedded.offset : embedded.offset + embedded.size] == bytes(embedded.data)


def test_tracks_beside_a_still_are_handed_out():
    """An AVIF with a movie in it shows the one to pages and the other to players."""
    movie = next(MP4[at - 4 :] for at in [MP4.index(b"moov")])
    size = struct.unpack(">I", movie[:4])[0]
    hidden = hidden_in(AVIF + movie[:size])
    assert [(anomaly.kind, anomaly.offset, anomaly.size) for anomaly in hidden.anomalies] == [
        (PICTURE, len(AVIF), size)
    ]
    assert [(embedded.what, embedded.kind) for embedded in hidden.embedded] == [(Content.VIDEO, sniff.MP4)]
    assert hidden_in(pictures.encode_animation(FRAMES, "avif")).anomalies == ()


def test_frames_of_a_video_are_no_embedded_pictures():
    """A motion JPEG consists of pictures; they are its frames."""
    frames = b"".join(struct.pack("<4sI", b"00dc", len(JPEG)) + JPEG + b"\0" * (len(JPEG) % 2) for _ in range(5))
    movi = struct.pack("<4sI4s", b"LIST", 4 + len(frames), b"movi") + frames
    header = struct.pack("<4sI4s", b"LIST", 4, b"hdrl")
    avi = struct.pack("<4sI4s", b"RIFF", 4 + len(header) + len(movi), b"AVI ") + header + movi
    assert hidden_in(avi).anomalies == ()
    assert [bytes(embedded.data) for embedded in hidden_in(avi + SECRET_PNG).embedded] == [SECRET_PNG]
    assert hidden_in(MP4[:32] + blocks.box(b"mdat", JPEG * 3)).anomalies == ()


def test_strips_of_a_tiff_are_its_own():
    """A TIFF of JPEG strips, and one of several pages, hides nothing; what is behind its last byte is found."""
    for data in (
        pictures.encode(pictures.photo("coffee"), "tiff", compression="jpeg"),
        pictures.encode(COVER, "tiff", save_all=True, append_images=[SECRET] * 70),
    ):
        assert hidden_in(data).anomalies == ()
        assert [bytes(embedded.data) for embedded in hidden_in(data + SECRET_PNG).embedded] == [SECRET_PNG]


def test_pictures_of_an_icon_are_its_own():
    """The PNG files in an icon are what it consists of."""
    assert hidden_in(pictures.encode(COVER, "ico", sizes=[(16, 16), (48, 48)])).anomalies == ()


def test_pictures_within_embedded_ones_are_handed_out_without_an_alarm_of_their_own():
    """The thumbnail of an appended photo is looked at as well, behind the photo itself."""
    inner = blocks.in_jpeg(SECRET_JPEG, blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_thumbnail(SECRETS["webp"])))
    hidden = hidden_in(PNG + inner)
    assert kinds(hidden) == [PICTURE, TRAILING]
    assert [embedded.kind for embedded in hidden.embedded] == [sniff.JPEG, sniff.WEBP]
    assert hidden.embedded[1].place == "within another embedded file"
