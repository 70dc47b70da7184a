"""The worst that can stand in metadata costs a file no verdict: a picture with a megabyte of it is judged in time."""

from __future__ import annotations

import pytest
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.judging import MediaJudge, is_flagged

from lemmy_safety.detectors.hashes.canary import canary_image
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder

SIZE = 1 << 20
LIMITS = MediaLimits(max_bytes=5_000_000, max_pixels=5_000_000)
#: What begins a search, and what such a search then reads over and over if it gives back what it has read.
WORST = {
    "items in a list": (b"<li ", b"Item:"),
    "items in a description": (b"<rdf:Description ", b"Item:Item:"),
    "many open lists": (b"", b"<li Item:"),
    "open tags": (b"", b"<"),
    "tags with a prefix": (b"<", b"a"),
    "tags with many prefixes": (b"", b"<a:"),
    "lengths without a number": (b"<Item ", b"Item:Length"),
    "lengths and spaces": (b"<Item Item:Length", b" "),
    "a meaning without an end": (b"<Item Item:Semantic='", b"a"),
    "a video's offset and spaces": (b"MicroVideoOffset", b" "),
    "offsets of videos": (b"", b"MicroVideoOffset"),
    "one long picture in base64": (b"/9j/", b"A"),
    "beginnings of pictures in base64": (b"", b"/9j/"),
    "beginnings and spaces": (b"", b"/9j/ "),
    "character references": (b"/9j/", b"&#xA;"),
    "broken character references": (b"/9j/", b"&#x"),
    "drawings": (b"", b"<svg:"),
    "scripts": (b"#!", b" "),
    "web pages": (b"", b"<!doctype htm"),
}
PLACES = {
    "png": lambda picture, text: blocks.in_png(
        picture, pictures.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
    ),
    "jpeg": lambda picture, text: blocks.in_jpeg(picture, *blocks.extended_xmp_segments(text)),
    "webp": lambda picture, text: blocks.in_webp(picture, (b"XMP ", text)),
    "gif": lambda picture, text: blocks.in_gif(picture, blocks.gif_extension(0xFE, text)),
}


@pytest.fixture(scope="module")
def judge():
    with ProcessDecoder(LIMITS, workers=1, timeout_s=30, memory_bytes=1 << 30) as decoder:
        yield MediaJudge(decoder)


@pytest.fixture(scope="module")
def canary():
    return {form: pictures.encode(canary_image(), form) for form in PLACES}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("worst", WORST)
def test_a_picture_is_judged_whatever_its_metadata_are(judge, canary, place, worst):
    """The picture is seen and flagged, in any format, whatever a search through its metadata has to read."""
    start, over_and_over = WORST[worst]
    text = start + over_and_over * (SIZE // len(over_and_over))
    result = judge(place, PLACES[place](canary[place], text))
    assert is_flagged(result), result.reason
