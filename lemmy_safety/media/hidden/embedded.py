"""Finds pictures and videos inside another medium: which, where, and whether anything announces them. Decodes nothing.

Three ways lead to them: previews that metadata declare, signatures anywhere in the file, and signatures within blocks
that are stored in pieces or deflated. What is found more than once is returned once.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import containers, sniff
from lemmy_safety.media.hidden import previews, signatures
from lemmy_safety.media.structure.parts import Block, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lemmy_safety.media.deadline import Pace
    from lemmy_safety.media.structure.parts import Octets, Part, Structure

#: Most previews, and most other embedded files, that are noted; more are not worth returning or reporting.
_MAX_FOUND: Final = 64
#: EXIF blocks to search in addition to those that the walk names; an AVIF or HEIC has one.
_MAX_EXIFS: Final = 8
# Bytes of searching to find the end of what begins there; most need far less.
_COST_OF_A_BEGINNING: Final = 1 << 18
_SAMSUNG_END: Final = b"SEFT"
_SAMSUNG_VIDEO: Final = b"MotionPhoto_Data"


# Kinds that are examined by their tracks.
_PLAYED_BY_TRACKS: Final = frozenset({sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP})


class Content(StrEnum):
    """What an embedded file is to the medium around it."""

    PICTURE = "picture"
    THUMBNAIL = "thumbnail"
    """Claims to be a smaller rendering of the medium itself."""
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Embedded:
    """One picture or video inside a medium.

    ``offset`` and ``size`` are in bytes of the stored file; ``data`` is the embedded file itself, a view of the stored
    one or a copy if it is stored in another form. ``place`` says where it is, such as ``behind the end of the
    picture``.
    """

    offset: int
    size: int
    what: Content
    data: Octets
    kind: sniff.Kind
    place: str


@dataclass(frozen=True, slots=True)
class Found:
    """One embedded file, and what it means.

    ``oddity`` is one line for a person; empty if nothing is odd: a declared preview, or part of another one that
    was found (``nested``). ``announced``: the medium itself says that it is there. ``shown``: some viewers or players
    show
    this instead of the medium. ``block`` is the metadata that contains it.
    """

    embedded: Embedded
    oddity: str = ""
    announced: bool = False
    shown: bool = False
    nested: bool = False
    block: Block | None = None


class EmbeddedSearch:
    """One search through one file; ``structure`` is that of ``data``."""

    def __init__(self, data: memoryview, kind: sniff.Kind, structure: Structure, pace: Pace) -> None:
        self._data = data
        self._pace = pace
        self._kind = kind
        self._own = structure.own
        self._parts = structure.parts
        self._end = len(data) if structure.end is None else structure.end
        #: What the file is to a viewer.
        self.main = "video" if kind.family is sniff.Family.VIDEO else "picture"
        #: The name of the place after which no reader continues.
        self.behind = f"behind the end of the {self.main}"
        #: Whether there were more picture starts than are examined.
        self.flooded = False
        self.found: list[Found] = []
        self._spans = _Spans(structure.parts)
        self._previews: list[tuple[int, int]] = []
        self._exifs_left = _MAX_EXIFS
        # One limit for all parts stored in pieces: each of them could be full of data that looks like pictures.
        self._effort_on_joined = signatures.Effort()

    def run(self) -> None:
        for part in self._parts:
            content = part.content(self._data)
            if self._pace.is_over(len(content)):
                return
            if len(self.found) >= _MAX_FOUND:
                self.flooded = True
                break
            stretches = self._take_previews(part, content)
            if part.joined is None:
                self._previews += [(part.offset + at, size) for at, size in stretches]
            else:
                self._search_joined(part, content, stretches)
        self._search_file()
        self._take_second_medium()

    def _take_previews(self, part: Part, content: Octets) -> list[tuple[int, int]]:
        """Return what the part declares, and record where in its content that is."""
        taken = []
        for preview in previews.in_part(part, content):
            taken.append((preview.offset, preview.size))
            offset = part.offset + (preview.offset if part.joined is None else 0)
            what = Content.THUMBNAIL if preview.declared else Content.PICTURE
            oddity = "" if preview.declared else f"{preview.kind.name} {preview.place}"
            size = preview.size if part.joined is None else min(preview.size, part.size)
            embedded = Embedded(offset, size, what, preview.data, preview.kind, preview.place)
            self.found.append(Found(embedded, oddity, block=part.block))
        return taken

    def _search_joined(self, part: Part, content: Octets, taken: list[tuple[int, int]]) -> None:
        """Pictures in a part whose content is not stored in one piece."""
        stretches = without(len(content), taken)
        searched = signatures.beginnings(content, stretches, self._effort_on_joined, pace=self._pace)
        self.flooded |= searched.flooded
        covered = 0
        for beginning in searched.found[:_MAX_FOUND]:
            if beginning.kind is not None and beginning.offset >= covered:
                picture, kind = containers.first_file(content[beginning.offset :])
                covered = beginning.offset + len(picture)
                self._note_in_part(part, part.offset, picture, kind)

    def _search_file(self) -> None:
        """Pictures anywhere in the file, outermost first."""
        further = previews.further_pictures(self._data, self._parts)
        items = previews.announced_items(self._data, self._parts)
        tiffs_from = self._end if self._kind is sniff.TIFF else 0
        searched = signatures.beginnings(
            self._data, self._stretches(), signatures.Effort(), tiffs_from=tiffs_from, pace=self._pace
        )
        self.flooded |= searched.flooded
        covered = 0
        most = len(self.found) + _MAX_FOUND
        for beginning in searched.found:
            at = beginning.offset
            if self._pace.is_over(_COST_OF_A_BEGINNING):
                return
            if self._is_accounted_for(beginning):
                continue
            if len(self.found) >= most:
                self.flooded = True
                break
            if at < covered:
                self._note_nested(beginning, covered)
            elif beginning.kind is None:
                self._take_exif(at)
            else:
                part, limit = self._spans.at(at)
                if part is None or part.block is Block.FREE:
                    # A gap is where a walk resynchronised, which can be within the picture.
                    limit = self._end if at < self._end else len(self._data)
                picture, kind = containers.first_file(self._data[at:limit])
                covered = at + len(picture)
                if part is not None:
                    self._note_in_part(part, at, picture, kind)
                else:
                    self._note_loose(at, picture, kind, further, items)

    def _is_accounted_for(self, beginning: signatures.Beginning) -> bool:
        """Whether it is the file itself, or a preview that was already returned."""
        if not beginning.offset and self._kind is not sniff.UNKNOWN:
            return True
        return any(at <= beginning.offset < at + size for at, size in self._previews)

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Where to search for pictures: not in the frames of a video, nor in the medium's own data."""
        if self._kind.family is sniff.Family.VIDEO:
            apart = [span for part in self._parts if part.joined is None for span in part.spans]
            return merged([*apart, (self._end, len(self._data) - self._end)])
        joined = [span for part in self._parts if part.joined is not None for span in part.spans]
        return without(len(self._data), [*self._own, *joined])

    def _take_exif(self, at: int) -> None:
        """The thumbnail of an EXIF block stored where the walk does not see it, such as an item of AVIF."""
        part, _ = self._spans.at(at)
        self._exifs_left -= 1
        if self._exifs_left < 0 or at >= self._end or (part is not None and part.block is Block.EXIF):
            return
        for preview in previews.in_exif(self._data, at):
            self._previews.append((preview.offset, preview.size))
            place = preview.place
            embedded = Embedded(preview.offset, preview.size, Content.THUMBNAIL, preview.data, preview.kind, place)
            self.found.append(Found(embedded, block=Block.EXIF))

    def _note_in_part(self, part: Part, at: int, picture: Octets, kind: sniff.Kind) -> None:
        what = _content_of(kind)
        place = f"in the {part.name}"
        oddity = f"{kind.name} {place}"
        if part.block is Block.CREDENTIALS:
            # Signed provenance contains thumbnails of the picture and of what it was made from (C2PA 2.1, 10.3).
            what, oddity = Content.THUMBNAIL, ""
        elif part.block is Block.EXIF:
            what, oddity = Content.THUMBNAIL, f"{oddity} alongside its thumbnail, where cameras keep larger previews"
        elif part.block is Block.MOTION:
            oddity = f"{oddity}, as phones write it"
        # Deflated content takes fewer bytes of the file than it has.
        size = len(picture) if part.joined is None else min(len(picture), part.size)
        embedded = Embedded(at, size, what, picture, kind, place)
        self.found.append(Found(embedded, oddity, announced=part.block is Block.MOTION, block=part.block))

    def _note_nested(self, beginning: signatures.Beginning, covered: int) -> None:
        """A picture within a found one; that is not odd in itself, most are its thumbnail."""
        if beginning.kind is not None:
            at, kind = beginning.offset, beginning.kind
            picture = self._data[at:covered]
            embedded = Embedded(at, len(picture), _content_of(kind), picture, kind, "within another embedded file")
            self.found.append(Found(embedded, nested=True))

    def _note_loose(
        self, at: int, picture: Octets, kind: sniff.Kind, further: dict[int, bool], items: dict[int, str]
    ) -> None:
        """A picture in no part: after the end, or where the picture's own data should be."""
        what = _content_of(kind)
        place = self.behind if at >= self._end else f"among the data of the {self.main}"
        announced = ""
        if at in further:
            announced = "listed in the index of further pictures"
            what = Content.THUMBNAIL if further[at] else what
        elif meaning := items.get(len(picture)) or items.get(len(self._data) - at):
            announced = f"announced as {meaning}"
        elif self._is_samsung_video(at):
            announced = "announced as a motion photo"
        oddity = f"{kind.name} {place}" + (f", {announced}" if announced else "")
        self.found.append(Found(Embedded(at, len(picture), what, picture, kind, place), oddity, bool(announced)))

    def _is_samsung_video(self, at: int) -> bool:
        before = bytes(self._data[max(0, at - len(_SAMSUNG_VIDEO)) : at])
        return before == _SAMSUNG_VIDEO and bytes(self._data[-len(_SAMSUNG_END) :]) == _SAMSUNG_END

    def _take_second_medium(self) -> None:
        """A file can be a picture to pages and a video to players, which look for tracks whatever its label.

        An AVIF or HEIC may have both; but the first eight bytes of an icon can also be a box.
        """
        if self._kind in _PLAYED_BY_TRACKS:
            return
        if self._kind is sniff.AVIF and sniff.is_animated(self._data, self._kind):
            self._take_primary_picture()
            return
        movie = containers.movie_box(self._data[: self._end])
        if movie is not None:
            offset, size = movie
            beside = "still one" if self.main == "picture" else "others"
            oddity = f"moving pictures alongside the {beside}, which players show"
            embedded = Embedded(offset, size, Content.VIDEO, self._data, sniff.MP4, "in the same container")
            self.found.append(Found(embedded, oddity, shown=True))

    def _take_primary_picture(self) -> None:
        """The still picture of an animated AVIF: viewers that do not play animations, or make thumbnails, show it."""
        still = containers.as_still_avif(self._data[: self._end])
        if still is not None:
            place = "in the same container"
            embedded = Embedded(0, len(still), Content.THUMBNAIL, still, sniff.AVIF, place)
            self.found.append(Found(embedded, shown=True))


class _Spans:
    """Finds the part that contains a byte of the file."""

    def __init__(self, parts: Iterable[Part]) -> None:
        spans = [(at, at + size, part) for part in parts if part.joined is None for at, size in part.spans]
        self._spans = sorted(spans, key=lambda span: span[:2])
        self._starts = [start for start, _, _ in self._spans]

    def at(self, offset: int) -> tuple[Part | None, int]:
        """The part (None if there is none), and its end."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._spans[index][1]:
            return self._spans[index][2], self._spans[index][1]
        return None, 0


def _content_of(kind: sniff.Kind) -> Content:
    return Content.VIDEO if kind.family is sniff.Family.VIDEO else Content.PICTURE


def without(length: int, taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The stretches (offset, size) of ``length`` bytes outside all of those taken."""
    at = 0
    for start, size in merged(taken):
        if start > at:
            yield at, min(start, length) - at
        at = max(at, start + size)
        if at >= length:
            return
    if at < length:
        yield at, length - at
