"""Kinds are told by content alone, as browsers and players tell them; extensions are only compared with them."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.files import ANIMATIONS, STILLS, VIDEOS, encode_video

from lemmy_safety.media import sniff
from lemmy_safety.media.extensions import lying_extension
from lemmy_safety.records import AnomalyKind

FRAMES = [pictures.shapes(64, 48, seed=number) for number in range(8)]
VIDEO_KINDS = {"mp4": sniff.MP4, "mov": sniff.QUICKTIME, "webm": sniff.WEBM, "mkv": sniff.MATROSKA}


@pytest.mark.parametrize(("file_format", "media_type"), pictures.STILL_FORMATS.items())
def test_every_still_format_is_named(file_format, media_type):
    """A still is recognised by its first bytes."""
    assert sniff.sniff(pictures.encode(pictures.gradient(), file_format)).media_type == media_type


@pytest.mark.parametrize("form", sorted(STILLS))
def test_every_form_of_still_is_named_and_does_not_move(form):
    """All the ways that a format can be written lead to its kind, which is a still."""
    data = STILLS[form](pictures.shapes(64, 48))
    kind = sniff.sniff(data)
    assert kind.media_type.endswith(form.split()[0])
    assert kind.family is sniff.Family.STILL
    assert not sniff.is_animated(data, kind)


@pytest.mark.parametrize(("file_format", "media_type"), pictures.ANIMATION_FORMATS.items())
def test_every_animation_format_is_named(file_format, media_type):
    """An animation has the media type of its format; an animated PNG is told from a PNG."""
    data = pictures.encode_animation([pictures.gradient(seed=n) for n in range(3)], file_format)
    assert sniff.sniff(data).media_type == media_type


@pytest.mark.parametrize("form", sorted(ANIMATIONS))
def test_every_form_of_animation_moves(form):
    """That a picture moves is read from its structure, also where its last bytes are missing."""
    data = ANIMATIONS[form](FRAMES, [125] * 8)
    kind = sniff.sniff(data)
    assert kind.family is sniff.Family.STILL
    assert sniff.is_animated(data, kind)
    assert sniff.is_animated(data[:-20], sniff.sniff(data[:-20]))


@pytest.mark.parametrize("form", sorted(VIDEOS))
def test_every_form_of_video_is_named(form):
    """The container decides, not the codec in it; a video is no animated picture."""
    data = encode_video(FRAMES, [125] * 8, VIDEOS[form])
    kind = sniff.sniff(data)
    assert kind is VIDEO_KINDS[form.split()[0]]
    assert kind.family is sniff.Family.VIDEO
    assert not sniff.is_animated(data, kind)


def ftyp(major, *compatible, version=bytes(4)):
    return blocks.box(b"ftyp", major, version, *compatible)


MOOV = blocks.box(b"moov", blocks.box(b"mvhd", bytes(100)))
META = blocks.box(b"meta", bytes(4))
EBML = 0x1A45DFA3
DOC_TYPE = 0x4282


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", sniff.EMPTY),
        (ftyp(b"isom", b"iso2avc1mp41"), sniff.MP4),
        (ftyp(b"isom", b"mp41") + MOOV, sniff.MP4),
        (ftyp(b"dash", b"iso6"), sniff.MP4),
        (ftyp(b"M4V ", b"mp42"), sniff.MP4),
        (ftyp(b"none that is known"[:4], b"isom"), sniff.MP4),
        (b"\xff\xff\xff\xffftypisom", sniff.MP4),
        (blocks.box(b"styp", b"msdh\0\0\0\0msix") + blocks.box(b"moof", bytes(20)), sniff.MP4),
        (blocks.box(b"sidx", bytes(30)) + blocks.box(b"moof", bytes(20)), sniff.MP4),
        (blocks.box(b"moof", bytes(20)) + blocks.box(b"mdat", bytes(20)), sniff.MP4),
        (blocks.box(b"free") + ftyp(b"isom") + MOOV, sniff.MP4),
        (blocks.box(b"skip", bytes(5000)) + ftyp(b"mp42") + MOOV, sniff.MP4),
        (blocks.box(b"uuid", bytes(16)) + ftyp(b"mp42"), sniff.MP4),
        (blocks.box(b"mdat", bytes(5000)) + ftyp(b"mp42") + MOOV, sniff.MP4),
        (blocks.box(b"free", bytes(3000)) + ftyp(b"mif1", b"avif") + META, sniff.AVIF),
        (ftyp(b"3gp4", b"isom"), sniff.THREE_GP),
        (ftyp(b"3g2a", b"3gp6"), sniff.THREE_GP),
        (ftyp(b"qt  ", b"qt  "), sniff.QUICKTIME),
        (b"\0\0\0\x08wide\0\0\0\x10mdat", sniff.QUICKTIME),
        (MOOV, sniff.QUICKTIME),
        (blocks.box(b"mdat", bytes(500)) + MOOV, sniff.QUICKTIME),
        (blocks.box(b"pnot", bytes(12)) + MOOV, sniff.QUICKTIME),
        (ftyp(b"M4A ", b"mp42"), sniff.AUDIO),
        (ftyp(b"heic", b"mif1", b"heic"), sniff.HEIC),
        (ftyp(b"mif1", b"mif1", b"heic"), sniff.HEIC),
        (ftyp(b"msf1", b"hevc"), sniff.HEIC),
        (ftyp(b"avci", b"mif1"), sniff.HEIC),
        (ftyp(b"mif1", b"mif1", b"avif"), sniff.AVIF),
        (ftyp(b"isom", b"isom", b"avif"), sniff.AVIF),
        (ftyp(b"isom", *[b"iso2"] * 2000, b"avif"), sniff.AVIF),
        (ftyp(b"avif", b"mif1", b"miaf"), sniff.AVIF),
        (ftyp(b"avis", b"msf1", b"avif") + META + MOOV, sniff.AVIF),
        (ftyp(b"msf1", b"avis") + MOOV, sniff.AVIF),
        (ftyp(b"mif3", version=b"avif"), sniff.AVIF),
        (ftyp(b"isom", b"avif") + MOOV, sniff.MP4),
        (ftyp(b"isom", b"avif") + MOOV + META, sniff.AVIF),
        (ftyp(b"isom", b"xxav", b"ifxx"), sniff.MP4),
        (ftyp(b"crx ", b"isom"), sniff.CANON_RAW),
        (blocks.element(EBML, blocks.element(DOC_TYPE, b"webm")), sniff.WEBM),
        (blocks.element(EBML, blocks.element(DOC_TYPE, b"webm\0\0")), sniff.WEBM),
        (blocks.element(EBML, blocks.element(0xEC, bytes(300)) + blocks.element(DOC_TYPE, b"webm")), sniff.WEBM),
        (blocks.element(EBML, blocks.element(DOC_TYPE, b"matroska")), sniff.MATROSKA),
        (blocks.element(EBML, blocks.element(DOC_TYPE, b"matroska") + blocks.element(0xEC, b"webm")), sniff.MATROSKA),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\x82\x84webm", sniff.WEBM),
        (b"\x1aE\xdf\xa3 cut off", sniff.MATROSKA),
        (b"RIFF\x24\0\0\0AVI LIST", sniff.AVI),
        (b"RIFF\x24\0\0\0WAVEfmt ", sniff.AUDIO),
        (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora" + bytes(40), sniff.OGG),
        (b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis" + bytes(40), sniff.AUDIO),
        (b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis" + bytes(40) + b"OggS\0\2\x80theora", sniff.OGG),
        (b"FLV\1\5\0\0\0\x09", sniff.FLASH_VIDEO),
        (b"\0\0\1\xba\x44\0", sniff.MPEG),
        ((b"\x47\x40\0\x10" + bytes(184)) * 5, sniff.MPEG_TS),
        ((bytes(4) + b"\x47\x40\0\x10" + bytes(184)) * 8, sniff.MPEG_TS),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(60), sniff.WINDOWS_MEDIA),
        (b"\xff\x0a\xfa\x7f", sniff.JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", sniff.JXL),
        (b"\0\0\0\x0cjP  \r\n\x87\n", sniff.JPEG2000),
        (b"\xff\x4f\xff\x51\0", sniff.JPEG2000),
        (b"\0\0\1\0\1\0" + bytes(16), sniff.ICON),
        (b"\0\0\1\0" + bytes(60), sniff.UNKNOWN),
        (b"8BPS\0\1", sniff.PSD),
        (b"\xff\xd8\xff\xe0", sniff.JPEG),
        (b"\n\xff\xd8\xff\xe0\0\x10JFIF", sniff.UNKNOWN),
        (b"\xff\xff\xd8\xff\xe0\0\x10JFIF", sniff.UNKNOWN),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", sniff.UNKNOWN),
        (b"GIF88a\1\0\1\0\0\0\0", sniff.UNKNOWN),
        (b"MM\0+\0\x08\0\0", sniff.TIFF),
        (b"%PDF-1.7\n", sniff.PDF),
        (b"PK\3\4\x14\0", sniff.ARCHIVE),
        (b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0", sniff.PROGRAM),
        (b"MZ is how this text begins", sniff.TEXT),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', sniff.SVG),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg:svg xmlns:svg="x">', sniff.SVG),
        (b"\xef\xbb\xbf<!-- " + b"x" * 50_000 + b" --><svg/><svg >", sniff.SVG),
        (b'<?xml version="1.0"?>' + b"<!-- drawn -->" * 1_000 + b"<svg:svg xmlns:svg='x'>", sniff.SVG),
        (b"<!DOCTYPE html><p>" + b"x" * 2_000 + b"<svg >", sniff.HTML),
        (b'<?xml version="1.0"?><rss/>', sniff.XML),
        (b"\n <!DOCTYPE html><title>404</title>", sniff.HTML),
        (b'{"error": "not found"}', sniff.TEXT),
        ("Größe: 5 €".encode(), sniff.TEXT),
        ("é".encode() * 2000, sniff.TEXT),
        (b"x" + "é".encode() * 2000, sniff.TEXT),
        (b"\xff\xfeH\0i\0", sniff.TEXT),
        (b"BMW and other cars", sniff.TEXT),
        (b"Good morning to all of you, whoever you are.\n" * 40, sniff.TEXT),
        (bytes(range(256)), sniff.UNKNOWN),
        (b"\0" * 100, sniff.UNKNOWN),
    ],
)
def test_other_kinds_are_named(data, kind):
    """Every kind has its own name, whatever stands around what tells it; a view of the bytes tells the same."""
    assert sniff.sniff(data) is kind
    assert sniff.sniff(memoryview(data)) is kind


def test_a_bmp_is_known_by_its_header():
    """All sizes of header that browsers accept follow the two letters, and no other number does."""
    for size in (12, 16, 40, 56, 64, 108, 124):
        assert sniff.sniff(b"BM" + bytes(12) + struct.pack("<I", size) + bytes(40)) is sniff.BMP
    assert sniff.sniff(b"BM" + bytes(12) + struct.pack("<I", 41) + bytes(40)) is sniff.UNKNOWN


def test_a_png_that_mentions_animation_after_its_data_is_a_still():
    """Only an acTL chunk before the picture data makes an animated PNG."""
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "png")
    assert sniff.sniff(out.getvalue() + pictures.png_chunk(b"acTL", bytes(8))) is sniff.PNG


@pytest.mark.parametrize(("count", "moves"), [(0, False), (1, False), (2, True)])
def test_an_animated_png_moves_if_it_announces_two_frames(count, moves):
    """The announcement tells; an animation of one frame stands still."""
    data = pictures.encode(pictures.gradient(), "png")
    data = data[:33] + pictures.png_chunk(b"acTL", struct.pack(">II", count, 0)) + data[33:]
    assert sniff.sniff(data) is sniff.APNG
    assert sniff.is_animated(data, sniff.APNG) is moves


def test_a_gif_of_one_frame_stands_still():
    """Extensions are no frames."""
    data = blocks.in_gif(pictures.encode(pictures.gradient(), "gif"), blocks.gif_extension(0xFE, b"a comment"))
    assert not sniff.is_animated(data, sniff.GIF)


def test_a_webp_moves_if_its_header_says_so():
    """The flag in the extended header decides, as it does in libwebp."""
    assert not sniff.is_animated(pictures.encode(pictures.gradient(), "webp", exif=bytes(20)), sniff.WEBP)
    assert not sniff.is_animated(b"RIFF\x10\0\0\0WEBPVP8 \2\0\0\0\2\2", sniff.WEBP)


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_kind(data):
    """Sniffing never raises."""
    kind = sniff.sniff(data)
    assert isinstance(kind, sniff.Kind)
    assert sniff.is_animated(data, kind) in {True, False}


@given(
    st.sampled_from(
        [b"\0\0\0\x20ftyp", b"\x1aE\xdf\xa3\x9f", b"GIF89a", b"RIFF", b"\x89PNG\r\n\x1a\n", b"MZ", b"OggS\0"]
    ),
    st.binary(max_size=300),
)
def test_any_bytes_behind_a_true_start_have_a_kind(start, rest):
    """What follows a signature cannot make sniffing raise."""
    kind = sniff.sniff(start + rest)
    assert sniff.is_animated(start + rest, kind) in {True, False}


V7 = "01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789ab"
LEGACY = "files/1/23/2f1c6e2e-7c39-4c0e-9b7f-6ad0e1a0f9d1"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (f"{V7}.webp", sniff.WEBP),
        (f"{V7}.jpeg", sniff.JPEG),
        (f"{V7}.apng", sniff.APNG),
        (f"{V7}.png", sniff.APNG),
        (f"{V7}", sniff.JPEG),
        (LEGACY, sniff.GIF),
        (f"{LEGACY}.mp4", sniff.MP4),
        ("media/photo.JPG", sniff.JPEG),
        ("media/photo.jfif", sniff.JPEG),
        ("clip.mov", sniff.MP4),
        ("clip.mp4", sniff.QUICKTIME),
        ("clip.m4v", sniff.THREE_GP),
        ("clip.mkv", sniff.WEBM),
        ("clip.webm", sniff.MATROSKA),
        ("clip.gifv", sniff.MP4),
        ("photo.heif", sniff.AVIF),
        ("photo.avif", sniff.HEIC),
        ("scan.tif", sniff.TIFF),
        ("raw.dng", sniff.TIFF),
        ("sound.ogg", sniff.AUDIO),
        ("photo.bin", sniff.JPEG),
        ("archive.v2/photo", sniff.JPEG),
        ("photo.", sniff.JPEG),
        (".jpeg", sniff.PNG),
        ("", sniff.PNG),
        ("photo.jpeg", sniff.UNKNOWN),
    ],
)
def test_an_extension_that_fits_or_says_nothing_is_no_lie(key, kind):
    """Synonyms, keys without an extension, and extensions that mean nothing to us raise no alarm."""
    assert lying_extension(key, kind.media_type) is None


@pytest.mark.parametrize(
    ("key", "kind", "detail"),
    [
        (f"{V7}.webp", sniff.JPEG, "its name ends in .webp, and it is image/jpeg"),
        (f"{V7}.GIF", sniff.WEBP, "its name ends in .gif, and it is image/webp"),
        (f"{LEGACY}.jpeg", sniff.MP4, "its name ends in .jpeg, and it is video/mp4"),
        ("photo.jpg", sniff.ARCHIVE, "its name ends in .jpg, and it is application/zip"),
        ("photo.png.jpg", sniff.PNG, "its name ends in .jpg, and it is image/png"),
        ("movie.mp4", sniff.WEBM, "its name ends in .mp4, and it is video/webm"),
        ("page.html", sniff.JPEG, "its name ends in .html, and it is image/jpeg"),
    ],
)
def test_an_extension_that_lies_is_an_anomaly(key, kind, detail):
    """The anomaly says what the name claims and what the bytes are."""
    anomaly = lying_extension(key, kind.media_type)
    assert anomaly is not None
    assert (anomaly.kind, anomaly.detail, anomaly.offset) == (AnomalyKind.LYING_EXTENSION, detail, None)


@given(st.text(), st.sampled_from(["image/jpeg", "video/mp4", ""]))
def test_any_key_is_compared(key, media_type):
    """Whatever a key is made of, comparing it does not raise."""
    anomaly = lying_extension(key, media_type)
    assert anomaly is None or anomaly.detail.isprintable()
