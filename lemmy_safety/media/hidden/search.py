"""Finds what a medium contains besides what it shows: after its end, in its metadata, in places that no viewer reads.

Reports where, how much and of what kind, and returns the pictures and videos among it, so that they are judged as well.
Decodes, compares and judges nothing; never raises, whatever the bytes are. Each search takes time in proportion
to the bytes, and the deadline is checked between searches. It takes half a millisecond for a photo
of 200 KB, 3 ms for one of 1 MB; two seconds and memory of twice the file's size for the worst of forty hostile files of
40 MB. Of 4,469 pictures found on a Linux system, one has an anomaly: a camera's preview, its first byte overwritten,
after the end.

The rules:

- A medium ends where its decoders stop reading: at the first end marker of a JPEG, the end chunk of a PNG, the trailer
  of a GIF, the declared length of a RIFF file, the last row of a BMP, the last box of an ISO file, the end of the
  segment of a WebM. The end of a TIFF is the last byte that a directory points at. A file that is cut off has no end.
- 16 or more bytes after the end are an anomaly: the smallest zip archive has 22, the smallest GIF 26, while stray line
  ends and doubled end markers have fewer. Padding with one repeated byte (0, FF, space, line end) contains nothing and
  does not count, however long; cameras pad to whole sectors.
- Previews that metadata declare (EXIF, JFIF, Photoshop, XMP, content credentials) are returned and are not an anomaly:
  nearly every camera writes one. What they show may be one; the caller compares that.
- Pictures that an index or an XMP block announces after the end (multi-picture files, gain maps, motion photos) are
  EMBEDDED_PICTURE, with a detail that says that they are announced, and not TRAILING_DATA.
- Limits of size: see ``_LIMITS``.

Not found: anything hidden in the pixels themselves (steganography), encrypted, or without its first bytes; files cut
into pieces by a custom scheme; pictures within deflated picture data, brotli-compressed metadata of JPEG XL,
hexadecimal profiles of ImageMagick; unused bytes between two values of a TIFF; samples of a video that no track plays;
thumbnail items of AVIF and HEIC, which are not separate files; bitmaps in an icon; anything but a zip archive in
MPEG, Flash, Ogg and Windows Media files; anything after the end of a bare JPEG XL or JPEG 2000 codestream, unless it
has a signature. Archives are named, not opened. Pictures within embedded ones are returned too if a signature
shows them, but an embedded file's own metadata are not parsed. In a file with hundreds of embedded pictures, the
first 64 are noted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import containers, sniff
from lemmy_safety.media.deadline import Deadline, Pace
from lemmy_safety.media.hidden import attachments
from lemmy_safety.media.hidden.embedded import Content, Embedded, EmbeddedSearch, Found, without
from lemmy_safety.media.structure.parts import MAX_PARTS, Block, says_something
from lemmy_safety.records import Anomaly, AnomalyKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lemmy_safety.media.structure.parts import Part

__all__ = ["MAX_ANOMALIES", "MAX_EMBEDDED", "Content", "Embedded", "Hidden", "find_hidden"]

#: Most embedded pictures returned for one file, including previews: each costs a decode. The largest come first.
MAX_EMBEDDED: Final = 8
#: Most anomalies of one file; a person would not read more.
MAX_ANOMALIES: Final = 32

_KIBI: Final = 1024
_MEBI: Final = 1024 * 1024
# Largest size of one sort of block in metadata, without the pictures found in it. An EXIF block must fit into
# one JPEG segment (Exif 2.32 4.7.2); printers' colour profiles reach 2.7 MB; a text of 1 MiB is what Pillow reads of
# a PNG (MAX_TEXT_CHUNK); the largest known block from a camera is a thermal one's samples, 640 x 512 x 2 bytes.
_LIMITS: Final = dict.fromkeys(Block, _MEBI) | {
    Block.EXIF: 64 * _KIBI,
    Block.JFIF: 64 * _KIBI,
    Block.FURTHER: 64 * _KIBI,
    Block.PROFILE: 4 * _MEBI,
}
# Kinds whose signatures are too short for ``signatures``: searched only directly after the end.
_SHORT_SIGNATURES: Final = frozenset({sniff.JXL, sniff.JPEG2000, sniff.ICON})
# Kinds of files without their own check in ``attachments``.
_ATTACHED: Final = frozenset({sniff.ARCHIVE, sniff.AUDIO})
_SAMSUNG_END: Final = b"SEFT"


@dataclass(frozen=True, slots=True)
class Hidden:
    """``anomalies`` ascend by offset, at most MAX_ANOMALIES; ``embedded`` has at most MAX_EMBEDDED."""

    anomalies: tuple[Anomaly, ...] = ()
    embedded: tuple[Embedded, ...] = ()


def find_hidden(data: bytes, kind: sniff.Kind, pace: Pace | None = None) -> Hidden:
    """Everything in ``data`` that a viewer of this kind of file does not show. Never raises.

    Once ``pace`` says that the time is up, the rest is not searched, and a FRAMES_LEFT_OUT anomaly says so.
    """
    return _File(memoryview(data), kind, pace or Pace(Deadline(math.inf))).hidden()


class _File:
    """One file under search."""

    def __init__(self, data: memoryview, kind: sniff.Kind, pace: Pace) -> None:
        self._data = data
        self._pace = pace
        self._structure = containers.structure_of(data, kind)
        self._parts = self._structure.parts
        self._end = len(data) if self._structure.end is None else self._structure.end
        self._search = EmbeddedSearch(data, kind, self._structure, pace)

    def hidden(self) -> Hidden:
        self._search.run()
        found = [*self._search.found, *self._by_its_first_bytes()]
        anomalies = [
            *(_embedded_picture(one) for one in found if one.oddity),
            *self._files(found),
            *self._trailing(found),
            *self._oversized(found),
            *self._too_many(),
        ]
        if self._pace.is_over():
            detail = f"what lies alongside the {self._search.main} could not all be checked {self._pace}"
            anomalies.append(Anomaly(kind=AnomalyKind.FRAMES_LEFT_OUT, detail=detail))
        handed_out = sorted(found, key=_importance)[:MAX_EMBEDDED]
        return Hidden(_bounded(anomalies), tuple(one.embedded for one in handed_out))

    def _unclaimed(self, found: Sequence[Found], *, announced_only: bool = False) -> list[tuple[int, int]]:
        """Stretches after the end that are not padding and are in none of the embedded files.

        With ``announced_only``, excludes only the files that the medium announces.
        """
        taken = [
            (one.embedded.offset - self._end, one.embedded.size)
            for one in found
            if one.embedded.offset >= self._end and (one.announced or not announced_only)
        ]
        stretches = [(self._end + at, size) for at, size in without(len(self._data) - self._end, taken)]
        return [(at, size) for at, size in stretches if says_something(self._data[at : at + size])]

    def _by_its_first_bytes(self) -> Iterator[Found]:
        """A picture or video directly after the end whose signature is too short for a search."""
        stretches = self._unclaimed(self._search.found)
        if stretches and stretches[0][0] == self._end:
            at, size = stretches[0]
            tail = self._data[at : at + size]
            kind = sniff.sniff(tail)
            is_video = kind.family is sniff.Family.VIDEO
            if kind in _SHORT_SIGNATURES or is_video:
                what = Content.VIDEO if is_video else Content.PICTURE
                embedded = Embedded(at, size, what, tail, kind, self._search.behind)
                yield Found(embedded, f"{kind.name} {self._search.behind}, by its first bytes")

    def _files(self, found: Sequence[Found]) -> Iterator[Anomaly]:
        archive = attachments.zip_archive(self._data)
        if archive is not None:
            yield _embedded_file("a zip archive, which zip programs find from the end", archive.offset, archive.size)
        for part in self._parts:
            if self._pace.is_over(part.size):
                return
            for file in attachments.in_stretch(part.content(self._data), skip_zip=archive is not None):
                offset = part.offset + (file.offset if part.joined is None else 0)
                yield _embedded_file(f"a {file.name} in the {part.name}", offset, min(file.size, part.size))
        for at, size in self._unclaimed(found):
            stretch = self._data[at : at + size]
            kind = sniff.sniff(stretch)
            files = list(attachments.in_stretch(stretch, skip_zip=archive is not None))
            for file in files:
                yield _embedded_file(f"a {file.name} {self._search.behind}", at + file.offset, file.size)
            if kind in _ATTACHED and not files and archive is None:
                yield _embedded_file(f"{kind.name} {self._search.behind}", at, size)

    def _trailing(self, found: Sequence[Found]) -> Iterator[Anomaly]:
        """One anomaly for everything after the end that is not announced."""
        stretches = self._unclaimed(found, announced_only=True)
        if stretches:
            start, size = stretches[0][0], sum(stretches[-1]) - stretches[0][0]
            detail = f"{size} bytes {self._search.behind}"
            if bytes(self._data[-4:]) == _SAMSUNG_END:
                detail += ", with the trailer of a Samsung phone"
            yield Anomaly(kind=AnomalyKind.TRAILING_DATA, detail=detail, offset=start, size=size)

    def _oversized(self, found: Sequence[Found]) -> Iterator[Anomaly]:
        for block in dict.fromkeys(part.block for part in self._parts):
            parts = [part for part in self._parts if part.block is block]
            if _size(parts) > _LIMITS[block]:
                parts = [part for part in parts if says_something(part.content(self._data))]
            size = _size(parts) - sum(one.embedded.size for one in found if one.block is block)
            if size > _LIMITS[block]:
                detail = f"{size} bytes of metadata ({block}); there is no use for more than {_LIMITS[block]}"
                at, stored = min(part.offset for part in parts), sum(part.size for part in parts)
                yield Anomaly(kind=AnomalyKind.OVERSIZED_METADATA, detail=detail, offset=at, size=stored)

    def _too_many(self) -> Iterator[Anomaly]:
        if self._search.flooded:
            detail = "more beginnings of pictures than are checked"
            yield Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=detail)
        if self._structure.crowded:
            detail = f"more than {MAX_PARTS} blocks; the others were searched for pictures only"
            yield Anomaly(kind=AnomalyKind.OVERSIZED_METADATA, detail=detail)


def _size(parts: Sequence[Part]) -> int:
    """Size of the parts in bytes; of deflated ones, after inflating."""
    return sum(max(part.size, len(part.joined or b"")) for part in parts)


def _embedded_file(detail: str, offset: int, size: int) -> Anomaly:
    return Anomaly(kind=AnomalyKind.EMBEDDED_FILE, detail=detail, offset=offset, size=size)


def _embedded_picture(found: Found) -> Anomaly:
    one = found.embedded
    return Anomaly(kind=AnomalyKind.EMBEDDED_PICTURE, detail=found.oddity, offset=one.offset, size=one.size)


def _importance(found: Found) -> tuple[bool, bool, bool, int]:
    """Sort order of results: what is shown instead of the medium, what the medium does not show, then its previews.

    Within each, the largest comes first.
    """
    return not found.shown, found.nested, found.embedded.what is Content.THUMBNAIL, -found.embedded.size


def _bounded(anomalies: list[Anomaly]) -> tuple[Anomaly, ...]:
    """In the order of the file; the last one counts those over the limit."""
    ordered = sorted(anomalies, key=lambda anomaly: anomaly.offset or 0)
    if len(ordered) > MAX_ANOMALIES:
        last = ordered[MAX_ANOMALIES - 1]
        detail = f"{last.detail}; and {len(ordered) - MAX_ANOMALIES} more oddities behind it"
        ordered[MAX_ANOMALIES - 1 :] = [replace(last, detail=detail)]
    return tuple(ordered)
