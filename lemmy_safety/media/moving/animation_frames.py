"""The stored frames of a GIF, APNG or WebP, and the same file with only some of them. Decodes nothing.

For animations that would take too long to decode completely, and for those that misstate their number of frames.
Every walk has a limited number of steps and raises on no input. AVIF is not here: its frames depend on each other.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import sniff
from lemmy_safety.media.structure import gif
from lemmy_safety.media.structure.parts import MAX_STEPS, big, little

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

#: Browsers show a frame for a tenth of a second if it asks for a hundredth or less (Chromium, Firefox and Safari
#: alike).
_UNWILLING_S: Final = 0.01
_INSTEAD_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame: what it changes, and where it is.

    ``shown_s`` is how long browsers show it, ``pixels`` the area that it changes, which ends at ``right`` and
    ``bottom``,
    ``start`` and ``end`` its bytes in the file. A frame that ``stands_alone`` covers the whole canvas, so earlier
    frames
    do not matter.
    """

    shown_s: float
    pixels: int
    right: int
    bottom: int
    start: int
    end: int
    stands_alone: bool


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """All frames of one file. ``announced`` is the number in its header, None for headers without one.

    ``cut_off``: the file ends within its last frame, or before its container says. ``endless``: it has more frames or
    blocks than are read.
    """

    kind: sniff.Kind
    width: int
    height: int
    frames: tuple[StoredFrame, ...]
    announced: int | None = None
    cut_off: bool = False
    endless: bool = False

    @property
    def starts_s(self) -> tuple[float, ...]:
        """When each frame appears in the first round."""
        return tuple(accumulate((frame.shown_s for frame in self.frames[:-1]), initial=0.0))

    @property
    def reach(self) -> int:
        """Pixels of a canvas on which all frames fit: a GIF's frames may be larger than what browsers show of them."""
        right = max(self.width, *(frame.right for frame in self.frames))
        return right * max(self.height, *(frame.bottom for frame in self.frames))

    @property
    def duration_s(self) -> float:
        return sum(frame.shown_s for frame in self.frames)


def shown_by_browsers_s(seconds: float) -> float:
    """How long browsers show a frame that asks for this many seconds."""
    return seconds if seconds > _UNWILLING_S else _INSTEAD_S


def stored_frames(data: bytes, kind: sniff.Kind) -> StoredFrames | None:
    """Read the frames of a GIF, APNG or WebP; None for other kinds, and if there are none."""
    read = _READERS.get(kind)
    stored = None if read is None else read(data)
    return stored if stored is not None and stored.frames else None


def only(data: bytes, stored: StoredFrames, numbers: Collection[int]) -> bytes:
    """The file with only these frames, and with matching headers. Frame 0 must be among them."""
    if stored.kind is sniff.APNG:
        return _only_of_png(data, stored, numbers)
    kept = set(numbers)
    pieces = []
    at = 0
    for number, frame in enumerate(stored.frames):
        if number not in kept:
            pieces.append(data[at : frame.start])
            at = frame.end
    pieces.append(data[at:])
    rest = b"".join(pieces)
    return rest[:4] + (len(rest) - 8).to_bytes(4, "little") + rest[8:] if stored.kind is sniff.WEBP else rest


def mended(data: bytes, kind: sniff.Kind, *, max_bytes: int) -> bytes:
    """The file with zeros for the missing part of its last frame, if it is a WebP: its library needs a complete file.

    Zeros are read as data, so existing rows come out right and the rest is a smear.
    """
    stored = stored_frames(data, kind) if kind is sniff.WEBP else None
    if stored is None:
        return data
    start = stored.frames[-1].start
    size = little(data, start + 4, 4)
    missing = start + _CHUNK_HEADER + size + size % 2 - len(data)
    if missing <= 0 or len(data) + missing > max_bytes:
        return data
    whole = data + bytes(missing)
    return whole[:4] + (len(whole) - _CHUNK_HEADER).to_bytes(4, "little") + whole[8:]


# --- GIF ---------------------------------------------------------------------------------------------------------------
_CONTROL: Final = 0xF9
_TRANSPARENT: Final = 0x01
_GIF_TO_PREVIOUS: Final = 3


def _read_gif(data: bytes) -> StoredFrames:
    width, height = little(data, 6, 2), little(data, 8, 2)
    frames: list[StoredFrame] = []
    control: gif.GifBlock | None = None
    end, ended = 0, False
    for block in gif.blocks(data):
        end, ended = block.end, block.kind == gif.TRAILER
        if block.kind == gif.EXTENSION and block.label == _CONTROL:
            control = block
        elif block.kind == gif.FRAME:
            frames.append(_gif_frame(data, block, control, (width, height)))
            control = None
            if len(frames) >= MAX_STEPS:
                break
    cut_off = not ended and end >= len(data)
    return StoredFrames(sniff.GIF, width, height, tuple(frames), cut_off=cut_off, endless=not ended and not cut_off)


def _gif_frame(data: bytes, block: gif.GifBlock, control: gif.GifBlock | None, canvas: tuple[int, int]) -> StoredFrame:
    left, top, width, height = (little(data, block.offset + at, 2) for at in (1, 3, 5, 7))
    flags = 0 if control is None else little(data, control.chain + 1, 1)
    delay_s = 0.0 if control is None else little(data, control.chain + 2, 2) / 100
    return StoredFrame(
        shown_s=shown_by_browsers_s(delay_s),
        pixels=width * height,
        right=left + width,
        bottom=top + height,
        start=block.offset if control is None else control.offset,
        end=min(block.end, len(data)),
        stands_alone=(left, top) == (0, 0)
        and (width, height) == canvas
        and not flags & _TRANSPARENT
        and flags >> 2 & 7 != _GIF_TO_PREVIOUS,
    )


# --- APNG (PNG third edition, 11.3.6) ----------------------------------------------------------------------------------
_SIGNATURE_SIZE: Final = 8
_CHUNK_OVERHEAD: Final = 12
_OVER: Final = 1
_PNG_TO_PREVIOUS: Final = 2
_ALPHA_CHANNEL: Final = 4


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    offset: int
    end: int


def _png_chunks(data: bytes) -> Iterator[_Chunk]:
    """Chunks in order, including a cut-off one; ends with IEND, at anything that is not a chunk, or after MAX_STEPS."""
    at = _SIGNATURE_SIZE
    for _ in range(MAX_STEPS):
        name = data[at + 4 : at + 8]
        if len(name) < 4 or not name.isalpha():  # noqa: PLR2004 - chunk names have four letters
            return
        end = at + big(data, at, 4) + _CHUNK_OVERHEAD
        yield _Chunk(name, at, end)
        if name == b"IEND" or end > len(data):
            return
        at = end


def _read_png(data: bytes) -> StoredFrames:
    width, height = big(data, 16, 4), big(data, 20, 4)
    announced: int | None = None
    controls: list[_Chunk] = []
    ends: list[int] = []
    opaque = not little(data, 25, 1) & _ALPHA_CHANNEL
    cut_off = True
    for chunk in _png_chunks(data):
        if chunk.name == b"acTL":
            # Of two announcements, readers use the first or the last: so write it again.
            announced = big(data, chunk.offset + 8, 4) if announced is None else 0
        elif chunk.name == b"fcTL":
            controls.append(chunk)
            ends.append(chunk.end)
        elif chunk.name in {b"IDAT", b"fdAT"} and controls:
            ends[-1] = min(chunk.end, len(data))
        elif chunk.name == b"tRNS":
            opaque = False
        cut_off = chunk.name != b"IEND"
    frames = tuple(
        _png_frame(data, control, end, (width, height), opaque=opaque)
        for control, end in zip(controls, ends, strict=True)
        if end > control.end
    )
    return StoredFrames(sniff.APNG, width, height, frames, announced=announced, cut_off=cut_off)


def _png_frame(data: bytes, control: _Chunk, end: int, canvas: tuple[int, int], *, opaque: bool) -> StoredFrame:
    body = control.offset + 8
    width, height, left, top = (big(data, body + at, 4) for at in (4, 8, 12, 16))
    delay, parts, disposal, blending = (big(data, body + at, size) for at, size in ((20, 2), (22, 2), (24, 1), (25, 1)))
    return StoredFrame(
        shown_s=shown_by_browsers_s(delay / (parts or 100)),
        pixels=width * height,
        right=left + width,
        bottom=top + height,
        start=control.offset,
        end=end,
        stands_alone=(left, top) == (0, 0)
        and (width, height) == canvas
        and (opaque or blending != _OVER)
        and disposal != _PNG_TO_PREVIOUS,
    )


def _only_of_png(data: bytes, stored: StoredFrames, numbers: Collection[int]) -> bytes:
    """Updates the frame count, the sequence numbers that readers check, the checksums and the end."""
    kept = set(numbers)
    dropped = [frame for number, frame in enumerate(stored.frames) if number not in kept]
    pieces = [data[:_SIGNATURE_SIZE]]
    sequence = 0
    place = 0
    is_announced = False
    for chunk in _png_chunks(data):
        while place < len(dropped) and dropped[place].end <= chunk.offset:
            place += 1
        if place < len(dropped) and dropped[place].start <= chunk.offset:
            continue
        body = data[chunk.offset + 8 : chunk.end - 4]
        if chunk.name == b"acTL":
            if is_announced:
                continue
            is_announced = True
            body = len(kept).to_bytes(4, "big") + body[4:]
        elif chunk.name in {b"fcTL", b"fdAT"}:
            body = sequence.to_bytes(4, "big") + body[4:]
            sequence += 1
        elif chunk.name == b"IEND":
            break
        pieces.append(_png_chunk(chunk.name, body))
    return b"".join([*pieces, _png_chunk(b"IEND", b"")])


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


# --- WebP (RFC 9649, 2.7.1.1) ------------------------------------------------------------------------------------------
_RIFF_HEADER: Final = 12
_CHUNK_HEADER: Final = 8
_FRAME_HEADER: Final = 16
_NO_BLENDING: Final = 0x02
_HAS_ALPHA: Final = 0x10


def _read_webp(data: bytes) -> StoredFrames:
    width, height = little(data, 24, 3) + 1, little(data, 27, 3) + 1
    declared = little(data, 4, 4) + _CHUNK_HEADER
    frames: list[StoredFrame] = []
    at = _RIFF_HEADER
    for _ in range(MAX_STEPS):
        if at + _CHUNK_HEADER > min(len(data), declared):
            break
        size = little(data, at + 4, 4)
        end = at + _CHUNK_HEADER + size + size % 2
        if data[at : at + 4] == b"ANMF":
            frames.append(_webp_frame(data, at, min(end, len(data)), (width, height)))
        at = end
    return StoredFrames(sniff.WEBP, width, height, tuple(frames), cut_off=declared > len(data))


def _webp_frame(data: bytes, at: int, end: int, canvas: tuple[int, int]) -> StoredFrame:
    body = at + _CHUNK_HEADER
    left, top, width, height, shown_ms = (little(data, body + offset, 3) for offset in (0, 3, 6, 9, 12))
    left, top, width, height = 2 * left, 2 * top, width + 1, height + 1
    inner = body + _FRAME_HEADER
    codec = data[inner : inner + 4]
    # Lossless data has its own transparency flag, after the sizes of 14 bits each.
    opaque = codec == b"VP8 " or (codec == b"VP8L" and not little(data, inner + _CHUNK_HEADER + 4, 1) & _HAS_ALPHA)
    return StoredFrame(
        shown_s=shown_by_browsers_s(shown_ms / 1000),
        pixels=width * height,
        right=left + width,
        bottom=top + height,
        start=at,
        end=end,
        stands_alone=(left, top) == (0, 0)
        and (width, height) == canvas
        and (opaque or bool(little(data, body + 15, 1) & _NO_BLENDING)),
    )


_READERS: Final[Mapping[sniff.Kind, Callable[[bytes], StoredFrames]]] = {
    sniff.GIF: _read_gif,
    sniff.APNG: _read_png,
    sniff.WEBP: _read_webp,
}
