"""What a file is, by its first bytes alone: never by its name or by what a server calls it.

Only tells kinds apart; it does not decode and promises nothing about the rest of the file. A kind is named even where
no decoder is at hand, so that the ledger can say "an MP4 video" instead of "unreadable".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# Far enough to see an SVG element behind an XML declaration, comments and a DOCTYPE.
_TEXT_WINDOW: Final = 1024
# Animated PNGs announce themselves before the first picture data; colour profiles can come earlier.
_MAX_PNG_CHUNKS_BEFORE_DATA: Final = 1000


class Family(StrEnum):
    """What the media room does with a kind."""

    STILL = "still"
    """Decoded here (of an animation, its first frame)."""
    PICTURE = "picture"
    """A picture that this version cannot decode."""
    VIDEO = "video"
    """Moving pictures in a container, perhaps with sound; not looked into by this version."""
    OTHER = "other"
    """Not a picture at all."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file. ``name`` fits into "it is ..." with its article."""

    media_type: str
    name: str
    family: Family


JPEG: Final = Kind("image/jpeg", "a JPEG picture", Family.STILL)
PNG: Final = Kind("image/png", "a PNG picture", Family.STILL)
APNG: Final = Kind("image/apng", "an animated PNG", Family.STILL)
GIF: Final = Kind("image/gif", "a GIF picture", Family.STILL)
WEBP: Final = Kind("image/webp", "a WebP picture", Family.STILL)
AVIF: Final = Kind("image/avif", "an AVIF picture", Family.STILL)
BMP: Final = Kind("image/bmp", "a BMP picture", Family.STILL)
TIFF: Final = Kind("image/tiff", "a TIFF picture", Family.STILL)

JXL: Final = Kind("image/jxl", "a JPEG XL picture", Family.PICTURE)
HEIC: Final = Kind("image/heic", "a HEIC picture", Family.PICTURE)
JPEG2000: Final = Kind("image/jp2", "a JPEG 2000 picture", Family.PICTURE)
ICON: Final = Kind("image/vnd.microsoft.icon", "a Windows icon", Family.PICTURE)
PSD: Final = Kind("image/vnd.adobe.photoshop", "a Photoshop picture", Family.PICTURE)
SVG: Final = Kind("image/svg+xml", "an SVG drawing", Family.PICTURE)
CANON_RAW: Final = Kind("image/x-canon-cr3", "a camera raw picture", Family.PICTURE)
QOI: Final = Kind("image/qoi", "a QOI picture", Family.PICTURE)
OPENEXR: Final = Kind("image/x-exr", "an OpenEXR picture", Family.PICTURE)

MP4: Final = Kind("video/mp4", "an MP4 video", Family.VIDEO)
QUICKTIME: Final = Kind("video/quicktime", "a QuickTime video", Family.VIDEO)
WEBM: Final = Kind("video/webm", "a WebM video", Family.VIDEO)
MATROSKA: Final = Kind("video/x-matroska", "a Matroska video", Family.VIDEO)
AVI: Final = Kind("video/x-msvideo", "an AVI video", Family.VIDEO)
OGG: Final = Kind("application/ogg", "an Ogg video or sound file", Family.VIDEO)
FLASH_VIDEO: Final = Kind("video/x-flv", "a Flash video", Family.VIDEO)
MPEG: Final = Kind("video/mpeg", "an MPEG video", Family.VIDEO)

EMPTY: Final = Kind("application/x-empty", "an empty file", Family.OTHER)
AUDIO: Final = Kind("audio/*", "a sound file", Family.OTHER)
PDF: Final = Kind("application/pdf", "a PDF document", Family.OTHER)
ARCHIVE: Final = Kind("application/zip", "an archive", Family.OTHER)
PROGRAM: Final = Kind("application/x-executable", "a program", Family.OTHER)
HTML: Final = Kind("text/html", "a web page", Family.OTHER)
XML: Final = Kind("text/xml", "an XML text", Family.OTHER)
TEXT: Final = Kind("text/plain", "a text", Family.OTHER)
UNKNOWN: Final = Kind("application/octet-stream", "of no kind that is known", Family.OTHER)

# Prefixes that decide alone. Sources: the formats' own specifications, as collected in the WHATWG "MIME Sniffing"
# standard and the PRONOM registry.
_PREFIXES: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\xff\x0a", JXL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"\0\0\1\0", ICON),
    (b"\0\0\2\0", ICON),
    (b"8BPS\0", PSD),
    (b"qoif", QOI),
    (b"v/1\1", OPENEXR),
    (b"OggS\0", OGG),
    (b"FLV\1", FLASH_VIDEO),
    (b"\0\0\1\xba", MPEG),
    (b"\0\0\1\xb3", MPEG),
    (b"ID3", AUDIO),
    (b"fLaC", AUDIO),
    (b"%PDF-", PDF),
    (b"PK\3\4", ARCHIVE),
    (b"PK\5\6", ARCHIVE),
    (b"Rar!\x1a\7", ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"\x1f\x8b\x08", ARCHIVE),
    (b"BZh", ARCHIVE),
    (b"\xfd7zXZ\0", ARCHIVE),
    (b"\x28\xb5\x2f\xfd", ARCHIVE),
    (b"\x7fELF", PROGRAM),
)

_RIFF: Final = {b"WEBP": WEBP, b"AVI ": AVI, b"WAVE": AUDIO}
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})
# QuickTime files older than the file type box begin with one of these.
_BARE_QUICKTIME_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
# Sizes of the header that follows the 14 bytes every BMP starts with: "BM" alone also starts many an English text.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_SVG_ELEMENT: Final = re.compile(rb"<(?:[a-z0-9_-]+:)?svg[\s>]", re.IGNORECASE)
_HTML_START: Final = re.compile(rb"<(?:!doctype html|html|head|body|script)\b", re.IGNORECASE)
_BINARY_BYTES: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def sniff(data: bytes) -> Kind:
    """Name the kind of ``data``; never raises, looks at the first few kilobytes only."""
    if not data:
        return EMPTY
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return APNG if _announces_animation(data) else PNG
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    return _by_container(data) or _by_text(data[:_TEXT_WINDOW]) or UNKNOWN


def _by_container(data: bytes) -> Kind | None:
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _by_brands(data)
    if data.startswith(b"\x1aE\xdf\xa3"):
        return WEBM if b"webm" in data[:64] else MATROSKA
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return BMP
    if data[4:8] in _BARE_QUICKTIME_BOXES:
        return QUICKTIME
    return None


def _by_brands(data: bytes) -> Kind:
    """Tell apart what shares the ISO base media container, by its major and compatible brands."""
    length = min(int.from_bytes(data[:4], "big"), _TEXT_WINDOW)
    major = data[8:12]
    brands = {major, *(data[at : at + 4] for at in range(16, length - 3, 4))}
    # Browsers take a file for AVIF when any brand says so, whatever the major brand is; "mif1" is shared with HEIC.
    if brands & _AVIF_BRANDS:
        return AVIF
    if major in _HEIC_BRANDS:
        return HEIC
    if major == b"crx ":
        return CANON_RAW
    if major == b"qt  ":
        return QUICKTIME
    return AUDIO if major in _AUDIO_BRANDS else MP4


def _announces_animation(data: bytes) -> bool:
    """Whether an ``acTL`` chunk stands before the first picture data, as the APNG specification demands."""
    at = 8
    for _ in range(_MAX_PNG_CHUNKS_BEFORE_DATA):
        name = data[at + 4 : at + 8]
        if name == b"acTL":
            return True
        if name == b"IDAT" or len(name) < 4:  # noqa: PLR2004 - chunk names have four bytes
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _by_text(start: bytes) -> Kind | None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return TEXT
    body = start.removeprefix(b"\xef\xbb\xbf")
    if _BINARY_BYTES.search(body):
        return None
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        # The window may cut the last character in two.
        if error.start < len(body) - 3 or len(start) < _TEXT_WINDOW:
            return None
    if _SVG_ELEMENT.search(body):
        return SVG
    body = body.lstrip()
    if _HTML_START.match(body):
        return HTML
    return XML if body.startswith(b"<?xml") else TEXT
