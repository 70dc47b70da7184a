"""Rewrites damaged files so that their decoders keep what browsers show of them.

Browsers feed a decoder piece by piece and draw what has come out when it stops. Pillow's readers need a complete file
first, and some return nothing for a part. So the file is completed: missing parts are filled in, obstacles are left
out, and broken parts are cut off. This module decodes and judges nothing; the caller finds out which rewritten file
gives the best result.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final

from lemmy_safety.media import containers, sniff
from lemmy_safety.media.structure.parts import big, little

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The chunks of a picture in a PNG; all others can be left out.
_PNG_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"gAMA", b"sRGB", b"iCCP", b"eXIf"})
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS: Final = 100_000
_WEBP_IMAGE: Final = re.compile(rb"VP8[ L]")
_LOSSLESS: Final = b"VP8L"
_MOST_ZEROS: Final = 4 * 1024 * 1024
_END_OF_IMAGE: Final = b"\xff\xd9"
# Where a JPEG can be cut so that everything before remains valid: before a scan, or the tables of one.
_BEFORE_SCANS: Final = re.compile(rb"\xff[\xc4\xda]")
#: A progressive JPEG has some ten scans.
_MAX_CUTS: Final = 24


def is_cut_off(data: bytes, kind: sniff.Kind) -> bool:
    """Whether a file ends before its container says."""
    return containers.has_walk(data, kind) and containers.structure_of(data, kind).end is None


def rewritten(data: bytes, kind: sniff.Kind, *, max_bytes: int) -> Iterator[bytes]:
    """The same picture as other files, the most promising first; none for kinds for which no repair is known."""
    padded = containers.padded_to_declared_length(data, kind, max_bytes=max_bytes)
    if padded is not None:
        yield padded
    if kind in {sniff.PNG, sniff.APNG}:
        yield _bare_png(data)
    elif kind is sniff.WEBP:
        yield from _bare_webp(data, max_bytes)
    elif kind is sniff.JPEG:
        yield from _shortened_jpegs(data)


def breakable(data: bytes, kind: sniff.Kind, *, max_bytes: int) -> bytes | None:
    """The file whose picture data may be broken somewhere, to be ``cut``; None for kinds that do not need this.

    WebP and AVIF: their libraries return nothing at all if picture data is broken.
    """
    if kind is sniff.WEBP:
        return next(_bare_webp(data, max_bytes), data)
    if kind is sniff.AVIF:
        return containers.padded_to_declared_length(data, kind, max_bytes=max_bytes) or data
    return None


def cut(data: bytes, at: int) -> bytes:
    """The file with zeros from an offset on, which the codecs of WebP and AVIF read as data."""
    return data[:at] + bytes(len(data) - at)


def _bare_png(data: bytes) -> bytes:
    """Only the chunks of the picture, up to the first that is not one, with the right checksums and an end."""
    chunks = [_PNG_SIGNATURE]
    at = len(_PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        name, size = data[at + 4 : at + 8], big(data, at, 4)
        if not name.isalpha():
            break
        if name in _PNG_PICTURE:
            chunks.append(_png_chunk(name, data[at + 8 : at + 8 + size]))
        at += size + 12
    return b"".join([*chunks, _png_chunk(b"IEND", b"")])


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def _bare_webp(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """The first picture alone, as a separate file with at least as many bytes as it declares.

    Zeros are not short codes: a lossless picture in which they replace missing data can need more of them than are
    missing, up to a few for each pixel.
    """
    found = _WEBP_IMAGE.search(data)
    if found is None:
        return
    body = data[found.end() + 4 :]
    size = little(data, found.end(), 4)
    if found[0] == _LOSSLESS:
        width, height = containers.webp_canvas(b"RIFF\0\0\0\0WEBP" + data[found.start() : found.start() + 16]) or (0, 0)
        body += bytes(min(width * height, _MOST_ZEROS))
    if len(body) < size <= max_bytes:
        body += bytes(size - len(body))
    body += bytes(len(body) % 2)
    chunk = found[0] + len(body).to_bytes(4, "little") + body
    yield b"RIFF" + (len(chunk) + 4).to_bytes(4, "little") + b"WEBP" + chunk


def _shortened_jpegs(data: bytes) -> Iterator[bytes]:
    """With an end marker, and then without its last scan, its last two scans, ...: libjpeg waits for whole segments."""
    yield data + _END_OF_IMAGE
    cuts = [found.start() for found in _BEFORE_SCANS.finditer(data)]
    for at in reversed(cuts[-_MAX_CUTS:]):
        yield data[:at] + _END_OF_IMAGE


def longest_part(size: int, decodes: Callable[[int], bool], *, tries: int) -> int | None:
    """By bisection, how many of ``size`` bytes from the start still decode; None if no try did."""
    low, high, best = 0, size, None
    for _ in range(tries):
        middle = (low + high) // 2
        if decodes(middle):
            best = low = middle
        else:
            high = middle
    return best
