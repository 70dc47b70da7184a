"""What a container's structure shows without decoding: sizes, frame counts, ends, hidden places.

Every walk has a limited number of steps, because the attacker chooses the bytes: Pillow's own count of a GIF's frames
takes a quarter of a minute on 64 MB of one-pixel frames. None of these functions raises on any input.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import sniff
from lemmy_safety.media.structure import bitmap, boxes, ebml, gif, jpeg, png, riff, tiff
from lemmy_safety.media.structure.parts import Structure, little

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lemmy_safety.media.structure.parts import Octets

#: Counting stops here; pict-rs itself accepts at most 900 frames.
MAX_COUNTED_FRAMES: Final = 10_000

_WALKS: Final[Mapping[sniff.Kind, Callable[[Octets], Structure]]] = {
    sniff.JPEG: jpeg.read,
    sniff.PNG: png.read,
    sniff.APNG: png.read,
    sniff.GIF: gif.read,
    sniff.WEBP: riff.read_webp,
    sniff.AVI: riff.read_avi,
    sniff.BMP: bitmap.read_bmp,
    sniff.ICON: bitmap.read_icon,
    sniff.TIFF: tiff.read,
    sniff.WEBM: ebml.read,
    sniff.MATROSKA: ebml.read,
} | dict.fromkeys(
    (sniff.AVIF, sniff.HEIC, sniff.MP4, sniff.QUICKTIME, sniff.THREE_GP, sniff.JXL, sniff.JPEG2000, sniff.CANON_RAW),
    boxes.read,
)
_LEAN: Final[Mapping[sniff.Kind, Callable[[bytes], bytes]]] = {
    sniff.JPEG: jpeg.lean,
    sniff.PNG: png.lean,
    sniff.APNG: png.lean,
    sniff.GIF: gif.lean,
    sniff.WEBP: riff.lean_webp,
}
_BARE_CODESTREAMS: Final = (
    b"\xff\x0a",
    b"\xff\x4f",
)  # JPEG XL and JPEG 2000 without boxes: only decoding finds the end


def structure_of(data: Octets, kind: sniff.Kind) -> Structure:
    """Where a file of this kind ends and what it contains besides the picture; empty for kinds without a walk."""
    return _WALKS[kind](data) if has_walk(data, kind) else Structure()


def lean(data: bytes, kind: sniff.Kind) -> tuple[bytes, sniff.Kind]:
    """The decoders' input: the same medium without filler, and the kind this shows; ``data`` if there is little filler.

    Formats allow any number of meaningless elements, and browsers skip millions of them in a second. Our
    decoders and walks would not reach the picture, or the animation that begins after them.
    """
    make = _LEAN.get(kind)
    made = data if make is None else make(data)
    return (data, kind) if made is data else (made, sniff.sniff(made))


def first_file(data: Octets) -> tuple[Octets, sniff.Kind]:
    """The file that ``data`` begins with, without what follows its end, and its kind.

    Uses its own structure, never a length that its surroundings claim: a length that is too small would hide it.
    """
    kind = sniff.sniff(data)
    return data[: structure_of(data, kind).end or len(data)], kind


def has_walk(data: Octets, kind: sniff.Kind) -> bool:
    """Whether ``structure_of`` can find the end of files like this one, so that one without an end is incomplete."""
    return kind in _WALKS and bytes(data[:2]) not in _BARE_CODESTREAMS


def movie_box(data: Octets) -> tuple[int, int] | None:
    """Offset and size of the box in which an ISO base media file keeps its tracks; None if it has no tracks."""
    box = boxes.movie(data)
    return None if box is None else (box.offset, min(box.end, len(data)) - box.offset)


def as_still_avif(data: Octets) -> bytes | None:
    """An animated AVIF relabelled as a still, so that its decoder shows the picture stored next to the tracks.

    None if there is no such picture.
    """
    file_type: boxes.Box | None = None
    has_items = False
    for box in boxes.boxes(data, any_name=True):
        file_type = file_type or (box if box.name == b"ftyp" else None)
        has_items |= box.name == b"meta"
    if file_type is None or not has_items:
        return None
    brands = bytes(data[file_type.body : file_type.end])
    names = [brands[at : at + 4] for at in range(0, min(len(brands), 4 * sniff.MAX_BRANDS), 4)]
    changed = b"".join(b"avif" if name == b"avis" else name for name in names)
    return bytes(data[: file_type.body]) + changed + bytes(data[file_type.body + len(changed) :])


def webp_canvas(data: Octets) -> tuple[int, int] | None:
    """Width and height in pixels from a WebP header; None if it has none.

    Needed before libwebp sees the file: its animation decoder allocates two canvases when it is created.
    """
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:  # noqa: PLR2004 - offsets of the container specification (RFC 9649)
        return little(data, 24, 3) + 1, little(data, 27, 3) + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return little(data, 26, 2) & 0x3FFF, little(data, 28, 2) & 0x3FFF
    if chunk == b"VP8L" and data[20:21] == b"\x2f":
        bits = little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def gif_frame_count(data: Octets) -> int:
    """Frames in a GIF, at most MAX_COUNTED_FRAMES; a cut-off one counts."""
    frames = (block for block in gif.blocks(data) if block.kind == gif.FRAME)
    return sum(1 for _ in islice(frames, MAX_COUNTED_FRAMES))


def tiff_page_count(data: Octets) -> int:
    """Pages in a TIFF's chain of directories, at most MAX_COUNTED_FRAMES and at least 1."""
    reader = tiff.TiffReader(data)
    at = reader.first
    seen: set[int] = set()
    while 0 < at < len(data) and at not in seen and len(seen) < MAX_COUNTED_FRAMES:
        seen.add(at)
        at = reader.following(at)
    return max(len(seen), 1)


def padded_to_declared_length(data: bytes, kind: sniff.Kind, *, max_bytes: int) -> bytes | None:
    """A cut-off WebP or AVIF with zeros for the missing part; None if that cannot help.

    Their libraries refuse a file that is shorter than it declares, while browsers show the existing part. Both
    codecs read zeros as data: complete rows come out right, the rest is a smear. JPEG, PNG and GIF do not need
    this, because Pillow's tolerant mode keeps what it has of them.
    """
    measure = _DECLARED_LENGTH.get(kind)
    if measure is None:
        return None
    declared = measure(data)
    if not len(data) < declared <= max_bytes:
        return None
    return data + bytes(declared - len(data))


def _riff_length(data: bytes) -> int:
    return 8 + little(data, 4, 4)


def _boxes_length(data: bytes) -> int:
    """The end of the last box that begins within ``data``."""
    end = 0
    for box in boxes.boxes(data):
        end = box.end
    return end


_DECLARED_LENGTH: Final[Mapping[sniff.Kind, Callable[[bytes], int]]] = {
    sniff.WEBP: _riff_length,
    sniff.AVIF: _boxes_length,
}
