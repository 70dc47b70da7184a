"""The allow-list: exactly one reader for each kind of still, and which readers this installation has.

Named classes instead of ``Image.open``, because that tries everything in Pillow and all registered plugins (its
EPS reader would start Ghostscript), and because it re-reads a JPEG as MPO, so that a broken MPO index blocks
the picture that browsers show. Opening reads headers; decoding starts only when the pages are requested, except for
JPEG XL, whose library cannot do that. This module knows no limits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from lemmy_safety.errors import MissingExtra
from lemmy_safety.media import containers, sniff
from lemmy_safety.media.stills import jxl
from lemmy_safety.packages import imported, to_install

_heif_missing: str | None = None
try:
    with imported("pillow_heif", extra="heic", needed_for="HEIC"):
        from pillow_heif import HeifImageFile
except MissingExtra as error:
    _heif_missing = to_install("heic", error)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import ImageFile


@dataclass(frozen=True, slots=True)
class Pages:
    """The pictures of one file. ``count`` is the file's own number of them, at most ``containers.MAX_COUNTED_FRAMES``.

    ``images`` opens one after the other, the main one first; each becomes invalid when the next is requested. It may
    end
    before ``count``, and raises whatever a library raises on damaged bytes.
    """

    count: int
    images: Iterator[Image.Image]


def open_pages(data: bytes, kind: sniff.Kind) -> Pages:
    """Open a still of a kind that is ``readable``.

    :raises Exception: whatever a library raises on damaged bytes.
    """
    return _READERS[kind](data)


def readable(kind: sniff.Kind) -> bool:
    """Whether this kind is on the list and its library is installed."""
    return kind in _READERS and missing(kind) is None


def missing(kind: sniff.Kind) -> str | None:
    """What to install to read this kind, for a person; None if nothing is missing."""
    return _MISSING.get(kind)


def _single(reader: type[ImageFile.ImageFile]) -> Callable[[bytes], Pages]:
    return lambda data: Pages(1, iter((reader(io.BytesIO(data)),)))


def _first_frame(reader: type[ImageFile.ImageFile]) -> Callable[[bytes], Pages]:
    """Reads only the first frame; ``animation`` handles moving pictures."""

    def open_first(data: bytes) -> Pages:
        image = reader(io.BytesIO(data))
        return Pages(max(1, int(getattr(image, "n_frames", 1))), iter((image,)))

    return open_first


def _gif(data: bytes) -> Pages:
    # We count them ourselves: Pillow's own count takes a quarter of a minute on 64 MB of one-pixel frames.
    return Pages(max(1, containers.gif_frame_count(data)), iter((GifImagePlugin.GifImageFile(io.BytesIO(data)),)))


def _seekable(image: ImageFile.ImageFile, order: Iterator[int]) -> Iterator[Image.Image]:
    for number in order:
        image.seek(number)
        yield image


def _tiff(data: bytes) -> Pages:
    count = containers.tiff_page_count(data)
    return Pages(count, _seekable(TiffImagePlugin.TiffImageFile(io.BytesIO(data)), iter(range(count))))


def _heic(data: bytes) -> Pages:
    image = cast("ImageFile.ImageFile", HeifImageFile(io.BytesIO(data)))  # type: ignore[no-untyped-call]
    first, count = image.tell(), int(getattr(image, "n_frames", 1))
    return Pages(count, _seekable(image, iter([first, *(number for number in range(count) if number != first)])))


def _icon(data: bytes) -> Pages:
    # A cursor differs from an icon by one byte, and has its hot spot where an icon has its depth.
    icon = IcoImagePlugin.IcoFile(io.BytesIO(b"\0\0\1\0" + data[4:]))
    return Pages(len(icon.entry), (icon.frame(number) for number in range(len(icon.entry))))


def _jxl(data: bytes) -> Pages:
    return Pages(1, iter((jxl.open_jxl(data),)))


_READERS: Final[dict[sniff.Kind, Callable[[bytes], Pages]]] = {
    sniff.JPEG: _single(JpegImagePlugin.JpegImageFile),
    sniff.PNG: _single(PngImagePlugin.PngImageFile),
    sniff.BMP: _single(BmpImagePlugin.BmpImageFile),
    sniff.JPEG2000: _single(Jpeg2KImagePlugin.Jpeg2KImageFile),
    sniff.APNG: _first_frame(PngImagePlugin.PngImageFile),
    sniff.WEBP: _first_frame(WebPImagePlugin.WebPImageFile),
    sniff.AVIF: _first_frame(AvifImagePlugin.AvifImageFile),
    sniff.GIF: _gif,
    sniff.TIFF: _tiff,
    sniff.HEIC: _heic,
    sniff.ICON: _icon,
    sniff.JXL: _jxl,
}

_NOT_IN_PILLOW: Final = "the installed Pillow was built without that format"
# Distributions build Pillow without some of its libraries; the extras are not installed by default.
_MISSING: Final[dict[sniff.Kind, str]] = {
    kind: words
    for kind, words in (
        (sniff.WEBP, None if WebPImagePlugin.SUPPORTED else _NOT_IN_PILLOW),
        (sniff.AVIF, None if AvifImagePlugin.SUPPORTED else _NOT_IN_PILLOW),
        (sniff.JPEG2000, None if features.check_codec("jpg_2000") else _NOT_IN_PILLOW),
        (sniff.HEIC, _heif_missing),
        (sniff.JXL, jxl.MISSING),
    )
    if words is not None
}

#: The available formats that another installation may lack, as the last part of their media types, sorted.
OPTIONAL_FORMATS: Final = tuple(
    sorted(
        kind.media_type.rpartition("/")[2]
        for kind in (sniff.WEBP, sniff.AVIF, sniff.JPEG2000, sniff.HEIC, sniff.JXL)
        if kind not in _MISSING
    )
)
