"""PNG and APNG: a chain of chunks (PNG third edition, W3C 2025). Checksums are not checked: decoders report those.

Bytes after the deflated stream but inside an IDAT chunk count as picture data here: separating them would mean
inflating the picture a second time.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Structure, big, printable
from lemmy_safety.media.structure.runs import MANY_ELEMENTS, MUCH_FILLER, SMALL, octet, run, sized

_SIGNATURE_SIZE: Final = 8
_CHUNK_OVERHEAD: Final = 12
# Chunks of the picture. All others are examined, whatever their name, unless they are tiny.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"fcTL", b"fdAT", b"acTL", b"tRNS"})
_NAMED: Final = {
    b"eXIf": (Block.EXIF, "EXIF block"),
    b"iCCP": (Block.PROFILE, "colour profile"),
    b"tEXt": (Block.TEXT, "text chunk"),
    b"zTXt": (Block.TEXT, "compressed text chunk"),
    b"iTXt": (Block.TEXT, "text chunk"),
    b"caBX": (Block.CREDENTIALS, "content credentials"),
}
# Ancillary chunks that change what is shown. Browsers use the first of each kind, and of PLTE.
_COLOURS: Final = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"eXIf", b"acTL")
_SINGLE: Final = frozenset({b"PLTE", *_COLOURS})
_MOVING: Final = frozenset({b"fcTL", b"fdAT"})
# Small chunks of all other ancillary kinds: their names begin with a lower-case letter.
_FILLER: Final = re.compile(
    run(
        rb"\0\0\0"
        + sized(
            lambda size: (
                octet(size)
                + rb"(?!"
                + b"|".join((*_COLOURS, *sorted(_MOVING)))
                + rb")[a-z][A-Za-z]{3}.{%d}" % (size + 4)
            ),
            range(SMALL),
        )
    ),
    re.DOTALL,
)
_SEQUENCE_SIZE: Final = 4
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp\0"
#: Deflated blocks are inflated to at most this much in all; a colour profile alone may have this much before it counts
#: as oversized.
MAX_INFLATED: Final = 4 * 1024 * 1024


def read(data: Octets) -> Structure:
    """Read from the signature, at the start of ``data``."""
    parts = Parts()
    inflatable = MAX_INFLATED
    at = _SIGNATURE_SIZE
    for _ in range(MAX_STEPS):
        name = bytes(data[at + 4 : at + 8])
        size = big(data, at, 4)
        end = at + size + _CHUNK_OVERHEAD
        if name == b"IEND":
            return parts.structure(min(end, len(data)))
        if end > len(data) or not name.isalpha():
            return parts.structure()
        if name not in _PICTURE:
            block, title = _NAMED.get(name, (Block.OTHER, f"chunk '{printable(name)}'"))
            if name == b"iTXt" and data[at + 8 : at + 8 + len(_XMP_KEYWORD)] == _XMP_KEYWORD:
                block, title = Block.XMP, "XMP block"
            inflated = None if parts.full else _inflated(data, name, at + 8, size, inflatable)
            inflatable -= len(inflated or b"")
            parts.add(block, title, [(at + 8, size)], inflated)
        at = end
    return parts.structure(crowded=True)


def _inflated(data: Octets, name: bytes, body: int, size: int, limit: int) -> bytes | None:
    """The content of a deflated chunk; None for any other, and if it is broken or over the limit."""
    if name not in {b"zTXt", b"iCCP", b"iTXt"} or limit < 1:
        return None
    rest = bytes(data[body : body + size]).partition(b"\0")[2]
    if name == b"iTXt":  # a flag, the method, and two more texts precede the text itself
        deflated = rest[2:].partition(b"\0")[2].partition(b"\0")[2] if rest[:1] == b"\1" else b""
    else:
        deflated = rest[1:]
    try:
        return zlib.decompressobj().decompress(deflated, limit) if deflated else None
    except zlib.error:
        return None


def lean(data: bytes) -> bytes:
    """The same picture or animation in few chunks; ``data`` itself if it has few.

    Pillow reads each chunk in Python. Ancillary chunks without effect are dropped, picture data in many chunks are
    joined
    into one, and the frames of an animation are renumbered. Joined chunks get new checksums, others keep theirs.
    """
    pieces = [data[:_SIGNATURE_SIZE]]
    seen: set[bytes] = set()
    at = _SIGNATURE_SIZE
    chunks = filler = sequence = 0
    while True:
        run = _FILLER.match(data, at)
        if run is not None:
            filler += run.end() - at
            at = run.end()
        name, end = data[at + 4 : at + 8], at + big(data, at, 4) + _CHUNK_OVERHEAD
        if end > len(data) or not name.isalpha() or name == b"IEND":
            break
        chunks += 1
        if name in {b"IDAT", b"fdAT"}:
            skipped = _SEQUENCE_SIZE if name == b"fdAT" else 0
            bodies, at = _bodies(data, at, name, skipped)
            chunks += len(bodies) - 1
            number = [sequence.to_bytes(_SEQUENCE_SIZE, "big")] if skipped else []
            sequence += len(number)
            pieces += _chunk(name, [*number, *bodies])
            continue
        if name == b"fcTL":
            pieces += _chunk(name, [sequence.to_bytes(_SEQUENCE_SIZE, "big"), data[at + 12 : end - 4]])
            sequence += 1
        elif name in _SINGLE:
            if name not in seen:
                pieces.append(data[at:end])
            seen.add(name)
        elif not name[:1].islower():
            pieces.append(data[at:end])
        at = end
    if chunks <= MANY_ELEMENTS and filler <= MUCH_FILLER:
        return data
    return b"".join([*pieces, data[at:]])


def _bodies(data: bytes, at: int, name: bytes, skipped: int) -> tuple[list[bytes], int]:
    """The content of consecutive chunks of one kind, each without its first ``skipped`` bytes, and where they end.

    There may be three million of one byte: this loop does nothing else.
    """
    bodies: list[bytes] = []
    size = len(data)
    while data[at + 4 : at + 8] == name:
        end = at + _CHUNK_OVERHEAD + int.from_bytes(data[at : at + 4], "big")
        if end > size:
            break
        bodies.append(data[at + 8 + skipped : end - 4])
        at = end
    return bodies, at


def _chunk(name: bytes, bodies: list[bytes]) -> tuple[bytes, bytes, bytes]:
    body = b"".join(bodies)
    return len(body).to_bytes(4, "big") + name, body, zlib.crc32(name + body).to_bytes(4, "big")
