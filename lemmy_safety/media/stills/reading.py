"""One try at the pages of a still: sizes against limits, the cheapest size that the format can produce, rendering.

Raises whatever the libraries raise on damaged bytes; ``still`` decides what that means, and whether to try again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin, TiffImagePlugin

from lemmy_safety.errors import MediaError
from lemmy_safety.media import containers, costs, sniff
from lemmy_safety.media.complaints import complaint_of
from lemmy_safety.media.pixels import rendering
from lemmy_safety.media.stills import formats, interlace, jxl, second_decoder
from lemmy_safety.records import ItemStatus

if TYPE_CHECKING:
    import numpy.typing as npt

    from lemmy_safety.media.base import MediaLimits

    Pixels = npt.NDArray[np.uint8]

# A decoder's output is at least twice the frame in both directions, so that Lanczos determines the frame.
_DRAFT_GAP: Final = 2
# From here on, the detour through FFmpeg is worth it for a WebP: libwebp would take more than 300 MB.
_LARGE_WEBP: Final = 16_000_000
# JPEG 2000: the "coding style default" marker (ISO/IEC 15444-1 A.6.1) in the first part of the codestream's header
# says how often the picture was halved.
_COD: Final = b"\xff\x52"
_COD_REACH: Final = 4096
_COD_LEVELS: Final = 9
# OpenJPEG keeps each sample as 32 bits, twice, in addition to its output; measured with three channels.
_JPEG2000_BYTES: Final = 19


@dataclass(frozen=True, slots=True)
class Shown:
    """The result of one try.

    ``pages`` are each picture on a light page, and on a dark one if that differs visibly. ``width`` and
    ``height`` are the first one's own after orientation, ``count`` is the file's own number of pictures.
    ``broken_off`` is the error about the picture after the last one that could be decoded.
    """

    pages: tuple[tuple[Pixels, Pixels | None], ...]
    width: int
    height: int
    count: int
    broken_off: str = ""


def read(data: bytes, kind: sniff.Kind, limits: MediaLimits, *, tolerant: bool) -> Shown:
    """Decode and render the pictures of a still, up to ``max_frames`` and together up to ``max_pixels``.

    ``tolerant``: the bytes are known to be damaged; fill what is missing in an interlaced file.

    :raises MediaError: TOO_LARGE, or UNSUPPORTED.
    :raises Exception: whatever a library raises on damaged bytes, about the first picture.
    """
    if kind is sniff.WEBP and (canvas := containers.webp_canvas(data)):
        if not tolerant and _is_large_still(data, canvas, limits):
            image = second_decoder.decode_large_webp(data, _wanted(canvas), max_pixels=costs.scaled_limit(limits))
            return shown(image, canvas, 1)
        costs.refuse_large(*canvas, limits.max_pixels)
    if kind is sniff.JXL and (header := jxl.read_header(data)):
        costs.refuse_large(header.width, header.height, limits.max_pixels)
        if header.animated:
            raise MediaError(
                ItemStatus.UNSUPPORTED, "an animated JPEG XL picture; the library for it does not play those"
            )
    opened = formats.open_pages(data, kind)
    first: Shown | None = None
    pages: list[tuple[Pixels, Pixels | None]] = []
    broken_off = ""
    pixels = 0
    try:
        for image in opened.images:
            pixels += image.width * image.height
            if len(pages) == limits.max_frames or (pages and pixels > limits.max_pixels):
                break
            page = _read_page(image, data, kind, limits, opened.count, tolerant=tolerant)
            first = first or page
            pages += page.pages
    except Exception as error:
        if first is None or isinstance(error, MemoryError):
            raise
        broken_off = f"picture {len(pages) + 1}: {complaint_of(error)}"
    if first is None:
        raise ValueError("it holds no picture")
    return Shown(tuple(pages), first.width, first.height, opened.count, broken_off)


def shown(image: Image.Image, full: tuple[int, int], count: int) -> Shown:
    """One loaded picture, rendered; ``full`` is its size in the file if the image has already been scaled down."""
    orientation = rendering.orientation_of(image)
    light, dark = rendering.render_on_pages(image, rendering.strip_size(*full), orientation)
    # Copied at once: a small opaque picture is the opened file itself, which shows another page after the next seek.
    pages = np.asarray(light), None if dark is None else np.asarray(dark)
    width, height = reversed(full) if orientation in rendering.SIDEWAYS else full
    return Shown((pages,), width, height, count)


def _is_large_still(data: bytes, canvas: tuple[int, int], limits: MediaLimits) -> bool:
    """Whether a WebP is decoded at a smaller size.

    :raises MediaError: TOO_LARGE.
    """
    width, height = canvas
    if width * height <= _LARGE_WEBP or sniff.is_animated(data, sniff.WEBP):
        return False
    costs.refuse_large(width, height, costs.scaled_limit(limits))
    costs.refuse_costly(width, height, second_decoder.webp_memory(data, width * height), sniff.WEBP.name)
    return True


def _wanted(full: tuple[int, int]) -> tuple[int, int]:
    """The smallest acceptable output of a decoder for a picture; never more than the picture has."""
    size = rendering.strip_size(*full)
    return min(full[0], size[0] * _DRAFT_GAP), min(full[1], size[1] * _DRAFT_GAP)


def _read_page(
    image: Image.Image, data: bytes, kind: sniff.Kind, limits: MediaLimits, count: int, *, tolerant: bool
) -> Shown:
    """Load one opened picture at the size that its format can produce, and render it."""
    full = image.size
    wanted = _wanted(full)
    if kind is sniff.JPEG and isinstance(image, JpegImagePlugin.JpegImageFile):
        costs.refuse_large(*full, costs.scaled_limit(limits))
        costs.refuse_costly(*full, costs.jpeg_memory(data), kind.name)
        # libjpeg then skips detail that scaling would discard: 0.1 s and 16 MB at 40 MP instead of 0.5 s and 168 MB.
        image.draft(None, wanted)
    else:
        costs.refuse_large(*full, limits.max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _refuse_large_tiles(image, limits)
    scaled = isinstance(image, JpegImagePlugin.JpegImageFile)
    if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        scaled = True
        image.reduce = halvings = 0 if tolerant else _halvings(data, full, wanted)
        costs.refuse_costly(*full, (full[0] * full[1] >> 2 * halvings) * _JPEG2000_BYTES, kind.name)
    image.load()
    if not scaled and image.size != full:  # some readers find out the true size only now
        full = image.size
        costs.refuse_large(*full, limits.max_pixels)
    return shown(interlace.filled(image, data, kind) if tolerant else image, full, count)


def _halvings(data: bytes, full: tuple[int, int], wanted: tuple[int, int]) -> int:
    """How many times a JPEG 2000 picture can be halved while it is decoded and still be as large as ``wanted``."""
    at = data.find(_COD, 0, _COD_REACH)
    stored = data[at + _COD_LEVELS] if 0 <= at < len(data) - _COD_LEVELS else 0
    useful = min(full[0] // max(1, wanted[0]), full[1] // max(1, wanted[1])).bit_length() - 1
    return max(0, min(stored, useful))


def _refuse_large_tiles(image: TiffImagePlugin.TiffImageFile, limits: MediaLimits) -> None:
    """A TIFF's tiles may be larger than its picture, and are allocated whole."""
    width = image.tag_v2.get(TiffImagePlugin.TILEWIDTH)
    height = image.tag_v2.get(TiffImagePlugin.TILELENGTH)
    if isinstance(width, int) and isinstance(height, int):
        costs.refuse_large(width, height, limits.max_pixels)
