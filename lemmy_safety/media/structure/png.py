"""PNG and APNG: a chain of chunks (PNG third edition, W3C 2025). Checksums are not looked at, decoders report those.

What lies behind the deflated stream but inside an IDAT chunk is picture data here: telling them apart would mean
inflating the picture a second time.
"""

from __future__ import annotations

import zlib
from typing import Final

from lemmy_safety.media.structure.parts import MAX_STEPS, Block, Octets, Parts, Structure, big, printable

_SIGNATURE_SIZE: Final = 8
_CHUNK_OVERHEAD: Final = 12
# What makes up the picture. Everything else is looked at, whatever it is called and unless it is tiny.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"fcTL", b"fdAT", b"acTL", b"tRNS"})
_NAMED: Final = {
    b"eXIf": (Block.EXIF, "EXIF block"),
    b"iCCP": (Block.PROFILE, "colour profile"),
    b"tEXt": (Block.TEXT, "text chunk"),
    b"zTXt": (Block.TEXT, "compressed text chunk"),
    b"iTXt": (Block.TEXT, "text chunk"),
    b"caBX": (Block.CREDENTIALS, "content credentials"),
}
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp\0"
#: Deflated blocks are inflated to at most this much in all; it is what a colour profile alone may have before it counts
#: as oversized.
MAX_INFLATED: Final = 4 * 1024 * 1024


def read(data: Octets) -> Structure:
    """Walk from the signature, which ``data`` begins with."""
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
    """The content of a chunk that is deflated; None for any other, and where that is broken or over the limit."""
    if name not in {b"zTXt", b"iCCP", b"iTXt"} or limit < 1:
        return None
    rest = bytes(data[body : body + size]).partition(b"\0")[2]
    if name == b"iTXt":  # a flag, the method, and two more texts stand before the text itself
        deflated = rest[2:].partition(b"\0")[2].partition(b"\0")[2] if rest[:1] == b"\1" else b""
    else:
        deflated = rest[1:]
    try:
        return zlib.decompressobj().decompress(deflated, limit) if deflated else None
    except zlib.error:
        return None
