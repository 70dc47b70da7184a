"""Pictures padded with what their formats allow and no viewer shows: each a picture, a small element, and where it goes.

Chromium 156 shows each of them, with 16 MB of padding, as it shows the picture without.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from support.media import pictures

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE: Final = (96, 64)
_JPEG_CODE: Final = b"\xff\xda"


@dataclass(frozen=True, slots=True)
class Padding:
    """``element`` may be repeated at ``at`` in ``plain``. ``sized`` corrects the lengths that count it."""

    plain: bytes
    at: int
    element: bytes
    sized: Callable[[bytes], bytes] = bytes

    def padded(self, size: int) -> bytes:
        """The picture with elements of at least ``size`` bytes together."""
        return self.with_filler(self.element * -(-size // len(self.element)))

    def with_filler(self, filler: bytes) -> bytes:
        return self.sized(self.plain[: self.at] + filler + self.plain[self.at :])


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def riff_sized(data: bytes) -> bytes:
    """A RIFF file with the length that it has."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _moving(file_format: str) -> bytes:
    """Four scenes, none of which is like another."""
    frames = [pictures.plasma(*_SIZE, seed=seed) for seed in range(4)]
    return pictures.encode_animation(frames, file_format)


def _still(file_format: str, **options: object) -> bytes:
    return pictures.encode(pictures.plasma(*_SIZE, seed=7), file_format, **options)


def palette_end(gif: bytes) -> int:
    """Where the first block of a GIF begins."""
    return 13 + (3 << ((gif[10] & 7) + 1))


@cache
def paddings() -> dict[str, Padding]:
    """By name, what is tried."""
    jpeg = _still("jpeg")
    detailed = pictures.encode(pictures.photo().resize(_SIZE), "jpeg", quality=95)
    restarting = _still("jpeg", restart_marker_blocks=1)
    progressive = _still("jpeg", progressive=True)
    png, apng = _still("png"), _moving("apng")
    gif, moving_gif = _still("gif"), _moving("gif")
    webp, moving_webp = _still("webp", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"), _moving("webp")
    scan = jpeg.index(_JPEG_CODE)
    quantization = jpeg[jpeg.index(b"\xff\xdb") :][: 2 + 67]
    second_frame = moving_gif.index(b"!\xf9\x04", moving_gif.index(b"!\xf9\x04") + 8)
    made = {
        "fill behind the start of a JPEG": Padding(jpeg, 2, b"\xff"),
        "fill before the scan of a JPEG": Padding(jpeg, scan, b"\xff"),
        "fill before the end of a JPEG": Padding(jpeg, len(jpeg) - 2, b"\xff"),
        "fill before a restart marker": Padding(restarting, restarting.index(b"\xff\xd0", scan), b"\xff"),
        "fill before a stuffed zero": Padding(detailed, detailed.index(b"\xff\0"), b"\xff"),
        "fill between the scans of a JPEG": Padding(progressive, progressive.rindex(_JPEG_CODE), b"\xff"),
        "empty comments in a JPEG": Padding(jpeg, 2, b"\xff\xfe\0\2"),
        "short comments in a JPEG": Padding(jpeg, 2, b"\xff\xfe\0\x05abc"),
        "comments of 100 bytes in a JPEG": Padding(jpeg, scan, b"\xff\xfe\0\x66" + bytes(100)),
        "empty application segments in a JPEG": Padding(jpeg, 2, b"\xff\xef\0\2"),
        "empty JFIF segments in a JPEG": Padding(jpeg, 2, b"\xff\xe0\0\2"),
        "filled comments in a JPEG": Padding(jpeg, scan, b"\xff\xff\xff\xfe\0\2"),
        "markers without length in a JPEG": Padding(jpeg, scan, b"\xff\x01\xff\xd3"),
        "noise between the segments of a JPEG": Padding(jpeg, scan, b"noise"),
        "stuffed zeros between the segments of a JPEG": Padding(jpeg, scan, b"\xff\0"),
        "restart intervals in a JPEG": Padding(jpeg, scan, b"\xff\xdd\0\4\0\0"),
        "restart intervals and comments in a JPEG": Padding(jpeg, scan, b"\xff\xdd\0\4\0\0\xff\xfe\0\2"),
        "tables without content in a JPEG": Padding(jpeg, scan, b"\xff\xdb\0\2\xff\xc4\0\2"),
        "one table over and over in a JPEG": Padding(jpeg, jpeg.index(b"\xff\xdb"), quantization),
        "empty private chunks in a PNG": Padding(png, 33, chunk(b"prVt")),
        "empty texts behind the picture data of a PNG": Padding(png, len(png) - 12, chunk(b"tEXt")),
        "short texts in a PNG": Padding(png, 33, chunk(b"tEXt", b"a\0b")),
        "texts of 100 bytes in a PNG": Padding(png, 33, chunk(b"tEXt", b"a\0" + b"b" * 98)),
        "times in a PNG": Padding(png, 33, chunk(b"tIME", bytes(7))),
        "empty picture data before those of a PNG": Padding(png, png.index(b"IDAT") - 4, chunk(b"IDAT")),
        "idle picture data behind those of a PNG": Padding(png, len(png) - 12, chunk(b"IDAT", b"x")),
        "gammas in a PNG": Padding(png, 33, chunk(b"gAMA", b"\0\0\xb1\x8f")),
        "chunks before an APNG says that it is one": Padding(apng, 33, chunk(b"prVt")),
        "chunks between the frames of an APNG": Padding(apng, apng.index(b"fdAT") - 4, chunk(b"prVt")),
        "empty comments in a GIF": Padding(gif, palette_end(gif), b"!\xfe\0"),
        "comments in sub-blocks of one byte in a GIF": Padding(gif, palette_end(gif), b"!\xfe\1a\1b\0"),
        "application blocks in a GIF": Padding(gif, palette_end(gif), b"!\xff\x0bABCDEFGH123\0"),
        "graphic controls in a GIF": Padding(gif, palette_end(gif), b"!\xf9\4\0\0\0\0\0"),
        "graphic controls and comments in a GIF": Padding(gif, palette_end(gif), b"!\xf9\4\0\0\0\0\0!\xfe\0"),
        "empty extensions of no kind in a GIF": Padding(gif, palette_end(gif), b"!\x99\0"),
        "sub-blocks behind the codes of a GIF": Padding(gif, len(gif) - 2, b"\1x"),
        "comments between the frames of a GIF": Padding(moving_gif, second_frame, b"!\xfe\1a\0"),
        "graphic controls between the frames of a GIF": Padding(moving_gif, second_frame, b"!\xf9\4\0\0\0\0\0"),
        "empty chunks in a WebP": Padding(webp, webp.index(b"VP8 "), b"prVt\0\0\0\0", riff_sized),
        "chunks of odd length in a WebP": Padding(webp, webp.index(b"VP8 "), b"prVt\3\0\0\0abc\0", riff_sized),
        "chunks between the frames of a WebP": Padding(
            moving_webp, moving_webp.rindex(b"ANMF"), b"prVt\0\0\0\0", riff_sized
        ),
    }
    at = png.index(b"IDAT") - 4
    size = int.from_bytes(png[at : at + 4], "big")
    data = png[at + 8 : at + 8 + size]
    torn = b"".join(chunk(b"IDAT", data[place : place + 1]) for place in range(size))
    made["picture data in chunks of one byte"] = Padding(png[:at] + torn + png[at + 12 + size :], at, chunk(b"IDAT"))
    return made
