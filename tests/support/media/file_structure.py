"""Where the pieces of a media file lie, so that mutations can cut between them and keep the rest of the file in order.

Only as exact as mutating files needs: it is given healthy files, made by us. Not a parser for anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Order = Literal["big", "little"]


@dataclass(frozen=True)
class Piece:
    """Bytes ``start`` to ``end`` (exclusive) of a file: a segment, chunk, box or element with its header.

    ``body`` is where its header ends. Its length stands at ``size_at`` in ``size_bytes`` bytes (0: nowhere). ``parent``
    is the number of the piece that it lies in, -1 for none. ``crc``: its last four bytes are a PNG checksum.
    """

    start: int
    end: int
    body: int
    size_at: int = 0
    size_bytes: int = 0
    order: Order = "big"
    parent: int = -1
    crc: bool = False
    ebml: bool = False


def pieces_of(data: bytes) -> list[Piece]:
    """The pieces of a file in the order of their starts, parents before children; empty for formats without any."""
    for begins, find in _FINDERS:
        if begins(data):
            return find(data)
    return []


def _png(data: bytes) -> list[Piece]:
    found, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append(Piece(at, end, at + 8, at, 4, crc=True))
        at = end
    return found


_STANDALONE = frozenset({0xD8, 0xD9, 0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN = 0xDA


def _jpeg(data: bytes) -> list[Piece]:
    found, at = [], 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _STANDALONE:
            found.append(Piece(at, at + 2, at + 2))
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN:
            while end + 1 < len(data) and (data[end] != 0xFF or data[end + 1] in {0, *range(0xD0, 0xD8)}):
                end += 1
        found.append(Piece(at, end, at + 4, at + 2, 2))
        at = end
    return found


def _gif(data: bytes) -> list[Piece]:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    found = [Piece(0, 13, 6), Piece(13, at, 13)]
    while at < len(data) and data[at] in {0x21, 0x2C}:
        start = at
        if data[at] == 0x21:
            at += 2
        else:
            flags = data[at + 9]
            at += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
        body = at
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
        found.append(Piece(start, min(at, len(data)), min(body, len(data))))
    return found


def _riff(data: bytes) -> list[Piece]:
    found = [Piece(0, len(data), 12, 4, 4, "little")]
    _riff_chunks(data, 12, len(data), 0, found)
    return found


def _riff_chunks(data: bytes, at: int, end: int, parent: int, found: list[Piece]) -> None:
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        stop = min(end, at + 8 + size + size % 2)
        found.append(Piece(at, stop, at + 8, at + 4, 4, "little", parent))
        if data[at : at + 4] == b"ANMF":
            _riff_chunks(data, at + 8 + 16, stop, len(found) - 1, found)
        at = stop


#: Boxes that hold boxes, with the bytes of their own that come before those.
_BOX_PARENTS = {
    b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"dinf": 0, b"edts": 0, b"mvex": 0, b"moof": 0, b"traf": 0,
    b"iprp": 0, b"ipco": 0, b"udta": 0, b"meta": 4, b"iinf": 6, b"iref": 4, b"stsd": 8, b"dref": 8, b"avc1": 78,
    b"hvc1": 78, b"hev1": 78, b"av01": 78, b"mp4v": 78,
}  # fmt: skip


def _boxes(data: bytes) -> list[Piece]:
    found: list[Piece] = []
    _inner_boxes(data, 0, len(data), -1, found)
    return found


def _inner_boxes(data: bytes, at: int, end: int, parent: int, found: list[Piece]) -> None:
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        stop = at + size if 8 <= size <= end - at else end
        found.append(Piece(at, stop, at + 8, at, 4, parent=parent))
        if name in _BOX_PARENTS:
            _inner_boxes(data, at + 8 + _BOX_PARENTS[name], stop, len(found) - 1, found)
        at = stop


#: Elements that hold elements (Matroska): Segment, SeekHead, Seek, Info, Tracks, TrackEntry, Video, Cluster, BlockGroup,
#: Cues, CuePoint, CueTrackPositions, Tags, Tag, and the EBML header.
_EBML_PARENTS = frozenset(
    {0x18538067, 0x114D9B74, 0x4DBB, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7}
    | {0x1254C367, 0x7373, 0x1A45DFA3}
)


def _ebml(data: bytes) -> list[Piece]:
    found: list[Piece] = []
    _inner_elements(data, 0, len(data), -1, found)
    return found


def _inner_elements(data: bytes, at: int, end: int, parent: int, found: list[Piece]) -> None:
    while at + 2 <= end and data[at]:
        name_bytes = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + name_bytes], "big")
        size_at = at + name_bytes
        if size_at >= end or not data[size_at]:
            return
        size_bytes = 9 - data[size_at].bit_length()
        body = size_at + size_bytes
        size = int.from_bytes(data[size_at:body], "big") & ((1 << 7 * size_bytes) - 1)
        stop = end if size == (1 << 7 * size_bytes) - 1 else min(end, body + size)
        found.append(Piece(at, stop, body, size_at, size_bytes, parent=parent, ebml=True))
        if name in _EBML_PARENTS:
            _inner_elements(data, body, stop, len(found) - 1, found)
        at = stop


def _tiff(data: bytes) -> list[Piece]:
    """The header and the entries of the first directory."""
    order: Order = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[at : at + 2], order)
    entries = [Piece(at + 2 + 12 * n, at + 14 + 12 * n, at + 2 + 12 * n, order=order) for n in range(count)]
    return [Piece(0, 8, 0, order=order), Piece(at, at + 2, at, order=order), *entries]


def _bmp(data: bytes) -> list[Piece]:
    return [Piece(0, 14, 2, order="little"), Piece(14, 54, 14, order="little"), Piece(54, len(data), 54)]


_FINDERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], list[Piece]]], ...] = (
    (lambda data: data.startswith(b"\x89PNG"), _png),
    (lambda data: data.startswith(b"\xff\xd8"), _jpeg),
    (lambda data: data.startswith(b"GIF8"), _gif),
    (lambda data: data.startswith(b"RIFF"), _riff),
    (lambda data: data[4:8] in {b"ftyp", b"JXL "}, _boxes),
    (lambda data: data.startswith(b"\x1a\x45\xdf\xa3"), _ebml),
    (lambda data: data[:4] in {b"II*\0", b"MM\0*"}, _tiff),
    (lambda data: data.startswith(b"BM"), _bmp),
)


def ancestors(pieces: list[Piece], piece: Piece) -> Iterator[Piece]:
    """The pieces that it lies in, innermost first."""
    while piece.parent >= 0:
        piece = pieces[piece.parent]
        yield piece
