"""Blocks of metadata, and files put together from them, as cameras, phones and people who hide things make them."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from typing import TYPE_CHECKING

from support.media.pictures import png_chunk

if TYPE_CHECKING:
    from PIL import Image

_MAX_SEGMENT = 65_533


def segment(marker: int, body: bytes) -> bytes:
    """One JPEG segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def in_jpeg(jpeg: bytes, *segments: bytes) -> bytes:
    """The segments right behind the start marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def in_pieces(marker: int, head: bytes, body: bytes, *, numbered: bool = False) -> list[bytes]:
    """A body over as many segments as it takes, each led by ``head``, and by number and count as ICC profiles are."""
    room = _MAX_SEGMENT - len(head) - 2
    pieces = [body[at : at + room] for at in range(0, len(body), room)]
    numbers = [bytes([number + 1, len(pieces)]) if numbered else b"" for number in range(len(pieces))]
    return [segment(marker, head + number + piece) for number, piece in zip(numbers, pieces, strict=True)]


def xmp_segment(inner: str) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(inner))


def xmp(inner: str) -> bytes:
    """An XMP packet around some elements."""
    head = '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    return f'{head}{inner}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'.encode()


def extended_xmp_segments(inner: bytes) -> list[bytes]:
    """The same in pieces; only their order matters here, not the digest and the lengths in their heads."""
    return in_pieces(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8), inner)


def thumbnail_element(thumbnail: bytes) -> str:
    """A picture in base64 as Adobe's programs write thumbnails, broken into lines."""
    text = base64.b64encode(thumbnail).decode()
    lines = "&#xA;".join(text[at : at + 76] for at in range(0, len(text), 76))
    return f"<xmp:Thumbnails><xmpGImg:image>{lines}</xmpGImg:image></xmp:Thumbnails>"


def exif_with_raw_thumbnail(picture: Image.Image) -> bytes:
    """An EXIF block whose preview is uncompressed RGB samples."""
    pixels = picture.convert("RGB").tobytes()
    first = struct.pack(">HHHIII", 1, 0x0112, 3, 1, 1 << 16, 8 + 18)
    at = 8 + 18 + 2 + 5 * 12 + 4
    tags = [
        (0x100, 4, picture.width),
        (0x101, 4, picture.height),
        (0x103, 4, 1),
        (0x111, 4, at),
        (0x117, 4, len(pixels)),
    ]
    second = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", tag, kind, 1, n) for tag, kind, n in tags)
    return b"MM\0*" + struct.pack(">I", 8) + first + second + bytes(4) + pixels


def exif_with_thumbnail(thumbnail: bytes, *, beside: bytes = b"") -> bytes:
    """An EXIF block with a JPEG preview, and something else behind it, as in a maker note."""
    first = struct.pack("<HHHIII", 1, 0x0112, 3, 1, 1, 8 + 18)
    at = 8 + 18 + 2 + 2 * 12 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at, 0x0202, 4, 1, len(thumbnail), 0)
    return b"II*\0" + struct.pack("<I", 8) + first + second + thumbnail + beside


def jfif_with_thumbnail(picture: Image.Image) -> bytes:
    """A JFIF header with a preview of raw samples (at most 255 px a side, 65 KB)."""
    head = b"JFIF\0\1\2\0\0\1\0\1" + bytes([picture.width, picture.height])
    return segment(0xE0, head + picture.convert("RGB").tobytes())


def photoshop_segment(resource: int, content: bytes) -> bytes:
    """A Photoshop block of two resources, the second of which is the one wanted."""
    return segment(0xED, b"Photoshop 3.0\0" + _resource(0x0404, b"caption", b"names") + _resource(resource, content))


def _resource(number: int, content: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name + b"\0" * ((len(name) + 1) % 2)
    return (
        struct.pack(">4sH", b"8BIM", number)
        + title
        + struct.pack(">I", len(content))
        + content
        + b"\0" * (len(content) % 2)
    )


def photoshop_thumbnail(thumbnail: bytes, width: int, height: int) -> bytes:
    """The content of resource 1036."""
    return struct.pack(">IIIIIIHH", 1, width, height, width * 3, width * height * 3, len(thumbnail), 24, 1) + thumbnail


def further_picture(jpeg: bytes, further: bytes, *, kind: int = 0x020002) -> bytes:
    """A multi-picture file of two pictures, the second of a type of CIPA DC-007."""
    size = 4 + 8 + 2 + 12 + 4 + 32
    whole = len(jpeg) + size + 4
    # Offsets count from the TIFF header in the block, which is behind a start marker, a segment's head and a name.
    offset = whole - (2 + 4 + 4)
    entries = struct.pack(">IIIHH", 0x030000, whole, 0, 0, 0) + struct.pack(">IIIHH", kind, len(further), offset, 0, 0)
    directory = struct.pack(">HHHIII", 1, 0xB002, 7, 32, 8 + 2 + 12 + 4, 0) + entries
    block = segment(0xE2, b"MPF\0MM\0*" + struct.pack(">I", 8) + directory)
    assert len(block) == size + 4
    return in_jpeg(jpeg, block) + further


def in_png(png: bytes, *chunks: bytes) -> bytes:
    """The chunks right before the end."""
    at = png.rindex(b"IEND") - 4
    return png[:at] + b"".join(chunks) + png[at:]


def in_webp(webp: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The chunks as the last ones, counted in the length of all."""
    more = b"".join(struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
    return b"RIFF" + struct.pack("<I", len(webp) - 8 + len(more)) + webp[8:] + more


def gif_extension(label: int, body: bytes, *, name: bytes = b"") -> bytes:
    """An extension in sub-blocks; an application's begins with its name of eleven bytes."""
    blocks = [body[at : at + 255] for at in range(0, len(body), 255)]
    pieces = ([name] if name else []) + blocks
    return bytes([0x21, label]) + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def in_gif(gif: bytes, *blocks: bytes) -> bytes:
    """The blocks right before the trailer."""
    assert gif.endswith(b";")
    return gif[:-1] + b"".join(blocks) + b";"


def box(name: bytes, *contents: bytes) -> bytes:
    """An ISO base media box."""
    body = b"".join(contents)
    return struct.pack(">I4s", 8 + len(body), name) + body


def element(name: int, body: bytes, *, is_open: bool = False) -> bytes:
    """An EBML element with a length of eight bytes, or with one that is left open."""
    size = (1 << 56) - 1 if is_open else len(body)
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (1 << 56 | size).to_bytes(8, "big") + body


def webm(*in_segment: bytes, is_open: bool = False) -> bytes:
    """A WebM without tracks: what the walk needs of one."""
    return element(0x1A45DFA3, element(0x4282, b"webm")) + element(0x18538067, b"".join(in_segment), is_open=is_open)


def zip_file(behind: bytes = b"") -> bytes:
    """An archive of one text; ``behind`` another file, its offsets count from the beginning of that one."""
    out = io.BytesIO(behind)
    with zipfile.ZipFile(out, "a") as packed:
        packed.writestr(zipfile.ZipInfo("a.txt"), b"harmless " * 20)
    return out.getvalue()


def text_chunk(keyword: bytes, text: bytes) -> bytes:
    return png_chunk(b"tEXt", keyword + b"\0" + text)
