"""Finds where pictures and videos begin within other bytes: by their signatures, verified by what must follow them.

Finds beginnings only; the caller finds the ends and the meaning. The first headers distinguish a picture from a chance
match on three bytes, so noise has none. Not found, because their signatures are too short to
search for: bare JPEG XL and JPEG 2000 codestreams, icons, and video streams without a container.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lemmy_safety.media import sniff
from lemmy_safety.media.structure import bitmap, boxes, ebml, gif, jpeg, tiff
from lemmy_safety.media.structure.parts import big, little

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt

    from lemmy_safety.media.deadline import Pace
    from lemmy_safety.media.structure.parts import Octets

#: Signatures checked in one search. Noise has one match in 8 MB; a file with more may be hiding something
#: after them, which ``Beginnings.flooded`` reports.
MAX_CHECKED: Final = 4096
# Steps of all checks together, 50 ms; directories of TIFF and EXIF are the most expensive to check.
_MAX_STEPS: Final = 100_000
_MAX_TIFFS: Final = 64
# The search uses windows of this size, to limit its memory.
_WINDOW: Final = 1 << 20
_HEADER: Final = 1024
_BRAND_SIZE: Final = 4
# Bytes of a file type box that are read: a thousand brands.
_MAX_FILE_TYPE: Final = 4096
# Brands of JPEG XL and JPEG 2000, whose files begin with their own signature box before it.
_BEHIND_A_SIGNATURE: Final = frozenset({b"jxl ", b"jp2 ", b"jpx ", b"jpm ", b"jph "})


@dataclass(frozen=True, slots=True)
class Beginning:
    """Something begins at ``offset``; ``kind`` is None for a TIFF header without pixels, which is an EXIF block."""

    offset: int
    kind: sniff.Kind | None


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Ascending by offset. ``flooded``: there were more signatures than are checked."""

    found: tuple[Beginning, ...]
    flooded: bool


def beginnings(
    data: Octets,
    stretches: Iterable[tuple[int, int]],
    effort: Effort,
    *,
    tiffs_from: int = 0,
    pace: Pace | None = None,
) -> Beginnings:
    """Pictures and videos that begin in one of the stretches (offset, size) of ``data``; linear in their lengths.

    ``effort`` is the limit for this search, and perhaps for others with it. The search ends when ``pace`` says so.
    TIFF headers before ``tiffs_from`` are skipped: some writers put each page of a TIFF after its own header.
    """
    found: list[Beginning] = []
    for at in _places(data, stretches, pace):
        before, pattern, check = _CHECKS[bytes(data[at : at + 2])]
        if check is _tiff and at < tiffs_from:
            continue
        if not effort.spend():
            break
        if at >= before and pattern.match(data, at):
            kind = check(data, at - before, effort)
            if kind is not sniff.UNKNOWN:
                found.append(Beginning(at - before, kind))
    return Beginnings(tuple(sorted(found, key=lambda one: one.offset)), effort.spent)


class Effort:
    """What is left of the limits of one search, or of several that share them."""

    def __init__(self) -> None:
        self._places = MAX_CHECKED
        self._tiffs = _MAX_TIFFS
        self.steps = _MAX_STEPS

    def spend(self) -> bool:
        """Count one more place; False if the limit is reached."""
        self._places -= 1
        return not self.spent

    def spend_on_tiff(self) -> bool:
        self._tiffs -= 1
        return self._tiffs >= 0

    @property
    def spent(self) -> bool:
        return self._places < 0 or self._tiffs < 0 or self.steps < 0


def _places(data: Octets, stretches: Iterable[tuple[int, int]], pace: Pace | None) -> Iterator[int]:
    """Where the first four bytes of any signature are, ascending within each stretch, while there is time."""
    octets = np.frombuffer(data, np.uint8)
    for offset, size in stretches:
        end = min(offset + size, len(data))
        for start in range(offset, end, _WINDOW):
            stop = min(start + _WINDOW, end)
            if pace is not None and pace.is_over(stop - start):
                return
            window = octets[start : stop + _REACH]
            for at in sorted([*_hits(window, 0), *_hits(window, 1)]):
                if start + at < stop:
                    yield start + at


def _hits(window: npt.NDArray[np.uint8], shift: int) -> list[int]:
    """The places in the window at even distances from ``shift``.

    Comparing all bytes pair by pair costs a third of searching signature by signature. What follows a pair is compared
    only where the pair matches, but also with numpy, because flat pixels can consist entirely of such pairs.
    """
    pairs = window[shift : shift + (len(window) - shift) // 2 * 2].view("<u2")
    match = pairs == _PAIRS[0]
    for pair in _PAIRS[1:]:
        match |= pairs == pair
    places = np.flatnonzero(match[: -_REACH // 2])
    if not len(places):
        return []
    first = pairs[places].astype(np.uint32) | pairs[places + 1].astype(np.uint32) << 16
    fits = first & _JPEG_MASK == _JPEG_WORD
    for word in _WORDS:
        fits |= first == word
    fits |= (pairs[places] == _BMP_PAIR) & (pairs[places + 3] == 0) & (pairs[places + 4] == 0)
    hits: list[int] = (places[fits] * 2 + shift).tolist()
    return hits


def _jpeg(data: Octets, at: int, effort: Effort) -> sniff.Kind:
    begins, steps = jpeg.begins_picture(data, at, effort.steps)
    effort.steps -= steps
    return sniff.JPEG if begins else sniff.UNKNOWN


def _png(data: Octets, at: int, _: Effort) -> sniff.Kind:
    return sniff.PNG if big(data, at + 16, 4) and big(data, at + 20, 4) else sniff.UNKNOWN


def _gif(data: Octets, at: int, _: Effort) -> sniff.Kind:
    first = next(gif.blocks(data[at : at + _HEADER]), None)
    has_canvas = little(data, at + 6, 2) and little(data, at + 8, 2)
    begins = has_canvas and first is not None and first.kind in {gif.FRAME, gif.EXTENSION}
    return sniff.GIF if begins else sniff.UNKNOWN


def _riff(data: Octets, at: int, _: Effort) -> sniff.Kind:
    return sniff.WEBP if bytes(data[at + 8 : at + 12]) == b"WEBP" else sniff.AVI


def _boxed(data: Octets, at: int, _: Effort) -> sniff.Kind:
    box = next(boxes.boxes(data, at), None)
    is_second_box = bytes(data[at + 8 : at + 12]) in _BEHIND_A_SIGNATURE
    if box is None or not box.body + _BRAND_SIZE <= box.end <= len(data) or is_second_box:
        return sniff.UNKNOWN
    kind = sniff.sniff(data[at : min(box.end, at + _MAX_FILE_TYPE)])
    # The brand is the file's own label; its tracks decide whether it is only sound.
    return sniff.MP4 if kind is sniff.AUDIO else kind


def _matroska(data: Octets, at: int, _: Effort) -> sniff.Kind:
    if not ebml.begins_file(data, at):
        return sniff.UNKNOWN
    return sniff.WEBM if ebml.doc_type(data[at : at + _HEADER]) == b"webm" else sniff.MATROSKA


def _bmp(data: Octets, at: int, _: Effort) -> sniff.Kind:
    return sniff.BMP if bitmap.begins_picture(data, at) else sniff.UNKNOWN


def _tiff(data: Octets, at: int, effort: Effort) -> sniff.Kind | None:
    if not effort.spend_on_tiff() or not tiff.is_tiff(data, at):
        return sniff.UNKNOWN
    return sniff.TIFF if tiff.holds_picture(data, at) else None


def _jxl(*_: object) -> sniff.Kind:
    return sniff.JXL


def _jpeg2000(*_: object) -> sniff.Kind:
    return sniff.JPEG2000


# By a signature's first two bytes: how far before them the file begins, the full signature, and what must
# follow it (UNKNOWN: it does not).
_CHECKS: Final[dict[bytes, tuple[int, re.Pattern[bytes], Callable[[Octets, int, Effort], sniff.Kind | None]]]] = {
    b"\xff\xd8": (0, re.compile(rb"\xff\xd8\xff"), _jpeg),
    b"\x89P": (0, re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), _png),
    b"GI": (0, re.compile(rb"GIF8[79]a"), _gif),
    b"RI": (0, re.compile(rb"RIFF[\s\S]{4}(?:WEBPVP8|AVI LIST)"), _riff),
    b"ft": (4, re.compile(rb"ftyp[ -~]{4}"), _boxed),
    b"\x1aE": (0, re.compile(rb"\x1aE\xdf\xa3"), _matroska),
    b"BM": (0, re.compile(rb"BM[\s\S]{4}\0\0\0\0[\s\S]{3}\0[\s\S]\0\0\0"), _bmp),
    b"II": (0, re.compile(rb"II[*+]\0"), _tiff),
    b"MM": (0, re.compile(rb"MM\0[*+]"), _tiff),
    b"JX": (4, re.compile(rb"JXL \r\n\x87\n"), _jxl),
    b"jP": (4, re.compile(rb"jP  \r\n\x87\n"), _jpeg2000),
}
_PAIRS: Final = tuple(int.from_bytes(pair, "little") for pair in _CHECKS)
_BMP_PAIR: Final = int.from_bytes(b"BM", "little")
# JPEG's signature has three bytes; BMP's third to sixth are a length, and its seventh to tenth are zeros.
_JPEG_WORD: Final = int.from_bytes(b"\xff\xd8\xff", "little")
_JPEG_MASK: Final = 0xFFFFFF
_WORDS: Final = tuple(
    int.from_bytes(word, "little")
    for words in ((b"\x89PNG", b"GIF8", b"RIFF", b"ftyp", b"JXL ", b"jP  "), (b"\x1aE\xdf\xa3",), tiff.STARTS)
    for word in words
)
# Bytes after a signature's first byte that the search reads: up to the last of BMP's zeros.
_REACH: Final = 10
