"""GIF: frames and extensions, whose contents are chains of sub-blocks of up to 255 bytes (GIF89a, CompuServe 1990)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MIN_PART, Block, Octets, Parts, Structure, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME: Final = 0x2C
EXTENSION: Final = 0x21
TRAILER: Final = 0x3B
GARBAGE: Final = -1

# Sub-blocks of 255 bytes: enough for 255 MB of regular data, and at most 0.5 s of walking for an irregular file.
_MAX_STEPS: Final = 1_000_000
# Sub-blocks of one extension that are joined: 5 MB.
_MAX_JOINED: Final = 20_000
_STEPS_OF_A_BLOCK: Final = 10  # what finding a block costs, in sub-blocks
_HEADER_SIZE: Final = 13
_HAS_PALETTE: Final = 0x80
_PALETTE_BITS: Final = 0x07
_ANY_BLOCK: Final = re.compile(rb"[!,;]")
_APPLICATION: Final = 0xFF
_CONTROL: Final = 0xF9
_NAMED: Final[dict[int | bytes, tuple[Block, str]]] = {
    0xFE: (Block.TEXT, "comment"),
    0x01: (Block.TEXT, "text"),
    b"XMP DataXMP": (Block.XMP, "XMP block"),
    b"ICCRGBG1012": (Block.PROFILE, "colour profile"),
}
# Encoders write full sub-blocks; looking at 64 of them at once makes a 1 MB frame 60 steps instead of 4,000.
_FULL: Final = 255
_STRIDE: Final = 64


@dataclass(frozen=True, slots=True)
class GifBlock:
    """One block: ``kind`` is FRAME, EXTENSION, TRAILER or GARBAGE, ``label`` an extension's label, else 0.

    ``offset`` is where it begins, ``chain`` where its sub-blocks begin, ``end`` is behind it; ``end`` is beyond the
    data where it is cut off.
    """

    kind: int
    label: int
    offset: int
    chain: int
    end: int


def blocks(data: Octets) -> Iterator[GifBlock]:
    """All blocks behind the header, in order; ends with the trailer, the data, or ``_MAX_STEPS``.

    What is no block is passed over to the next byte that can begin one, as Pillow does and browsers do not.
    """
    at = _HEADER_SIZE + _palette_size(data, 10)
    steps = 0
    while at < len(data) and steps < _MAX_STEPS:
        kind = data[at]
        if kind == TRAILER:
            yield GifBlock(kind, 0, at, at + 1, at + 1)
            return
        if kind == FRAME:
            chain = at + 11 + _palette_size(data, at + 9)
            end, taken = _chain_end(data, chain, _MAX_STEPS - steps)
            yield GifBlock(kind, 0, at, chain, end)
        elif kind == EXTENSION:
            label = data[at + 1] if at + 1 < len(data) else 0
            end, taken = _chain_end(data, at + 2, _MAX_STEPS - steps)
            yield GifBlock(kind, label, at, at + 2, end)
        else:
            following = _ANY_BLOCK.search(data, at)
            end, taken = following.start() if following else len(data), 1
            yield GifBlock(GARBAGE, 0, at, at, end)
        steps += taken + _STEPS_OF_A_BLOCK
        at = end


def _palette_size(data: Octets, at: int) -> int:
    if at >= len(data) or not data[at] & _HAS_PALETTE:
        return 0
    return 3 << ((data[at] & _PALETTE_BITS) + 1)


def _chain_end(data: Octets, at: int, max_steps: int) -> tuple[int, int]:
    """Where a chain of sub-blocks ends (beyond the data: it is cut off), and the steps that took."""
    for steps in range(max_steps):
        if at >= len(data):
            return len(data) + 1, steps
        size = data[at]
        if size == 0:
            return at + 1, steps
        if size == _FULL:
            lengths = bytes(data[at : at + _STRIDE * (_FULL + 1) : _FULL + 1])
            at += (len(lengths) - len(lengths.lstrip(b"\xff"))) * (_FULL + 1)
        else:
            at += size + 1
    return at, max_steps


def read(data: Octets) -> Structure:
    """Walk from the header, which ``data`` begins with.

    Browsers stop at what is no block; a few stray bytes between two are passed over here, since Pillow reads on.
    """
    parts = Parts()
    end: int | None = None
    at = 0
    for block in blocks(data):
        at = block.end
        if block.kind == TRAILER:
            end = block.end if end is None else end
        elif block.kind == GARBAGE and block.end - block.offset >= MIN_PART:
            end = block.offset if end is None else end
        elif block.kind == EXTENSION and block.label != _CONTROL and block.end - block.chain >= MIN_PART:
            _add_extension(parts, data, block)
    return parts.structure(end, crowded=end is None and at < len(data))


def _add_extension(parts: Parts, data: Octets, block: GifBlock) -> None:
    end = min(block.end, len(data))
    name = bytes(data[block.chain + 1 : block.chain + 12]) if block.label == _APPLICATION else b""
    holds, title = _NAMED.get(name or block.label, (Block.OTHER, f"extension {block.label:#04x}"))
    if name and name not in _NAMED:
        title = f"application block '{printable(name)}'"
    # XMP is not divided into sub-blocks: descending numbers at its end let the walk fall through it (XMP part 3,
    # 1.1.2).
    joined = None if holds is Block.XMP or parts.full else _content(data, block.chain, end)
    parts.add(holds, title, [(block.chain, end - block.chain)], joined)


def _content(data: Octets, at: int, end: int) -> bytes:
    """The sub-blocks of a chain without the lengths between them, as many as are taken."""
    pieces: list[Octets] = []
    while at < end and data[at] and len(pieces) < _MAX_JOINED:
        pieces.append(data[at + 1 : min(at + 1 + data[at], end)])
        at += data[at] + 1
    return b"".join(pieces)
