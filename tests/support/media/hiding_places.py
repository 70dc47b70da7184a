"""Where a second picture can lie in a file besides the pixels that a simple decoder returns.

``TRANSPARENT``: pictures to be seen on one colour of page only. ``BEHIND``: a picture inside or behind another file.
Keys are the form and the place in words.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps
from support.media.files import STILLS, heic
from support.media.pictures import encode, png_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

#: Tag 274 of a TIFF directory.
_ORIENTATION = 0x0112
_THUMBNAIL_SIZE = (160, 120)


def turned(
    subject: Callable[[tuple[int, int]], Image.Image], *, form: str, orientation: int, size: tuple[int, int]
) -> bytes:
    """A file whose EXIF block says how its pixels are to be turned."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    picture = subject(size)
    if form == "heic":
        return heic(picture, exif=exif.tobytes())
    file_format, _, _ = form.partition(" ")
    return encode(picture, file_format, exif=exif.tobytes())


def white_with_alpha(picture: Image.Image) -> Image.Image:
    """White everywhere, opaque where the picture is bright: nothing on a white page, the picture on a black one."""
    page = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    page.putalpha(picture.convert("L"))
    return page


def _black_with_alpha(picture: Image.Image) -> Image.Image:
    """Black everywhere, opaque where the picture is dark: nothing on a black page, the picture on a white one."""
    page = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    page.putalpha(ImageOps.invert(picture.convert("L")))
    return page


def _grey_alpha(picture: Image.Image) -> bytes:
    return encode(white_with_alpha(picture).convert("LA"), "png")


def _palette_alpha(picture: Image.Image) -> bytes:
    """A palette of 64 equal whites whose transparency makes the picture."""
    levels = picture.convert("L").point([level // 4 for level in range(256)])
    indexed = Image.frombytes("P", levels.size, levels.tobytes())
    indexed.putpalette([255] * 3 * 64)
    return encode(indexed, "png", transparency=bytes(min(255, 4 * index + 2) for index in range(64)))


def _two_tones(picture: Image.Image, *, white: bool) -> Image.Image:
    """Index 0 (transparent) and index 1 in the page's colour."""
    bright = (np.asarray(picture.convert("L")) > 127) == white
    indexed = Image.fromarray(bright.astype(np.uint8), "P")
    indexed.putpalette([128, 128, 128] + [255 if white else 0] * 3)
    return indexed


def _gif_transparency(picture: Image.Image, *, white: bool) -> bytes:
    return encode(_two_tones(picture, white=white), "gif", transparency=0)


TRANSPARENT: dict[tuple[str, str], Callable[[Image.Image], bytes]] = {
    ("png rgba", "seen on a dark page only"): lambda picture: encode(white_with_alpha(picture), "png"),
    ("png rgba", "seen on a light page only"): lambda picture: encode(_black_with_alpha(picture), "png"),
    ("png grey+alpha", "seen on a dark page only"): _grey_alpha,
    ("png palette", "seen on a dark page only"): _palette_alpha,
    ("gif", "seen on a dark page only"): lambda picture: _gif_transparency(picture, white=True),
    ("gif", "seen on a light page only"): lambda picture: _gif_transparency(picture, white=False),
    ("webp", "seen on a dark page only"): lambda picture: encode(white_with_alpha(picture), "webp", quality=80),
    ("webp", "seen on a light page only"): lambda picture: encode(_black_with_alpha(picture), "webp", quality=80),
    ("webp lossless", "seen on a dark page only"): lambda picture: encode(
        white_with_alpha(picture), "webp", lossless=True, exact=True
    ),
    ("avif", "seen on a dark page only"): lambda picture: encode(white_with_alpha(picture), "avif", quality=70),
    ("avif", "seen on a light page only"): lambda picture: encode(_black_with_alpha(picture), "avif", quality=70),
    ("tiff", "seen on a dark page only"): lambda picture: encode(white_with_alpha(picture), "tiff"),
    **(
        {("jxl", "seen on a dark page only"): lambda picture: STILLS["jxl"](white_with_alpha(picture))}
        if "jxl" in STILLS
        else {}
    ),
    **(
        {("heic", "seen on a dark page only"): lambda picture: STILLS["heic"](white_with_alpha(picture))}
        if "heic" in STILLS
        else {}
    ),
}


def _thumbnail_exif(picture: Image.Image) -> bytes:
    """An EXIF block with a preview in its second directory, as cameras write it; put together by hand.

    A TIFF header, an empty first directory, a second one with offset and length of a JPEG, the JPEG.
    """
    preview = encode(picture.resize(_THUMBNAIL_SIZE, Image.Resampling.BOX), "jpeg", quality=70)
    first = struct.pack("<HHHIII", 1, _ORIENTATION, 3, 1, 1, 8 + 18)
    at = 8 + 18 + 2 + 2 * 12 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at, 0x0202, 4, 1, len(preview), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + preview


def _in_exif(cover: Image.Image, picture: Image.Image, file_format: str) -> bytes:
    return encode(cover, file_format, exif=_thumbnail_exif(picture))


def _in_png_chunk(cover: Image.Image, picture: Image.Image, name: bytes) -> bytes:
    """A private chunk before the end of the file; no viewer shows it, any program can take it out."""
    data = encode(cover, "png")
    at = data.rindex(b"IEND") - 4
    return data[:at] + png_chunk(name, encode(picture, "jpeg", quality=80)) + data[at:]


def _second_of_mpf(cover: Image.Image, picture: Image.Image) -> bytes:
    """The multi-picture format of cameras and phones: further JPEGs behind the first, listed in its APP2 block."""
    out = io.BytesIO()
    cover.save(out, "MPO", save_all=True, append_images=[picture], quality=80)
    return out.getvalue()


def _in_app_segment(cover: Image.Image, picture: Image.Image) -> bytes:
    """In an application segment of a JPEG, which is metadata to every viewer."""
    data, hidden = encode(cover, "jpeg", quality=80), encode(picture.resize((256, 192)), "jpeg", quality=60)
    return data[:2] + b"\xff\xea" + struct.pack(">H", len(hidden) + 2) + hidden + data[2:]


def _in_webp_chunk(cover: Image.Image, picture: Image.Image) -> bytes:
    """In an unknown chunk at the end of the RIFF container, counted in its size."""
    body, hidden = encode(cover, "webp")[8:], encode(picture, "jpeg", quality=80)
    chunk = b"XTRA" + struct.pack("<I", len(hidden)) + hidden + b"\0" * (len(hidden) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + len(chunk)) + body + chunk


def _in_free_box(cover: Image.Image, picture: Image.Image) -> bytes:
    """In a ``free`` box of an AVIF: space that every reader skips."""
    hidden = encode(picture, "jpeg", quality=80)
    return encode(cover, "avif", quality=60) + struct.pack(">I", len(hidden) + 8) + b"free" + hidden


def _default_of_apng(cover: Image.Image, picture: Image.Image) -> bytes:
    """What viewers without animation show, and programs that make thumbnails: a picture that the animation leaves out."""
    shown = [cover, ImageOps.mirror(cover)]
    return encode(picture, "png", save_all=True, append_images=shown, default_image=True, duration=400)


def _second_page(cover: Image.Image, picture: Image.Image) -> bytes:
    # Copies: an image that was saved as JPEG keeps that encoder's options, and the TIFF writer stumbles over them.
    return encode(cover.copy(), "tiff", save_all=True, append_images=[picture.copy()])


def _appended(cover: Image.Image, picture: Image.Image, file_format: str, hidden_format: str) -> bytes:
    return encode(cover, file_format) + encode(picture, hidden_format)


def _after_noise(cover: Image.Image, picture: Image.Image) -> bytes:
    """Not right behind the end, but after some kilobytes of something else."""
    return encode(cover, "jpeg", quality=80) + bytes(range(256)) * 20 + encode(picture, "jpeg", quality=80)


BEHIND: dict[tuple[str, str], Callable[[Image.Image, Image.Image], bytes]] = {
    ("jpeg", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "jpeg", "jpeg"),
    ("jpeg", "a PNG appended"): lambda cover, picture: _appended(cover, picture, "jpeg", "png"),
    ("jpeg", "a WebP appended"): lambda cover, picture: _appended(cover, picture, "jpeg", "webp"),
    ("jpeg", "a JPEG appended after 5 KB of noise"): _after_noise,
    ("png", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "png", "jpeg"),
    ("gif", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "gif", "jpeg"),
    ("webp", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "webp", "jpeg"),
    ("avif", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "avif", "jpeg"),
    ("bmp", "a JPEG appended"): lambda cover, picture: _appended(cover, picture, "bmp", "jpeg"),
    ("jpeg", "the EXIF thumbnail"): lambda cover, picture: _in_exif(cover, picture, "jpeg"),
    ("png", "the EXIF thumbnail"): lambda cover, picture: _in_exif(cover, picture, "png"),
    ("webp", "the EXIF thumbnail"): lambda cover, picture: _in_exif(cover, picture, "webp"),
    ("jpeg", "the second picture of an MPF"): _second_of_mpf,
    ("jpeg", "an application segment"): _in_app_segment,
    ("png", "a private chunk"): lambda cover, picture: _in_png_chunk(cover, picture, b"prVt"),
    ("webp", "an unknown chunk"): _in_webp_chunk,
    ("avif", "a free box"): _in_free_box,
    ("apng", "the picture for viewers without animation"): _default_of_apng,
    ("tiff", "the second page"): _second_page,
}


def archive() -> bytes:
    """A ZIP with one text file in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("readme.txt"), "harmless " * 500)
    return out.getvalue()
