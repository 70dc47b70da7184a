"""Files with a picture in each place that is known: where none belongs, where cameras put previews, as phones append."""

from __future__ import annotations

import struct
import zlib

from support.media import picture_blocks as blocks
from support.media import pictures
from support.media.hidden_pictures import (
    AVIF,
    GIF,
    JPEG,
    MP4,
    PNG,
    SECRET,
    SECRET_JPEG,
    SECRET_PNG,
    SECRETS,
    WEBP,
)

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

ZIP = blocks.zip_file()
PE = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(100)
ELF = b"\x7fELF\2\1\1" + bytes(range(100))
