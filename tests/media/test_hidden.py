"""What no viewer shows is found, named with its place and size, and handed out; what is ordinary raises no alarm."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import picture_blocks as blocks
from support import pictures
from support.hiding_places import BEHIND
from support.media_files import ANIMATIONS, STILLS, VIDEOS, encode_video

from lemmy_safety.media import sniff
from lemmy_safety.media.hidden.search import MAX_ANOMALIES, MAX_EMBEDDED, Content, find_hidden
from lemmy_safety.records import AnomalyKind

COVER = pictures.photo("coffee").resize((60, 40))
SECRET = pictures.photo("chelsea").resize((48, 32))
FRAMES = [pictures.shapes(64, 48, seed=number) for number in range(8)]
COVERS = {form: pictures.encode(COVER, form) for form in pictures.STILL_FORMATS}
SECRETS = {form: pictures.encode(SECRET, form) for form in pictures.STILL_FORMATS}
MP4 = encode_video(FRAMES, [125] * 8, VIDEOS["mp4 h264"])
WEBM = encode_video(FRAMES, [125] * 8, VIDEOS["webm vp8"])
SECRETS |= {"mp4": MP4, "webm": WEBM}
JPEG, PNG, GIF, WEBP, AVIF = (COVERS[form] for form in ("jpeg", "png", "gif", "webp", "avif"))
SECRET_JPEG, SECRET_PNG = SECRETS["jpeg"], SECRETS["png"]
TRAILING, PICTURE, FILE, METADATA = (
    AnomalyKind.TRAILING_DATA,
    AnomalyKind.EMBEDDED_PICTURE,
    AnomalyKind.EMBEDDED_FILE,
    AnomalyKind.OVERSIZED_METADATA,
)


def hidden_in(data):
    return find_hidden(data, sniff.sniff(data))


def kinds(hidden):
    return [anomaly.kind for anomaly in hidden.anomalies]


def pixels(embedded):
    return np.asarray(Image.open(io.BytesIO(bytes(embedded.data))).convert("RGB"))


@pytest.mark.parametrize("form", sorted(STILLS))
def test_a_healthy_still_hides_nothing(form):
    """A still of any format, as our libraries write it, raises no alarm."""
    hidden = hidden_in(STILLS[form](COVER))
    assert (hidden.anomalies, hidden.embedded) == ((), ())


@pytest.mark.parametrize("form", sorted(ANIMATIONS))
def test_a_healthy_animation_hides_nothing(form):
    """An animation of any format raises no alarm."""
    assert hidden_in(ANIMATIONS[form](FRAMES, [125] * 8)).anomalies == ()


@pytest.mark.parametrize("form", sorted(VIDEOS))
def test_a_healthy_video_hides_nothing(form):
    """A video of any container raises no alarm."""
    assert hidden_in(encode_video(FRAMES, [125] * 8, VIDEOS[form])).anomalies == ()


@pytest.mark.parametrize("name", sorted(pictures.PHOTOS))
def test_a_photo_hides_nothing(name):
    """Photos with their noise hold nothing that looks like a picture by chance."""
    for form in ("jpeg", "png"):
        assert hidden_in(pictures.encode(pictures.photo(name), form)).anomalies == ()


@pytest.mark.parametrize("secret", sorted(SECRETS))
@pytest.mark.parametrize("cover", sorted(COVERS))
def test_what_is_appended_is_found(cover, secret):
    """Any picture or video behind the end of any picture is named with its place and size, and handed out as it is."""
    data, end = COVERS[cover] + SECRETS[secret], len(COVERS[cover])
    hidden = hidden_in(data)
    assert set(kinds(hidden)) == {TRAILING, PICTURE}
    assert {(anomaly.offset, anomaly.size) for anomaly in hidden.anomalies} == {(end, len(SECRETS[secret]))}
    (embedded,) = hidden.embedded
    assert (embedded.offset, bytes(embedded.data)) == (end, SECRETS[secret])
    assert embedded.kind is sniff.sniff(SECRETS[secret])
    assert embedded.what is (Content.VIDEO if secret in ("mp4", "webm") else Content.PICTURE)


@pytest.mark.parametrize("form", ["mp4 h264", "mp4 h264 fragmented", "mov h264", "webm vp8", "mkv h264"])
def test_what_is_appended_to_a_video_is_found(form):
    """A picture behind the end of a video is found."""
    video = encode_video(FRAMES, [125] * 8, VIDEOS[form])
    (embedded,) = hidden_in(video + SECRET_JPEG).embedded
    assert (embedded.offset, bytes(embedded.data)) == (len(video), SECRET_JPEG)


def test_a_picture_behind_a_truncated_one_is_found():
    """A JPEG that was cut off ends where the next one begins, so that the second one is found."""
    (embedded,) = hidden_in(JPEG[:-30] + SECRET_JPEG).embedded
    assert bytes(embedded.data) == SECRET_JPEG


def test_two_pictures_behind_the_end_are_two():
    """Each of several appended pictures is handed out for itself, whatever lies between them."""
    data = JPEG + bytes(100) + SECRET_PNG + b"something between the two of them" + SECRET_JPEG
    hidden = hidden_in(data)
    assert kinds(hidden) == [TRAILING, PICTURE, PICTURE]
    assert {bytes(embedded.data) for embedded in hidden.embedded} >= {SECRET_PNG}
    assert {embedded.offset for embedded in hidden.embedded} == {data.index(SECRET_PNG), data.index(SECRET_JPEG)}


@pytest.mark.parametrize("cover", sorted(COVERS))
@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\xff\xd9", bytes(512), b"\xff" * 70_000, b" " * 40, b"x" * 15])
def test_padding_behind_the_end_is_nothing(cover, tail):
    """Line ends, doubled end markers, sectors of zeros and fewer than 16 bytes are no anomaly."""
    hidden = hidden_in(COVERS[cover] + tail)
    assert (hidden.anomalies, hidden.embedded) == ((), ())


def test_sixteen_bytes_behind_the_end_are_an_anomaly():
    """From 16 bytes on that say something, offset and size of them are recorded."""
    (anomaly,) = hidden_in(PNG + b"0123456789abcdef").anomalies
    assert (anomaly.kind, anomaly.offset, anomaly.size) == (TRAILING, len(PNG), 16)
    assert anomaly.detail == "16 bytes behind the end of the picture"


@pytest.mark.parametrize("place", sorted(BEHIND, key=str))
def test_every_known_place_is_looked_at(place):
    """A picture in any of the places that people use is handed out; those that a player shows are none of ours."""
    hidden = hidden_in(BEHIND[place](pictures.photo("coffee").resize((96, 72)), pictures.photo("chelsea")))
    shown_by_a_decoder = place[0] in {"apng", "tiff"}
    assert bool(hidden.embedded) is not shown_by_a_decoder


PROFILE = b"\0\0\2\x0clcms" + bytes(200)
ICC = [b"ICC_PROFILE\0", PROFILE + SECRET_JPEG * 60]
PLACES = {
    "comment": blocks.in_jpeg(JPEG, blocks.segment(0xFE, b"a comment" + SECRET_PNG)),
    "unknown segment": blocks.in_jpeg(JPEG, blocks.segment(0xEA, b"any name\0" + SECRET_PNG)),
    "gap between segments": blocks.in_jpeg(JPEG, SECRETS["webp"]),
    "photoshop block": blocks.in_jpeg(JPEG, blocks.photoshop_segment(2999, SECRET_JPEG)),
    "colour profile in pieces": blocks.in_jpeg(JPEG, *blocks.in_pieces(0xE2, ICC[0], ICC[1], numbered=True)),
    "segment between two scans": JPEG[:-2] + blocks.segment(0xEA, SECRET_PNG) + b"\xff\xd9",
    "exif block beside its thumbnail": blocks.in_jpeg(
        JPEG, blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_thumbnail(b"", beside=SECRET_JPEG))
    ),
    "xmp in base64": blocks.in_jpeg(
        JPEG, blocks.xmp_segment(blocks.thumbnail_element(SECRET_JPEG).replace("xmpGImg:image", "GImage:Data"))
    ),
    "private chunk": blocks.in_png(PNG, pictures.png_chunk(b"prVt", SECRET_JPEG)),
    "text chunk": blocks.in_png(PNG, blocks.text_chunk(b"Comment", b"text" + SECRET_JPEG)),
    "deflated text": blocks.in_png(PNG, pictures.png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(SECRET_JPEG))),
    "data chunk": blocks.in_png(PNG, pictures.png_chunk(b"IDAT", SECRET_JPEG)),
    "gif comment": blocks.in_gif(GIF, blocks.gif_extension(0xFE, SECRET_JPEG)),
    "gif application": blocks.in_gif(GIF, blocks.gif_extension(0xFF, SECRET_JPEG, name=b"ANY     1.0")),
    "gap between blocks": blocks.in_gif(GIF, SECRET_PNG),
    "unknown webp chunk": blocks.in_webp(WEBP, (b"XTRA", SECRET_JPEG)),
    "webp profile": blocks.in_webp(WEBP, (b"ICCP", PROFILE + SECRET_JPEG)),
    "free box": AVIF + blocks.box(b"free", SECRET_JPEG),
    "unknown box": AVIF + blocks.box(b"xtra", SECRET_JPEG),
    "uuid box": AVIF + blocks.box(b"uuid", bytes(range(16)), SECRET_PNG),
    "media data": AVIF + blocks.box(b"mdat", SECRET_PNG),
    "mp4 free box": MP4 + blocks.box(b"free", bytes(40), SECRET_PNG),
    "webm void": blocks.webm(blocks.element(0x1F43B675, bytes(90)), blocks.element(0xEC, SECRET_PNG)),
    "webm attachment": blocks.webm(blocks.element(0x1941A469, b"a name" + SECRET_JPEG)),
}


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


RAW = pictures.quarters(40, 30)
THUMBNAILS = {
    "exif": blocks.in_jpeg(JPEG, blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_thumbnail(SECRET_JPEG))),
    "exif in png": blocks.in_png(PNG, pictures.png_chunk(b"eXIf", blocks.exif_with_thumbnail(SECRET_JPEG))),
    "exif in webp": blocks.in_webp(WEBP, (b"EXIF", blocks.exif_with_thumbnail(SECRET_JPEG))),
    "exif in webp with prefix": blocks.in_webp(WEBP, (b"EXIF", b"Exif\0\0" + blocks.exif_with_thumbnail(SECRET_JPEG))),
    "exif item": AVIF + blocks.box(b"mdat", bytes(4), blocks.exif_with_thumbnail(SECRET_JPEG)),
    "exif box": blocks.box(b"JXL ", b"\r\n\x87\n")
    + blocks.box(b"ftyp", b"jxl \0\0\0\0jxl ")
    + blocks.box(b"Exif", bytes(4), blocks.exif_with_thumbnail(SECRET_JPEG)),
    "exif raw": blocks.in_jpeg(JPEG, blocks.segment(0xE1, b"Exif\0\0" + blocks.exif_with_raw_thumbnail(RAW))),
    "jfif raw": blocks.in_jpeg(JPEG, blocks.jfif_with_thumbnail(RAW)),
    "jfif extension": blocks.in_jpeg(JPEG, blocks.segment(0xE0, b"JFXX\0\x10" + SECRET_JPEG)),
    "jfif raw extension": blocks.in_jpeg(JPEG, blocks.segment(0xE0, b"JFXX\0\x13\x28\x1e" + RAW.tobytes())),
    "photoshop": blocks.in_jpeg(
        JPEG, blocks.photoshop_segment(1036, blocks.photoshop_thumbnail(SECRET_JPEG, *SECRET.size))
    ),
    "xmp": blocks.in_jpeg(JPEG, blocks.xmp_segment(blocks.thumbnail_element(SECRET_JPEG))),
    "extended xmp": blocks.in_jpeg(
        JPEG, *blocks.extended_xmp_segments(blocks.xmp(" " * 90_000 + blocks.thumbnail_element(SECRET_JPEG)))
    ),
    "xmp in png": blocks.in_png(
        PNG,
        pictures.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + blocks.xmp(blocks.thumbnail_element(SECRET_JPEG))),
    ),
    "content credentials": blocks.in_jpeg(JPEG, blocks.segment(0xEB, b"JP\0\1\0\0\0\1" + bytes(40) + SECRET_JPEG)),
    "content credentials in png": blocks.in_png(PNG, pictures.png_chunk(b"caBX", bytes(40) + SECRET_JPEG)),
}


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


def test_an_appended_sequence_does_not_make_a_still_move():
    """Of two AVIF files in one the first decides."""
    data = AVIF + pictures.encode_animation(FRAMES, "avif")
    assert not sniff.is_animated(data, sniff.AVIF)
    assert [embedded.offset for embedded in hidden_in(data).embedded] == [len(AVIF)]


@pytest.mark.parametrize(("kind", "what"), [(0x020002, Content.PICTURE), (0x010001, Content.THUMBNAIL)])
def test_a_further_picture_is_said_to_be_listed(kind, what):
    """The second picture of a multi-picture file is named as listed; there is no other alarm."""
    hidden = hidden_in(blocks.further_picture(JPEG, SECRET_JPEG, kind=kind))
    (anomaly,) = hidden.anomalies
    assert anomaly.kind is PICTURE
    assert anomaly.detail.endswith("listed in the index of further pictures")
    (embedded,) = hidden.embedded
    assert (bytes(embedded.data), embedded.what) == (SECRET_JPEG, what)


GAIN_MAP = (
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg"'
    f' Item:Length="{len(SECRET_JPEG)}"/></rdf:li>'
)
MOTION = (
    f'<rdf:li><Container:Item Item:Mime="video/mp4" Item:Semantic="MotionPhoto" Item:Length="{len(MP4)}"/></rdf:li>'
)
SAMSUNG = b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + MP4
SAMSUNG += (
    b"SEFH" + struct.pack("<IIHHII", 107, 1, 0, 0x0A30, len(SAMSUNG), len(SAMSUNG)) + struct.pack("<I", 24) + b"SEFT"
)
PHONES = {
    "gain map": (blocks.in_jpeg(JPEG, blocks.xmp_segment(GAIN_MAP)) + SECRET_JPEG, SECRET_JPEG, "announced as GainMap"),
    "motion photo": (blocks.in_jpeg(JPEG, blocks.xmp_segment(MOTION)) + MP4, MP4, "announced as MotionPhoto"),
    "both": (
        blocks.in_jpeg(JPEG, blocks.xmp_segment(GAIN_MAP + MOTION)) + SECRET_JPEG + MP4,
        MP4,
        "announced as MotionPhoto",
    ),
    "older motion photo": (
        blocks.in_jpeg(JPEG, blocks.xmp_segment(f'<rdf:Description GCamera:MicroVideoOffset="{len(MP4)}"/>')) + MP4,
        MP4,
        "announced as MicroVideo",
    ),
    "motion photo in a box": (AVIF + blocks.box(b"mpvd", MP4), MP4, "in the motion photo, as phones write it"),
}


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


ZIP = blocks.zip_file()
PE = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(100)
ELF = b"\x7fELF\2\1\1" + bytes(range(100))
FILES = {
    "zip archive": ZIP,
    "RAR archive": b"Rar!\x1a\7\1\0" + bytes(range(60)),
    "7-Zip archive": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(range(60)),
    "xz archive": b"\xfd7zXZ\0\0\4" + bytes(range(60)),
    "PDF document": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "Windows program": PE,
    "Unix program": ELF,
    "PHP script": b"<?php system($_GET['c']); ?>",
    "PHP archive": b"some stub __HALT_COMPILER(); ?>\r\n" + bytes(40),
    "web page": b"<!DOCTYPE html><html><script>alert(1)</script>",
}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("cover", ["jpeg", "png", "gif", "webp"])
def test_a_file_of_another_kind_is_named(cover, name):
    """Archives, programs, documents, pages and scripts are named, behind the end and in metadata."""
    behind = hidden_in(COVERS[cover] + FILES[name])
    found = [anomaly for anomaly in behind.anomalies if anomaly.kind is FILE]
    assert any(name in anomaly.detail for anomaly in found)
    assert TRAILING in kinds(behind)
    assert behind.embedded == ()
    inside = {
        "jpeg": blocks.in_jpeg(JPEG, blocks.segment(0xFE, b"text " + FILES[name])),
        "png": blocks.in_png(PNG, blocks.text_chunk(b"Comment", FILES[name])),
        "gif": blocks.in_gif(GIF, blocks.gif_extension(0xFE, b"text " + FILES[name])),
        "webp": blocks.in_webp(WEBP, (b"XTRA", FILES[name])),
    }[cover]
    found = [anomaly for anomaly in hidden_in(inside).anomalies if anomaly.kind is FILE]
    assert any(name in anomaly.detail for anomaly in found)


def test_a_shell_script_behind_the_end_is_named():
    """A script that begins with its interpreter is one at the beginning of a stretch only."""
    (anomaly, _) = hidden_in(JPEG + b"#!/bin/sh\necho hello world\n").anomalies
    assert anomaly.detail == "a shell script behind the end of the picture"


@pytest.mark.parametrize(
    ("tail", "words"), [(b"\x1f\x8b\x08" + bytes(range(40)), "archive"), (b"ID3" + bytes(range(40)), "sound")]
)
def test_other_files_right_behind_the_end_are_named(tail, words):
    """What is known by its first bytes only is named where it begins at the end."""
    anomalies = hidden_in(JPEG + tail).anomalies
    assert any(words in anomaly.detail for anomaly in anomalies if anomaly.kind is FILE)


def test_an_archive_is_found_from_its_end():
    """A zip whose offsets count from the beginning of the picture, or from its own, has its place and size."""
    for data in (PNG + ZIP, blocks.zip_file(PNG)):
        anomaly = next(anomaly for anomaly in hidden_in(data).anomalies if anomaly.kind is FILE)
        assert (anomaly.offset, anomaly.size) == (len(PNG), len(ZIP))
    assert FILE not in kinds(hidden_in(PNG + b"PK\5\6" + bytes(18)))


def test_an_archive_in_picture_data_is_found_from_its_end():
    """A polyglot that keeps the archive within the picture's data is one, too."""
    data = blocks.in_png(PNG, pictures.png_chunk(b"IDAT", ZIP))
    assert kinds(hidden_in(data)) == [FILE]


def test_a_video_with_sound_or_an_archive_is_searched_for_archives():
    """Whatever the medium, an archive at its end is found."""
    assert FILE in kinds(hidden_in(MP4 + ZIP))
    assert FILE in kinds(find_hidden(b"FLV\1" + bytes(99) + ZIP, sniff.FLASH_VIDEO))


def test_ordinary_metadata_raises_no_alarm():
    """Texts, profiles, captions, and an XMP packet with a history are what they are."""
    history = "".join(f'<rdf:li stEvt:action="saved" stEvt:when="2024-01-{day:02}"/>' for day in range(1, 29))
    jpeg = blocks.in_jpeg(
        JPEG,
        blocks.segment(0xFE, b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n"),
        blocks.xmp_segment(history),
        blocks.photoshop_segment(1028, b"\x1c\2\0\0\2\0\2\x1c\2\x50\0\5Maker"),
        *blocks.in_pieces(0xE2, b"ICC_PROFILE\0", PROFILE, numbered=True),
        blocks.segment(0xEE, b"Adobe\0d\0\0\0\0\1" + bytes(9)),
    )
    prompt = b'parameters\0{"3": {"inputs": {"seed": 1, "text": "a < b, c > d"}}}' * 100
    png = blocks.in_png(PNG, blocks.text_chunk(b"Software", b"a painting program"), pictures.png_chunk(b"tEXt", prompt))
    webp = blocks.in_webp(WEBP, (b"EXIF", blocks.exif_with_thumbnail(b"")), (b"XMP ", blocks.xmp(history)))
    for data in (jpeg, png, webp):
        hidden = hidden_in(data)
        assert (hidden.anomalies, hidden.embedded) == ((), ())


NOISE = np.random.default_rng(5).integers(32, 127, 2_000_000, np.uint8).tobytes().replace(b"<", b" ")
OVERSIZED = {
    "exif in jpeg": (
        blocks.in_jpeg(JPEG, *blocks.in_pieces(0xE1, b"Exif\0\0", b"MM\0*\0\0\0\x08" + NOISE[:70_000])),
        True,
    ),
    "exif in one segment": (
        blocks.in_jpeg(JPEG, blocks.segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08" + NOISE[:65_000])),
        False,
    ),
    "exif in png": (blocks.in_png(PNG, pictures.png_chunk(b"eXIf", b"MM\0*\0\0\0\x08" + NOISE[:70_000])), True),
    "exif in webp": (blocks.in_webp(WEBP, (b"EXIF", b"MM\0*\0\0\0\x08" + NOISE[:70_000])), True),
    "text": (blocks.in_png(PNG, blocks.text_chunk(b"prompt", NOISE[:1_050_000])), True),
    "long text": (blocks.in_png(PNG, blocks.text_chunk(b"prompt", NOISE[:1_000_000])), False),
    "deflated text": (blocks.in_png(PNG, pictures.png_chunk(b"zTXt", b"p\0\0" + zlib.compress(b"ab" * 600_000))), True),
    "comments": (blocks.in_jpeg(JPEG, *blocks.in_pieces(0xFE, b"", NOISE)), True),
    "profile": (blocks.in_jpeg(JPEG, *blocks.in_pieces(0xE2, b"ICC_PROFILE\0", NOISE * 3, numbered=True)), True),
    "printer's profile": (blocks.in_jpeg(JPEG, *blocks.in_pieces(0xE2, b"ICC_PROFILE\0", NOISE, numbered=True)), False),
    "xmp": (blocks.in_webp(WEBP, (b"XMP ", blocks.xmp(NOISE.decode()))), True),
    "gif comment": (blocks.in_gif(GIF, blocks.gif_extension(0xFE, NOISE)), True),
    "free box": (AVIF + blocks.box(b"free", NOISE), True),
    "empty free box": (AVIF + blocks.box(b"free", bytes(2_000_000)), False),
    "tags": (MP4 + blocks.box(b"udta", NOISE), True),
}


@pytest.mark.parametrize("form", sorted(OVERSIZED))
def test_metadata_larger_than_metadata_is(form):
    """Blocks beyond their limits are recorded with offset and size; what cameras and printers need is not."""
    data, oversized = OVERSIZED[form]
    anomalies = [anomaly for anomaly in hidden_in(data).anomalies if anomaly.kind is METADATA]
    assert len(anomalies) == oversized
    for anomaly in anomalies:
        assert 0 < anomaly.offset < anomaly.offset + anomaly.size <= len(data)


def test_a_large_picture_in_metadata_is_one_alarm():
    """What is found in a block counts no more towards its size."""
    large = pictures.encode(pictures.photo("coffee"), "png", compress_level=0)[: 2 * 1024 * 1024]
    hidden = hidden_in(blocks.in_webp(WEBP, (b"XTRA", pictures.encode(pictures.photo("retina"), "png"))))
    assert len(large) > 500_000
    assert kinds(hidden) == [PICTURE]
    assert hidden.anomalies[0].size > 1024 * 1024


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


def test_a_bare_codestream_is_known_at_the_end_only():
    """A JPEG XL without boxes is found right behind the end, by its first bytes, and nowhere else."""
    if "jxl" not in STILLS:
        pytest.skip("without the jxl extra no JPEG XL can be written")
    codestream = STILLS["jxl"](pictures.shapes(48, 32))
    assert codestream.startswith(b"\xff\x0a")
    hidden = hidden_in(JPEG + codestream)
    assert [bytes(embedded.data) for embedded in hidden.embedded] == [codestream]
    assert hidden.anomalies[0].detail.endswith("by its first bytes")
    assert hidden_in(JPEG + b"some text in front of it" + codestream).embedded == ()
    assert hidden_in(codestream).anomalies == ()


def test_bytes_of_no_kind_are_searched_from_the_first_one():
    """A picture behind junk is one in a file that no viewer shows."""
    (embedded,) = hidden_in(b"\n" + SECRET_JPEG).embedded
    assert (embedded.offset, bytes(embedded.data)) == (1, SECRET_JPEG)
    assert len(find_hidden(SECRET_JPEG, sniff.UNKNOWN).embedded) == 1


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
    """Who writes more beginnings of pictures than are looked at is found out by that."""
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


def test_crowded_metadata_is_reported():
    """More blocks than are searched are an anomaly, and the first of them are searched."""
    data = blocks.in_jpeg(JPEG, blocks.segment(0xFE, SECRET_PNG), blocks.segment(0xFE, b"x" * 20) * 1_100)
    assert set(kinds(hidden_in(data))) == {PICTURE, METADATA}


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


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(ALL_KINDS))
def test_random_bytes_are_searched(data, kind):
    """Random bytes taken for any kind of file are searched without an error."""
    check(data, kind)


@settings(max_examples=100)
@given(st.sampled_from(CANDIDATES), st.binary(max_size=200))
def test_random_bytes_behind_a_picture_are_searched(cover, tail):
    """Random bytes behind a true file are searched without an error."""
    check(cover + tail, sniff.sniff(cover))


@settings(max_examples=400)
@given(st.data())
def test_mutated_files_are_searched(data):
    """Flipped bytes, lost and doubled stretches of files with something hidden are searched without an error."""
    original = data.draw(st.sampled_from(CANDIDATES))
    mutated = bytearray(original)
    places = st.integers(0, len(mutated) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.sampled_from([0, 1, 8, 127, 128, 255])), max_size=10)):
        mutated[place] = value
    start, end = sorted((data.draw(places), data.draw(places)))
    change = data.draw(st.sampled_from(["none", "cut", "drop", "double"]))
    if change == "cut":
        del mutated[end:]
    elif change == "drop":
        del mutated[start:end]
    elif change == "double":
        mutated[end:end] = mutated[start:end]
    check(bytes(mutated), data.draw(st.sampled_from([sniff.sniff(original), sniff.sniff(bytes(mutated))])))
