"""The media that pict-rs stores, by their first bytes.

pict-rs accepts nothing else: ffprobe or ImageMagick must first recognise each upload, and pict-rs rewrites it, at least
without its metadata. So bytes with another beginning were not stored by pict-rs. The exception is its
``danger_dummy_mode``, which stores anything and is only for testing pict-rs.
Source: pict-rs src/formats/*.rs (0.3 to 0.6.0-rc.6).
"""

from __future__ import annotations

#: Bytes of a file that ``may_be_stored`` examines.
START_BYTES = 12

_STARTS = (
    b"\x89PNG\r\n\x1a\n",  # also APNG
    b"\xff\xd8\xff",  # JPEG
    b"GIF87a",
    b"GIF89a",
    b"\xff\x0a",  # JPEG XL, as a bare stream and in its container
    b"\0\0\0\x0cJXL ",
    b"\x1aE\xdf\xa3",  # WebM
)


def may_be_stored(start: bytes) -> bool:
    """Whether a pict-rs file can begin like this. ``start``: its first ``START_BYTES``, or all of a shorter file."""
    return (
        start.startswith(_STARTS)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or start[4:8] == b"ftyp"  # MP4 and AVIF
    )
