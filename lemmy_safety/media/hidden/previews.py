"""Previews that a picture's metadata declare: EXIF, JFIF, Photoshop and XMP thumbnails, and lists of further pictures.

A declared preview is not an oddity; its content may be. The callers compare it with the picture.
"""

from __future__ import annotations

import binascii
import re
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import containers, sniff
from lemmy_safety.media.structure import tiff
from lemmy_safety.media.structure.parts import Block, big

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lemmy_safety.media.structure.parts import Octets, Part

#: A text is searched for base64 pictures up to here, and each is decoded up to here.
MAX_BASE64: Final = 8 * 1024 * 1024
_MAX_IN_TEXT: Final = 64
_MAX_RESOURCES: Final = 1000
_MAX_FURTHER: Final = 100

# Beginnings of JPEG, PNG, GIF and WebP in base64, and the run of letters that follows. XML writes line breaks within an
# attribute as character references. Possessive, so that a long run needs no memory.
_BASE64: Final = re.compile(rb"(?:/9j/|iVBORw0KGgo|R0lGODlh|R0lGODdh|UklGR)(?:[A-Za-z0-9+/=\s]++|&#(?:xA|xD|10|13);)*+")
_NOT_BASE64: Final = re.compile(rb"&#(?:xA|xD|10|13);|[\s=]")
_THUMBNAIL_ELEMENT: Final = b"xmpGImg:image"
_ELEMENT_REACH: Final = 32

_EXIF_PREFIX: Final = b"Exif\0\0"
_TEXTS: Final = frozenset({Block.XMP, Block.TEXT, Block.OTHER, Block.TAGS})

_JFXX_JPEG, _JFXX_RGB = 0x10, 0x13

_PHOTOSHOP_THUMBNAILS: Final = frozenset({1033, 1036})
_PHOTOSHOP_HEADER: Final = 28

_FURTHER_LIST: Final = 0xB002
_FURTHER_ENTRY: Final = 16
_TYPE_BITS: Final = 0xFFFFFF
#: Types of CIPA DC-007 5.2.3.3 whose picture is a smaller rendering of the first one.
_LARGE_THUMBNAILS: Final = frozenset({0x010001, 0x010002, 0x010003, 0x010004, 0x010005})

# Tags that can describe an item. No tag extends over the next angle bracket, and everything is possessive: each pattern
# reads a byte once.
_ITEM: Final = re.compile(rb"<(?:\w{1,40}+:)?(?:Item|li|Description)\b[^<>]*+>")
_ITEM_LENGTH: Final = re.compile(rb"Item:Length\s*+=\s*+[\"'](\d{1,12})[\"']")
_ITEM_MEANING: Final = re.compile(rb"Item:Semantic\s*+=\s*+[\"'](\w{1,40}+)[\"']")
_MICRO_VIDEO: Final = re.compile(rb"MicroVideoOffset(?:\s*+=\s*+[\"']|>)(\d{1,12})")


@dataclass(frozen=True, slots=True)
class Preview:
    """One preview: its place in the content, the file itself, and a description of what it is there.

    ``data`` is a view of the content, or a copy if it is stored in another form (raw pixels, base64). ``declared``
    is False for a picture in base64 that nothing calls a thumbnail.
    """

    offset: int
    size: int
    data: Octets
    kind: sniff.Kind
    place: str
    declared: bool = True


def in_part(part: Part, content: Octets) -> Iterator[Preview]:
    """The previews in one part of a picture's metadata; their offsets are in ``content``."""
    if part.block is Block.EXIF:
        # In a WebP, some writers keep the prefix that a JPEG segment has.
        yield from in_exif(content, len(_EXIF_PREFIX) if content[: len(_EXIF_PREFIX)] == _EXIF_PREFIX else 0)
    elif part.block is Block.JFIF:
        yield from _in_jfif(content)
    elif part.block is Block.PHOTOSHOP:
        yield from _in_photoshop(content)
    elif part.block in _TEXTS:
        yield from _in_text(part.name, bytes(content[:MAX_BASE64]))


def in_exif(data: Octets, base: int) -> Iterator[Preview]:
    """The thumbnail of the EXIF block whose TIFF header is at ``base``, as a JPEG or as raw pixels."""
    exif = tiff.read_exif(data, base)
    if exif.jpeg is not None:
        yield from _stored(data, exif.jpeg, "as the EXIF thumbnail")
    if exif.raw is not None:
        offset, width, height = exif.raw
        pixels = bytes(data[offset : offset + 3 * width * height])
        if len(pixels) == 3 * width * height:
            yield Preview(offset, len(pixels), _bitmap(pixels, width, height), sniff.BMP, "as the EXIF thumbnail")


def _stored(data: Octets, at: int, place: str) -> Iterator[Preview]:
    """The picture that begins at ``at``, if one does."""
    picture, kind = containers.first_file(data[at:])
    if kind.family is sniff.Family.STILL:
        yield Preview(at, len(picture), picture, kind, place)


def _in_jfif(content: Octets) -> Iterator[Preview]:
    """A header's pixels, or those or the JPEG of its extension (JFIF 1.02)."""
    if content[:5] == b"JFIF\0":
        width_at, pixels_at = 12, 14
    elif content[:5] == b"JFXX\0" and big(content, 5, 1) == _JFXX_RGB:
        width_at, pixels_at = 6, 8
    else:
        if big(content, 5, 1) == _JFXX_JPEG:
            yield from _stored(content, 6, "as the JFIF thumbnail")
        return
    width, height = big(content, width_at, 1), big(content, width_at + 1, 1)
    pixels = bytes(content[pixels_at : pixels_at + 3 * width * height])
    if pixels and len(pixels) == 3 * width * height:
        yield Preview(pixels_at, len(pixels), _bitmap(pixels, width, height), sniff.BMP, "as the JFIF thumbnail")


def _bitmap(pixels: bytes, width: int, height: int) -> bytes:
    """RGB samples without a header, as a file for a decoder: a BMP whose first row comes first."""
    bgr = bytearray(pixels)
    bgr[0::3], bgr[2::3] = pixels[2::3], pixels[0::3]
    padding = bytes(-3 * width % 4)
    rows = b"".join(bgr[at : at + 3 * width] + padding for at in range(0, len(bgr), 3 * width))
    header = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(rows), 0, 0, 54) + header + rows


def _in_photoshop(content: Octets) -> Iterator[Preview]:
    """Image resources 1036 and, from before Photoshop 5, 1033 (Adobe Photoshop File Formats Specification)."""
    at = covered = 0
    for _ in range(_MAX_RESOURCES):
        if content[at : at + 4] != b"8BIM":
            return
        number = big(content, at + 4, 2)
        name_size = 1 + big(content, at + 6, 1)
        size_at = at + 6 + name_size + name_size % 2
        size = big(content, size_at, 4)
        body = size_at + 4
        # A thumbnail has no other one inside: each would be read to the end of all.
        if number in _PHOTOSHOP_THUMBNAILS and at >= covered:
            for preview in _stored(content, body + _PHOTOSHOP_HEADER, "as the thumbnail of the Photoshop block"):
                covered = preview.offset + preview.size
                yield preview
        at = body + size + size % 2


def _in_text(name: str, content: bytes) -> Iterator[Preview]:
    """Pictures in base64; those in an element made for thumbnails are declared."""
    for run in islice(_BASE64.finditer(content), _MAX_IN_TEXT):
        letters = _NOT_BASE64.sub(b"", run[0])
        picture = binascii.a2b_base64(letters[: len(letters) // 4 * 4])
        kind = sniff.sniff(picture)
        if kind.family is sniff.Family.STILL:
            declared = _THUMBNAIL_ELEMENT in content[max(0, run.start() - _ELEMENT_REACH) : run.start()]
            yield Preview(run.start(), len(run[0]), picture, kind, f"in base64 in the {name}", declared)


def further_pictures(data: Octets, parts: Sequence[Part]) -> dict[int, bool]:
    """By offset, the further pictures of a multi-picture file, and whether each is a large thumbnail of the first."""
    further: dict[int, bool] = {}
    for part in parts:
        if part.block is Block.FURTHER:
            reader = tiff.TiffReader(data, part.offset)
            directory, _ = reader.directory(reader.first)
            entry = directory.get(_FURTHER_LIST)
            if entry is not None:
                for number in range(min(entry.size // _FURTHER_ENTRY, _MAX_FURTHER)):
                    at = entry.at + number * _FURTHER_ENTRY
                    attributes, offset = reader.number(data, at, 4), reader.number(data, at + 8, 4)
                    if offset:  # the first picture is the file itself
                        further[part.offset + offset] = attributes & _TYPE_BITS in _LARGE_THUMBNAILS
    return further


def announced_items(data: Octets, parts: Sequence[Part]) -> dict[int, str]:
    """What an XMP block announces as appended, as phones write it for motion photos and gain maps: meaning by length.

    Sources: Android's "Motion Photo format 1.0" and "Ultra HDR image format"; MicroVideoOffset is Google's older form.
    """
    items: dict[int, str] = {}
    for part in parts:
        if part.block is Block.XMP:
            content = bytes(part.content(data)[:MAX_BASE64])
            for item in _ITEM.finditer(content):
                length, meaning = _ITEM_LENGTH.search(item[0]), _ITEM_MEANING.search(item[0])
                if length is not None and meaning is not None:
                    items[int(length[1])] = meaning[1].decode()
            if micro := _MICRO_VIDEO.search(content):
                items[int(micro[1])] = "MicroVideo"
    items.pop(0, None)
    return items
