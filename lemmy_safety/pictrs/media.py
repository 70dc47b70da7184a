"""What pict-rs stores: the media it knows, by their first bytes.

pict-rs takes in nothing else: it has each upload recognised by ffprobe or ImageMagick first, and writes it anew, at least
without its metadata. So bytes that begin like none of these are not what pict-rs has stored. The exception is its
``danger_dummy_mode``, which stores anything and is for tests of pict-rs alone.
Source: pict-rs src/formats/*.rs (0.3 to 0.6.0-rc.6).
"""

from __future__ import annotations

#: Bytes of a file that ``may_be_stored`` looks at.
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
    """Whether a file of pict-rs can begin so. ``start`` are its first ``START_BYTES``, or all of a shorter file."""
    return (
        start.startswith(_STARTS)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or start[4:8] == b"ftyp"  # MP4 and AVIF
    )
