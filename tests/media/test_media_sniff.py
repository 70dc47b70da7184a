"""Kinds are told by content alone."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import pictures

from lemmy_safety.media import sniff


@pytest.mark.parametrize(("file_format", "media_type"), pictures.STILL_FORMATS.items())
def test_every_still_format_is_named(file_format, media_type):
    """A still is recognised by its first bytes."""
    assert sniff.sniff(pictures.encode(pictures.gradient(), file_format)).media_type == media_type


@pytest.mark.parametrize(("file_format", "media_type"), pictures.ANIMATION_FORMATS.items())
def test_every_animation_format_is_named(file_format, media_type):
    """An animation has the media type of its format; an animated PNG is told from a PNG."""
    data = pictures.encode_animation([pictures.gradient(seed=n) for n in range(3)], file_format)
    assert sniff.sniff(data).media_type == media_type


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", sniff.EMPTY),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", sniff.MP4),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", sniff.QUICKTIME),
        (b"\0\0\0\x08wide\0\0\0\x10mdat", sniff.QUICKTIME),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", sniff.AUDIO),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", sniff.HEIC),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", sniff.HEIC),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", sniff.AVIF),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavif", sniff.AVIF),
        (b"\0\0\0\x18ftypcrx \0\0\0\0isomcrx ", sniff.CANON_RAW),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\x82\x84webm", sniff.WEBM),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\x82\x88matroska", sniff.MATROSKA),
        (b"RIFF\x24\0\0\0AVI LIST", sniff.AVI),
        (b"RIFF\x24\0\0\0WAVEfmt ", sniff.AUDIO),
        (b"\xff\x0a\xfa\x7f", sniff.JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", sniff.JXL),
        (b"\0\0\0\x0cjP  \r\n\x87\n", sniff.JPEG2000),
        (b"%PDF-1.7\n", sniff.PDF),
        (b"PK\3\4\x14\0", sniff.ARCHIVE),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', sniff.SVG),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg:svg xmlns:svg="x">', sniff.SVG),
        (b'<?xml version="1.0"?><rss/>', sniff.XML),
        (b"\n <!DOCTYPE html><title>404</title>", sniff.HTML),
        (b'{"error": "not found"}', sniff.TEXT),
        ("Größe: 5 €".encode(), sniff.TEXT),
        ("é".encode() * 2000, sniff.TEXT),
        (b"x" + "é".encode() * 2000, sniff.TEXT),
        (b"\xff\xfeH\0i\0", sniff.TEXT),
        (b"BMW and other cars", sniff.TEXT),
        (bytes(range(256)), sniff.UNKNOWN),
        (b"\0" * 100, sniff.UNKNOWN),
    ],
)
def test_other_kinds_are_named(data, kind):
    """What is no still gets its own name, so that the ledger can say what it was."""
    assert sniff.sniff(data) is kind


def test_a_png_that_mentions_animation_after_its_data_is_a_still():
    """Only an acTL chunk before the picture data makes an animated PNG."""
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "png")
    assert sniff.sniff(out.getvalue() + pictures.png_chunk(b"acTL", bytes(8))) is sniff.PNG


@given(st.binary(max_size=2000))
def test_any_bytes_have_a_kind(data):
    """Sniffing never raises."""
    assert isinstance(sniff.sniff(data), sniff.Kind)
