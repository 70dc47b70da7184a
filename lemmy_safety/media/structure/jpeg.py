"""JPEG: segments, entropy-coded data, and the blocks that cameras and programs put between them (ITU-T T.81 annex B).

Decoders stop at the first end marker, so that is the end of the picture here, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Structure, big
from lemmy_safety.media.structure.runs import MANY_ELEMENTS, MUCH_FILLER, SMALL, either, octet, run, sized

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_COM: Final = 0xFE
# Frame headers are C0..CF without DHT (C4), JPG (C8) and DAC (CC).
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APPS: Final = range(0xE0, 0xF0)
# TEM and the restart markers have no length and no content.
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
# Within entropy-coded data, a stuffed FF 00 is data, and restart markers are part of it.
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# Any number of FF may precede a marker; more than these few is chance, not a picture's beginning.
_MARKER_HERE: Final = re.compile(rb"\xff{1,16}[^\x00\xff]")
# A picture's header has at most this many segments: the two schemes allow 255 pieces of a colour profile and as many
# of an extended XMP block.
_MAX_HEADER_STEPS: Final = 600
_MIN_LENGTH: Final = 2  # a segment's length counts its own two bytes

# Blocks by their segment and beginning, and how many bytes of a segment are not content.
# Sources: JFIF 1.02; Exif 2.32 4.5.4 and 4.7.3; XMP part 3 (2020) 1.1.3; ICC.1:2022 B.4; CIPA DC-007 5.1; ISO 19566-5
# (JUMBF in APP11); Photoshop's and FLIR's as ExifTool documents them.
_SCHEMES: Final[tuple[tuple[int, bytes, Block, str, int], ...]] = (
    (0xE0, b"JFIF\0", Block.JFIF, "JFIF header", 0),
    (0xE0, b"JFXX\0", Block.JFIF, "JFIF extension", 0),
    (0xE1, b"Exif\0", Block.EXIF, "EXIF block", 6),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", Block.XMP, "XMP block", 29),
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0", Block.XMP, "extended XMP block", 75),
    (0xE1, b"FLIR\0", Block.OTHER, "thermal camera's block", 8),
    (0xE2, b"ICC_PROFILE\0", Block.PROFILE, "colour profile", 14),
    (0xE2, b"FPXR\0", Block.OTHER, "FlashPix block", 13),
    (0xE2, b"MPF\0", Block.FURTHER, "index of further pictures", 4),
    (0xEB, b"JP", Block.CREDENTIALS, "content credentials", 8),
    (0xED, b"Photoshop 3.0\0", Block.PHOTOSHOP, "Photoshop block", 14),
)
_LONGEST_START: Final = 40
_SEGMENT_NAME: Final = re.compile(rb"[!-~][ -~]{1,15}")
# Each further APP11 segment of one box repeats that box's length and type.
_JUMBF_REPEATED: Final = 8

# Segments besides the tables that change how a picture is shown: the meaning of its colours, and its orientation. Of
# those
# in pieces, as many as their schemes allow; of Adobe's, libjpeg uses the last.
_ADOBE: Final = b"Adobe"
_SHOWN: Final = {0xE0: b"JFIF\0", 0xE1: b"Exif\0", 0xE2: b"ICC_PROFILE\0", 0xEE: _ADOBE}
_MOST_PIECES: Final = 255
_DHT, _DAC, _DQT, _DNL, _DRI = 0xC4, 0xCC, 0xDB, 0xDC, 0xDD
_TABLES: Final = frozenset({_DHT, _DAC, _DQT, _DRI})
# Small segments of applications and comments that are not in ``_SHOWN``, tables without content, markers without
# length, any number of FF before each, and bytes that are not a marker at all.
_SMALL_APP: Final = (
    rb"(?!"
    + b"|".join(octet(app) + rb".." + name for app, name in _SHOWN.items())
    + rb")[\xe0-\xef\xfe]\0"
    + sized(lambda size: octet(size) + rb".{%d}" % (size - _MIN_LENGTH), range(_MIN_LENGTH, SMALL))
)
_IDLE: Final = either(
    (rb"[^\xff]++", rb"\xff++" + either((rb"[\x00\x01\xd0-\xd7]", rb"[\xc4\xcc\xdb\xdc]\0\x02", _SMALL_APP)))
)
# The smallest segment that counts, if a following one overrides it.
_OVERRULED: Final = rb"\xff\xdd\0\x04..(?=\xff\xdd\0\x04)"
_FILLER: Final = re.compile(run(either((_IDLE, _OVERRULED))), re.DOTALL)
_NEXT_MARKER: Final = re.compile(rb"\xff++[^\x00]")
# Any number of FF before a marker, or before the zero that makes an FF of picture data, counts as one.
_FILL: Final = re.compile(rb"\xff\xff++")
_LONG_FILL: Final = 1024 * b"\xff"


def read(data: Octets) -> Structure:
    """Read from the start marker, at the start of ``data``."""
    blocks = _Blocks(data)
    end: int | None = None
    at, pattern = 2, _MARKER
    for _ in range(MAX_STEPS):
        found = pattern.search(data, at)
        if found is None:
            break
        if pattern is _MARKER:
            blocks.parts.add(Block.FREE, "gap between two segments", [(at, found.start() - at)])
        body = found.end()
        marker = data[body - 1]
        if marker in (_EOI, _SOI):
            # For decoders, a second start marker ends the picture, as an end marker does.
            end = body if marker == _EOI else body - 2
            break
        if marker in _BARE:
            at = body
            continue
        length = big(data, body, 2)
        if length < _MIN_LENGTH or body + length > len(data):
            break
        if marker in _APPS or marker == _COM:
            blocks.note(marker, body + _MIN_LENGTH, length - _MIN_LENGTH)
        at = body + length
        pattern = _MARKER_IN_SCAN if marker == _SOS else _MARKER
    else:
        return blocks.structure(None, crowded=True)
    return blocks.structure(end, crowded=False)


class _Blocks:
    """The segments besides the picture; those of one scheme are joined."""

    def __init__(self, data: Octets) -> None:
        self.parts = Parts()
        self._data = data
        self._series: dict[tuple[Block, str], list[tuple[int, int]]] = {}

    def note(self, marker: int, body: int, size: int) -> None:
        start = bytes(self._data[body : body + min(size, _LONGEST_START)])
        for app, name, block, title, header in _SCHEMES:
            if marker == app and start.startswith(name):
                spans = self._series.setdefault((block, title), [])
                skipped = header + (_JUMBF_REPEATED if block is Block.CREDENTIALS and spans else 0)
                spans.append((body + min(skipped, size), max(0, size - skipped)))
                return
        if marker == _COM:
            self.parts.add(Block.TEXT, "comment", [(body, size)])
        else:
            called = _SEGMENT_NAME.match(start)
            title = f"segment APP{marker - _APPS[0]}" + (f" '{called[0].decode()}'" if called else "")
            self.parts.add(Block.OTHER, title, [(body, size)])

    def structure(self, end: int | None, *, crowded: bool) -> Structure:
        for (block, name), spans in self._series.items():
            joined = b"".join(self._data[at : at + size] for at, size in spans) if len(spans) > 1 else None
            self.parts.add(block, name, spans, joined)
        return self.parts.structure(end, crowded=crowded)


def begins_picture(data: Octets, at: int, max_steps: int) -> tuple[bool, int]:
    """Whether a JPEG with a frame and a scan begins at ``at``, and the number of steps used to find out.

    Distinguishes pictures from chance and from bare tables; False if it takes more than ``max_steps``.
    """
    has_frame = False
    at += 2
    for steps in range(min(max_steps, _MAX_HEADER_STEPS)):
        found = _MARKER_HERE.match(data, at)
        if found is None:
            return False, steps
        marker, at = data[found.end() - 1], found.end()
        if marker in _BARE:
            continue
        if marker == _SOS:
            return has_frame, steps
        length = big(data, at, 2)
        if marker in (_SOI, _EOI) or length < _MIN_LENGTH:
            return False, steps
        has_frame = has_frame or marker in _FRAMES
        at += length
    return False, min(max_steps, _MAX_HEADER_STEPS)


def lean(data: bytes) -> bytes:
    """The same picture without filler; ``data`` itself if there is little.

    Pillow reads the segments before the first scan in Python, and filler byte by byte. If tables are defined repeatedly
    before that scan, the last definition counts.
    """
    header = _LeanHeader()
    at = 2
    segments = filler = 0
    while True:
        run = _FILLER.match(data, at)
        if run is not None:
            filler += run.end() - at
            at = run.end()
        found = _NEXT_MARKER.match(data, at)
        if found is None:
            break
        body = found.end()
        marker, end = data[body - 1], body + big(data, body, 2)
        if marker in {_SOI, _EOI, _SOS} or end < body + _MIN_LENGTH or end > len(data):
            break
        filler += body - at
        segments += 1
        header.take(marker, data, body, end)
        at = end
    rest = data[at:]
    if _LONG_FILL in rest:
        return b"".join([data[:2], *header.segments, _FILL.sub(b"\xff", rest)])
    if segments <= MANY_ELEMENTS and filler <= MUCH_FILLER:
        return data
    return b"".join([data[:2], *header.segments, rest])


class _LeanHeader:
    """The segments before the first scan that change how the picture is shown, each once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bytes], bytes] = {}
        self._pieces = dict.fromkeys(_SHOWN, 0)

    @property
    def segments(self) -> Iterable[bytes]:
        return self._kept.values()

    def take(self, marker: int, data: bytes, body: int, end: int) -> None:
        """Keep a segment if it has an effect; ``body`` is where its length is."""
        content = body + _MIN_LENGTH
        name = b""
        if marker in _TABLES:
            name = _tables_in(data[content:end], marker)
        elif marker in _SHOWN:
            start = _SHOWN[marker]
            if not data.startswith(start, content, end) or self._pieces[marker] >= _MOST_PIECES:
                return
            if start != _ADOBE:
                self._pieces[marker] += 1
                name = self._pieces[marker].to_bytes(1, "big")
        elif marker in _APPS or marker in {_COM, _DNL}:
            return
        self._kept.pop((marker, name), None)  # tables stay in the order of their last definitions
        self._kept[marker, name] = data[body - 2 : end]


def _tables_in(content: bytes, marker: int) -> bytes:
    """The numbers of the tables that a segment defines (B.2.4)."""
    if marker == _DRI:
        return b""
    numbers = bytearray()
    at = 0
    while at < len(content):
        numbers.append(content[at])
        if marker == _DQT:
            at += 129 if content[at] >> 4 else 65
        elif marker == _DHT:
            at += 17 + sum(content[at + 1 : at + 17])
        else:
            at += 2
    return bytes(numbers)
