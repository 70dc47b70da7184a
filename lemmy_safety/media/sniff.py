"""Names what a file is, by its bytes alone: never by its name or by a server's media type.

Only distinguishes kinds; it does not decode and promises nothing about the rest of the file. It also names kinds
without a decoder, so that the ledger can say "a Photoshop picture" instead of "unreadable".

Why no library: three were tried on 37 headers (puremagic 1.30, the last for Python 3.11; filetype 1.2.0 of 2022;
python-magic 0.4.27 with libmagic). The kind decides which decoder gets the bytes, so a wrong one is a way around the
check, and each was wrong where it matters. None treats an MP4 that also has the brand AVIF as AVIF, as browsers do;
none knows a fragmented MP4 that begins with a segment box, nor a file of the brand mif3. puremagic calls AVIF an MP4
and every Matroska a WebM. filetype knows neither AVIF sequences nor JPEG XL, and takes four bytes for a PNG. Both take
"BMW" for a BMP. libmagic finds no MP4 after a leading free box, needs a C library, and does not distinguish an animated
PNG from a still.

What counts as a picture follows the browsers (WHATWG, MIME Sniffing 6.1; Chromium's image decoders): signatures
are at the first byte. A JPEG after a line break does not count, because no browser shows it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lemmy_safety.media.structure import bitmap, boxes, ebml, gif, tiff
from lemmy_safety.media.structure.parts import MAX_STEPS, Octets, big, little

# Far enough to see an SVG element after an XML declaration, comments and a DOCTYPE.
_TEXT_WINDOW: Final = 1024
_DRAWING_WINDOW: Final = 1024 * 1024
_OGG_WINDOW: Final = 4096


class Family(StrEnum):
    """Which of this room's decoders handles a kind."""

    STILL = "still"
    """A picture; some kinds can move instead, see ``is_animated``."""
    VIDEO = "video"
    """Moving pictures in a container, perhaps with sound."""
    PICTURE = "picture"
    """A picture that no decoder here reads."""
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
JXL: Final = Kind("image/jxl", "a JPEG XL picture", Family.STILL)
HEIC: Final = Kind("image/heic", "a HEIC picture", Family.STILL)
JPEG2000: Final = Kind("image/jp2", "a JPEG 2000 picture", Family.STILL)
ICON: Final = Kind("image/vnd.microsoft.icon", "a Windows icon", Family.STILL)

PSD: Final = Kind("image/vnd.adobe.photoshop", "a Photoshop picture", Family.PICTURE)
SVG: Final = Kind("image/svg+xml", "an SVG drawing", Family.PICTURE)
CANON_RAW: Final = Kind("image/x-canon-cr3", "a camera raw picture", Family.PICTURE)
QOI: Final = Kind("image/qoi", "a QOI picture", Family.PICTURE)
OPENEXR: Final = Kind("image/x-exr", "an OpenEXR picture", Family.PICTURE)

MP4: Final = Kind("video/mp4", "an MP4 video", Family.VIDEO)
QUICKTIME: Final = Kind("video/quicktime", "a QuickTime video", Family.VIDEO)
THREE_GP: Final = Kind("video/3gpp", "a 3GP video", Family.VIDEO)
WEBM: Final = Kind("video/webm", "a WebM video", Family.VIDEO)
MATROSKA: Final = Kind("video/x-matroska", "a Matroska video", Family.VIDEO)
AVI: Final = Kind("video/x-msvideo", "an AVI video", Family.VIDEO)
OGG: Final = Kind("video/ogg", "an Ogg video", Family.VIDEO)
FLASH_VIDEO: Final = Kind("video/x-flv", "a Flash video", Family.VIDEO)
MPEG: Final = Kind("video/mpeg", "an MPEG video", Family.VIDEO)
MPEG_TS: Final = Kind("video/mp2t", "an MPEG transport stream", Family.VIDEO)
WINDOWS_MEDIA: Final = Kind("video/x-ms-asf", "a Windows Media video", Family.VIDEO)

EMPTY: Final = Kind("application/x-empty", "an empty file", Family.OTHER)
AUDIO: Final = Kind("audio/*", "a sound file", Family.OTHER)
PDF: Final = Kind("application/pdf", "a PDF document", Family.OTHER)
ARCHIVE: Final = Kind("application/zip", "an archive", Family.OTHER)
PROGRAM: Final = Kind("application/x-executable", "a program", Family.OTHER)
HTML: Final = Kind("text/html", "a web page", Family.OTHER)
XML: Final = Kind("text/xml", "an XML text", Family.OTHER)
TEXT: Final = Kind("text/plain", "a text", Family.OTHER)
UNKNOWN: Final = Kind("application/octet-stream", "of no kind that is known", Family.OTHER)

# Prefixes that are sufficient alone. Sources: the formats' own specifications, as collected in the WHATWG "MIME
# Sniffing"
# standard and the PRONOM registry.
_PREFIXES: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    *((start, TIFF) for start in tiff.STARTS),
    (b"\xff\x0a", JXL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"8BPS\0", PSD),
    (b"qoif", QOI),
    (b"v/1\1", OPENEXR),
    (b"FLV\1", FLASH_VIDEO),
    (b"\0\0\1\xba", MPEG),
    (b"\0\0\1\xb3", MPEG),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), WINDOWS_MEDIA),
    (b"ID3", AUDIO),
    (b"\xff\xfb", AUDIO),
    (b"\xff\xf3", AUDIO),
    (b"\xff\xf2", AUDIO),
    (b"\xff\xf1", AUDIO),
    (b"\xff\xf9", AUDIO),
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
_ICON_PREFIXES: Final = frozenset({b"\0\0\1\0", b"\0\0\2\0"})
_ICON_ENTRY_END: Final = 22

#: Brands of one file that are checked.
MAX_BRANDS: Final = 100_000
_AVIF: Final = b"avif"
_AVIF_SEQUENCE: Final = b"avis"
# HEIF with HEVC, and with other codings than AV1 (ISO/IEC 23008-12 annexes; libheif's list of brands).
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2", b"mif3"}
    | {b"avci", b"avcs", b"vvic", b"vvis", b"jpeg", b"jpgs", b"j2ki", b"j2is", b"MiHB", b"MiHE"}
)
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})
# Beginnings of boxed files that have no file type box first: QuickTime from before that box existed, pieces of a
# fragmented MP4, and padding before the file type box.
_FIRST_BOXES: Final = frozenset(
    {
        b"ftyp",
        b"moov",
        b"mdat",
        b"wide",
        b"free",
        b"skip",
        b"pnot",
        b"uuid",
        b"styp",
        b"sidx",
        b"moof",
        b"emsg",
        b"prft",
    }
)
_FRAGMENT_BOXES: Final = frozenset({b"styp", b"sidx", b"moof", b"emsg", b"prft"})

# Packets of 188 bytes, on Blu-ray discs each preceded by a time code of 4, or followed by a checksum of 16.
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
_TS_SYNC: Final = 0x47
_TS_MIN_PACKETS: Final = 5
_TS_MAX_PACKETS: Final = 8

_OGG_VIDEO: Final = re.compile(rb"\x80theora|BBCD\0|OVP80|\x01video\0\0\0")
_OGG_SOUND: Final = re.compile(rb"\x01vorbis|OpusHead|\x7fFLAC|Speex   ")

_WEBP_ANIMATION_FLAG: Final = 0x02
_SVG_ELEMENT: Final = re.compile(rb"<(?:[a-z0-9_-]++:)?svg[\s>]", re.IGNORECASE)
_HTML_START: Final = re.compile(rb"<(?:!doctype html|html|head|body|script)\b", re.IGNORECASE)
_BINARY_BYTES: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def sniff(data: Octets) -> Kind:
    """Name the kind of ``data``; never raises. Reads the beginning, and of boxed files the chain of outermost boxes."""
    start = bytes(data[:_TEXT_WINDOW])
    if not start:
        return EMPTY
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return APNG if _animation_control(data) is not None else PNG
    for prefix, kind in _PREFIXES:
        if start.startswith(prefix):
            return kind
    return _by_container(data, start) or _by_text(data, start) or UNKNOWN


def is_animated(data: Octets, kind: Kind) -> bool:
    """Whether a GIF, APNG, WebP or AVIF moves, by its structure; False for every other kind. Never raises."""
    if kind is GIF:
        frames = (block for block in gif.blocks(data) if block.kind == gif.FRAME)
        return next(frames, None) is not None and next(frames, None) is not None
    if kind is APNG:
        control = _animation_control(data)
        return control is not None and big(data, control, 4) > 1
    if kind is WEBP:
        return data[12:16] == b"VP8X" and bool(little(data, 20, 1) & _WEBP_ANIMATION_FLAG)
    if kind is AVIF:
        # The first one counts; libavif refuses a second one, which is another file after the end.
        first = next((box for box in boxes.boxes(data, any_name=True) if box.name == b"ftyp"), None)
        return first is not None and _has_brand(data, first, _AVIF_SEQUENCE)
    return False


def _by_container(data: Octets, start: bytes) -> Kind | None:
    if start.startswith(b"RIFF"):
        return _RIFF.get(start[8:12])
    if start[4:8] in _FIRST_BOXES:
        return _by_boxes(data, start)
    # Players find the tracks after a box of any name. The beginning of an icon can also be the length of a box.
    if start[:4] not in _ICON_PREFIXES and boxes.movie(data) is not None:
        return _by_boxes(data, start)
    if start.startswith(b"\x1aE\xdf\xa3"):
        return WEBM if ebml.doc_type(data) == b"webm" else MATROSKA
    if start.startswith(b"OggS\0"):
        return _by_ogg_streams(bytes(data[:_OGG_WINDOW]))
    return _by_header(data, start)


def _by_header(data: Octets, start: bytes) -> Kind | None:
    """Kinds whose first bytes are too short to be sufficient: what follows them must match."""
    if bitmap.is_bmp(start, 0):
        return BMP
    if start[:4] in _ICON_PREFIXES and little(start, 4, 2) > 0 and len(start) >= _ICON_ENTRY_END:
        return ICON
    if start.startswith(b"MZ") and start[little(start, 60, 4) :][:4] == b"PE\0\0":
        return PROGRAM
    return MPEG_TS if _has_transport_packets(data) else None


def _by_boxes(data: Octets, start: bytes) -> Kind | None:
    """Distinguish the kinds that share the ISO base media container.

    The file type box may come after others. Browsers treat a file as AVIF if any of its brands says so, the first
    or a later one, and if it has the boxes in which AVIF keeps pictures.
    """
    names: set[bytes] = set()
    file_type = None
    is_avif = False
    for box in boxes.boxes(data, any_name=True):
        if file_type is not None and (box.name == b"ftyp" or not is_avif):
            break  # another file begins, or nothing more can be found out
        names.add(box.name)
        if box.name == b"ftyp":
            file_type, is_avif = box, _has_brand(data, box, _AVIF)
    if file_type is None and start[4:8] == b"ftyp":
        # Its length is nonsense, and players check only the name.
        file_type = boxes.Box(b"ftyp", 0, 8, len(start))
        is_avif = _has_brand(data, file_type, _AVIF)
    if file_type is not None:
        only_video = b"moov" in names and b"meta" not in names
        if _has_brand(data, file_type, _AVIF_SEQUENCE) or (is_avif and not only_video):
            return AVIF
        return _by_major_brand(bytes(data[file_type.body : file_type.body + 4]))
    if not names:
        return None
    return MP4 if names & _FRAGMENT_BOXES else QUICKTIME


def _has_brand(data: Octets, file_type: boxes.Box, brand: bytes) -> bool:
    """Whether a file type box names a brand: as its major one, a compatible one, or, as mif3 does, as the version."""
    end = min(file_type.end, len(data), file_type.body + MAX_BRANDS * len(brand))
    end -= (end - file_type.body) % len(brand)
    return int.from_bytes(brand, sys.byteorder) in memoryview(data)[file_type.body : end].cast("I")


def _by_major_brand(major: bytes) -> Kind:
    if major in _HEIC_BRANDS:
        return HEIC
    if major == b"crx ":
        return CANON_RAW
    if major == b"qt  ":
        return QUICKTIME
    if major[:3] in {b"3gp", b"3g2", b"3gs", b"3gr", b"3ge", b"3gg"}:
        return THREE_GP
    return AUDIO if major in _AUDIO_BRANDS else MP4


def _by_ogg_streams(start: bytes) -> Kind:
    """By the codecs named in the first pages; a file that names no sound codec may be a video."""
    if _OGG_VIDEO.search(start) is None and _OGG_SOUND.search(start) is not None:
        return AUDIO
    return OGG


def _has_transport_packets(data: Octets) -> bool:
    for size, offset in _TS_PACKETS:
        marks = bytes(data[offset : offset + _TS_MAX_PACKETS * size : size])
        if len(marks) >= _TS_MIN_PACKETS and marks == bytes([_TS_SYNC]) * len(marks):
            return True
    return False


def _animation_control(data: Octets) -> int | None:
    """The offset of the content of an ``acTL`` chunk before the first picture data, as APNG demands.

    After more chunks than are read, any mention of one counts: a still may be treated as an animation, not the reverse.
    """
    at = 8
    for _ in range(MAX_STEPS):
        name = bytes(data[at + 4 : at + 8])
        if name == b"acTL":
            return at + 8
        if name == b"IDAT" or len(name) < 4:  # noqa: PLR2004 - chunk names have four bytes
            return None
        at += 12 + big(data, at, 4)
    mentioned = bytes(data[at:]).find(b"acTL")
    return None if mentioned < 0 else at + mentioned + 4


def _by_text(data: Octets, start: bytes) -> Kind | None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return TEXT
    body = start.removeprefix(b"\xef\xbb\xbf")
    if not _is_text(body, is_all=len(start) < _TEXT_WINDOW):
        return None
    is_page = _HTML_START.match(body.lstrip()) is not None
    # Comments and declarations of any length can precede a drawing; a page may contain one further on.
    looked_at = body if is_page or not body.lstrip().startswith(b"<") else bytes(data[:_DRAWING_WINDOW])
    if _SVG_ELEMENT.search(looked_at):
        return SVG
    if is_page:
        return HTML
    return XML if body.lstrip().startswith(b"<?xml") else TEXT


def _is_text(body: bytes, *, is_all: bool) -> bool:
    """Whether bytes are UTF-8 text without binary ones; the last character of a part may be cut in two."""
    if _BINARY_BYTES.search(body):
        return False
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(body) - 3 and not is_all
    return True
