"""GIF: frames and extensions, whose contents are chains of sub-blocks of up to 255 bytes (GIF89a, CompuServe 1990)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lemmy_safety.media.structure.parts import MAX_STEPS, MIN_PART, Block, Octets, Parts, Structure, printable
from lemmy_safety.media.structure.runs import MUCH_FILLER, either, octet, run, sized

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME: Final = 0x2C
EXTENSION: Final = 0x21
TRAILER: Final = 0x3B
GARBAGE: Final = -1

# Sub-blocks of one extension that are joined: 5 MB.
_MAX_JOINED: Final = 20_000
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
# The end of a chain is tested first: otherwise each one would be compared with all lengths.
_SUB_BLOCKS: Final = rb"(?:(?!\0)" + sized(lambda size: octet(size) + rb".{%d}" % size, range(1, 256)) + rb")*+"
_CHAIN: Final = re.compile(_SUB_BLOCKS, re.DOTALL)
# Blocks that do not change how a frame is shown: all extensions but the last graphic control before it, and those that
# are too short to be one.
_IDLE_EXTENSION: Final = rb"!(?:[^\xf9]|\xf9(?!\x04))" + _SUB_BLOCKS + rb"\0"
_OVERRULED_CONTROL: Final = rb"!\xf9" + _SUB_BLOCKS + rb"\0(?=!\xf9\x04)"
_FILLER: Final = re.compile(run(either((_IDLE_EXTENSION, _OVERRULED_CONTROL))), re.DOTALL)
# Pillow reads on into the next block after these, and then finds no picture.
_EMPTY_EXTENSION: Final = re.compile(rb"![^\xfe]\0", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GifBlock:
    """One block: ``kind`` is FRAME, EXTENSION, TRAILER or GARBAGE, ``label`` an extension's label, else 0.

    ``offset`` is where it begins, ``chain`` where its sub-blocks begin, ``end`` the offset after it; ``end`` is beyond
    the
    data if it is cut off.
    """

    kind: int
    label: int
    offset: int
    chain: int
    end: int


def blocks(data: Octets) -> Iterator[GifBlock]:
    """The first ``MAX_STEPS`` blocks after the header, in order; ends with the trailer, or the data.

    Skips bytes that are not a block up to the next one that can begin a block, as Pillow does and browsers do not.
    """
    at = _HEADER_SIZE + _palette_size(data, 10)
    for _ in range(MAX_STEPS):
        if at >= len(data):
            return
        kind = data[at]
        if kind == TRAILER:
            yield GifBlock(kind, 0, at, at + 1, at + 1)
            return
        if kind == FRAME:
            chain = at + 11 + _palette_size(data, at + 9)
            end = _chain_end(data, chain)
            yield GifBlock(kind, 0, at, chain, end)
        elif kind == EXTENSION:
            label = data[at + 1] if at + 1 < len(data) else 0
            end = _chain_end(data, at + 2)
            yield GifBlock(kind, label, at, at + 2, end)
        else:
            following = _ANY_BLOCK.search(data, at)
            end = following.start() if following else len(data)
            yield GifBlock(GARBAGE, 0, at, at, end)
        at = end


def _palette_size(data: Octets, at: int) -> int:
    if at >= len(data) or not data[at] & _HAS_PALETTE:
        return 0
    return 3 << ((data[at] & _PALETTE_BITS) + 1)


def _chain_end(data: Octets, at: int) -> int:
    """Where a chain of sub-blocks ends; beyond the data if it is cut off."""
    found = _CHAIN.match(data, at) if at < len(data) else None
    end = len(data) if found is None else found.end()
    return end + 1 if end < len(data) and not data[end] else len(data) + 1


def lean(data: bytes) -> bytes:
    """The same frames without the extensions that do not affect them; ``data`` itself if there are few.

    Pillow reads each extension, and each of its sub-blocks, in Python.
    """
    at = _HEADER_SIZE + _palette_size(data, 10)
    pieces = [data[:at]]
    control = b""
    dropped = frames = 0
    stumbles = False
    while frames < MAX_STEPS:
        filler = _FILLER.match(data, at)
        if filler is not None:
            dropped += filler.end() - at
            stumbles = stumbles or _EMPTY_EXTENSION.search(data, at, filler.end()) is not None
            at = filler.end()
        kind = data[at] if at < len(data) else TRAILER
        if kind == EXTENSION:
            end = _chain_end(data, at + 2)
            dropped += len(control)
            control = data[at:end]
        elif kind == FRAME:
            end = _chain_end(data, at + 11 + _palette_size(data, at + 9))
            pieces += control, data[at:end]
            control = b""
            frames += 1
        else:
            break
        at = end
    if dropped <= MUCH_FILLER and not stumbles:
        return data
    return b"".join([*pieces, control, data[at:]])


def read(data: Octets) -> Structure:
    """Read from the header, at the start of ``data``.

    Browsers stop at anything that is not a block; here a few stray bytes between two are skipped, since Pillow reads
    on.
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
    """The sub-blocks of a chain without the lengths between them, as many as are used."""
    pieces: list[Octets] = []
    while at < end and data[at] and len(pieces) < _MAX_JOINED:
        pieces.append(data[at + 1 : min(at + 1 + data[at], end)])
        at += data[at] + 1
    return b"".join(pieces)
