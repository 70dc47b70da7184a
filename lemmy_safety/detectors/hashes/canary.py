"""The canary: a harmless picture, made here, that lemmy-safety always flags.

It is to this tool what the EICAR file is to virus scanners: an inert test picture. It shows two-coloured tiles and the
words "LEMMY-SAFETY TEST IMAGE - HARMLESS", nothing else. Uploading it shows that a scan works, without any
real material. This module draws it and knows its hashes; ``detector.py`` recognises it: also re-encoded, scaled down to
thumbnails, in grey, turned or mirrored, but not if more than about 1 % is cropped off each side.

Only rectangles are drawn, even for the letters, so that the picture needs no font and is the same with every
build of Pillow.
"""

from __future__ import annotations

import hashlib
import io

from PIL import Image, ImageDraw

WIDTH = 1024
HEIGHT = 768

#: Bright and dark tiles. Only their brightness counts for PDQ; the hues make the picture easy to recognise.
_BRIGHT = (255, 214, 10)
_DARK = (0, 40, 85)
_PANEL = (255, 255, 255)
_INK = (20, 20, 20)

#: One tile for each bit of a SHA-256 digest. PDQ uses 16 x 16 spatial frequencies; this number of pseudo-random tiles
#: puts the same strength into each of them, so that no bit of the hash depends on a weak signal, and no
#: ordinary picture comes near.
_TILES = 16
_TILE_SEED = b"lemmy-safety test image"

_LINES = ("LEMMY-SAFETY", "TEST IMAGE", "HARMLESS")

#: Block capitals, five squares wide and seven high, one string a row.
_GLYPHS = {
    "A": (" ### ", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"),
    "E": ("#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#####"),
    "F": ("#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#    "),
    "G": (" ####", "#    ", "#    ", "#  ##", "#   #", "#   #", " ####"),
    "H": ("#   #", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"),
    "I": ("#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "#####"),
    "L": ("#    ", "#    ", "#    ", "#    ", "#    ", "#    ", "#####"),
    "M": ("#   #", "## ##", "# # #", "# # #", "#   #", "#   #", "#   #"),
    "R": ("#### ", "#   #", "#   #", "#### ", "# #  ", "#  # ", "#   #"),
    "S": (" ####", "#    ", "#    ", " ### ", "    #", "    #", "#### "),
    "T": ("#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  "),
    "Y": ("#   #", "#   #", " # # ", "  #  ", "  #  ", "  #  ", "  #  "),
    "-": ("     ", "     ", "     ", "#####", "     ", "     ", "     "),
    " ": ("     ", "     ", "     ", "     ", "     ", "     ", "     "),
}
_GLYPH_STEP = 6
_LINE_STEP = 9

#: The side of one square of a letter, in pixels.
_SQUARE = 8

#: PDQ hashes of ``canary_image()`` in the order of ``fingerprints.dihedral_pdqs_of``: PDQ is not rotation-safe, so a
#: turned or mirrored canary is recognised because all eight are listed here. A test recomputes them.
CANARY_PDQS: tuple[str, ...] = (
    "d39173112babc128870bdd64628d9e06c10be0d75b19dd5d9bd5fd07084ed9ec",
    "9bcd392a6246bafa253ffbeb6b281342a241fba534013fc73ab3f8a829c61503",
    "8084d9bb7efe2a80d25c77c635d830ac145e4a6d1e44e7f7de0057ad5c1b7306",
    "cd9993a077111060f06ad9413e7db9e8f714d10ee154956d6bc6520a7d93bfa9",
    "cdf1acee2bab7fd7870ba293628de5fbc10b1f385b11a2a28b5502f8084ea613",
    "94c426447efed57dd65e0831b7d8cf53945eb5925e4c1808de04a8527d1b8cf9",
    "9dddd6f56244c53d253f0d14eb28fcbda249045b3401c0783ab3075f29c6eafc",
    "c8186c5f37116faf706a26be3c7d4615f7142ef061546a926bc6adf564934056",
)


def canary_image() -> Image.Image:
    """Draw the canary: 1024 x 768 pixels, RGB."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _DARK)
    draw = ImageDraw.Draw(image)
    _draw_tiles(draw)
    _draw_text(draw)
    return image


def canary_png() -> bytes:
    """The canary as a PNG file. The same bytes on each call; another build of zlib may compress differently."""
    buffer = io.BytesIO()
    canary_image().save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_tiles(draw: ImageDraw.ImageDraw) -> None:
    bits = int.from_bytes(hashlib.sha256(_TILE_SEED).digest(), "big")
    wide, high = WIDTH // _TILES, HEIGHT // _TILES
    for tile in range(_TILES * _TILES):
        if bits >> tile & 1:
            row, column = divmod(tile, _TILES)
            left, top = column * wide, row * high
            draw.rectangle((left, top, left + wide - 1, top + high - 1), fill=_BRIGHT)


def _draw_text(draw: ImageDraw.ImageDraw) -> None:
    """Three centred lines on a white panel."""
    longest = max(len(line) for line in _LINES)
    panel_wide = (longest * _GLYPH_STEP + 3) * _SQUARE
    panel_high = (len(_LINES) * _LINE_STEP + 2) * _SQUARE
    left, top = (WIDTH - panel_wide) // 2, (HEIGHT - panel_high) // 2
    draw.rectangle((left, top, left + panel_wide - 1, top + panel_high - 1), fill=_PANEL)
    for number, line in enumerate(_LINES):
        y = top + (2 + number * _LINE_STEP) * _SQUARE
        x = (WIDTH - (len(line) * _GLYPH_STEP - 1) * _SQUARE) // 2
        for letter in line:
            _draw_letter(draw, letter, x, y)
            x += _GLYPH_STEP * _SQUARE


def _draw_letter(draw: ImageDraw.ImageDraw, letter: str, x: int, y: int) -> None:
    for down, row in enumerate(_GLYPHS[letter]):
        for across, square in enumerate(row):
            if square == "#":
                left, top = x + across * _SQUARE, y + down * _SQUARE
                draw.rectangle((left, top, left + _SQUARE - 1, top + _SQUARE - 1), fill=_INK)
