"""Ordinary metadata raises no alarm, and metadata larger than metadata is does."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.hidden_pictures import (
    AVIF,
    GIF,
    JPEG,
    METADATA,
    MP4,
    PICTURE,
    PNG,
    SECRET_PNG,
    WEBP,
    hidden_in,
    kinds,
)
from support.media.hidden_samples import PROFILE


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


def test_crowded_metadata_is_reported():
    """More blocks than are searched are an anomaly, and the first of them are searched."""
    data = blocks.in_jpeg(JPEG, blocks.segment(0xFE, SECRET_PNG), blocks.segment(0xFE, b"x" * 20) * 1_100)
    assert set(kinds(hidden_in(data))) == {PICTURE, METADATA}
