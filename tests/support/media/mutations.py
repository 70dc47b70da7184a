"""Damaged and hostile variants of healthy media files: as many as wanted, each a function of a seed and its number.

Blind mutations (bits, runs, cuts, splices) break codecs; those that know the file's structure (``file_structure.py``)
keep lengths and checksums right, so that the damage arrives deeper inside.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image
from support.media import pictures
from support.media.file_structure import Piece, ancestors, pieces_of
from support.media.files import ANIMATIONS, STILLS, VIDEOS
from support.media.hiding_places import BEHIND, TRANSPARENT

#: Numbers that size and count fields break on.
_EXTREMES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# Field widths in bytes, likelier ones more often.
_WIDTHS = (1, 2, 2, 4, 4, 4, 8)
# Most fields that matter stand this near to the start of their piece.
_FIELDS = 48
# A mutated file stays smaller than this; doubling again and again would only test the byte limit.
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class SeedFile:
    """A healthy file with its pieces, ready to be mutated many times."""

    form: str
    data: bytes
    pieces: list[Piece]

    @classmethod
    def of(cls, form: str, data: bytes) -> SeedFile:
        return cls(form, data, pieces_of(data))


def seed_files() -> list[SeedFile]:
    """A small healthy file of every form, and of every way to put a second picture into one; photos only."""
    photo, other = pictures.photo("coffee").resize((96, 72)), pictures.photo("chelsea").resize((96, 72))
    made = {form: encoder(photo) for form, encoder in STILLS.items()}
    moving = [pictures.photo("rocket").resize((128, 96)).crop((4 * n, 2 * n, 4 * n + 64, 2 * n + 64)) for n in range(6)]
    made |= {form: encoder(moving, [125] * 6) for form, encoder in ANIMATIONS.items()}
    made |= {form: encoder(moving, [125] * 6) for form, encoder in VIDEOS.items()}
    made |= {f"{form}, {place}": build(photo) for (form, place), build in TRANSPARENT.items()}
    made |= {f"{form}, {place}": build(photo, other) for (form, place), build in BEHIND.items()}
    made["gif disposal"] = _patched(moving, "gif", disposal=[2, 3, 1, 2, 3, 1])
    made["apng blending"] = _patched(moving, "png", disposal=[0, 1, 2, 0, 1, 2], blend=[0, 1, 1, 0, 1, 1])
    made["webp animated alpha"] = _patched(moving, "webp", lossless=True)
    return [SeedFile.of(form, data) for form, data in sorted(made.items())]


def _patched(frames: Sequence[Image.Image], file_format: str, **options: object) -> bytes:
    """An animation whose later frames are small transparent patches on the first one."""
    patches = [frames[0].convert("RGBA")]
    for number, frame in enumerate(frames[1:], 1):
        patch = Image.new("RGBA", frame.size)
        patch.paste(frame.crop((0, 0, 24, 24)), (6 * number, 4 * number))
        patches.append(patch)
    return pictures.encode(patches[0], file_format, save_all=True, append_images=patches[1:], duration=125, **options)


class Mutator:
    """Makes file number n from one of the healthy files."""

    def __init__(self, files: Sequence[SeedFile], *, seed: int) -> None:
        self._files = files
        self._seed = seed

    def file(self, number: int) -> tuple[str, bytes]:
        """Form and bytes; the same for the same files, seed and number. Forms come in turn."""
        dice = random.Random(self._seed << 32 | number)
        source = self._files[number % len(self._files)]
        data = self._structured(source, dice) if source.pieces and dice.random() < 0.6 else source.data
        if data is source.data or dice.random() < 0.3:
            for _ in range(dice.choice((1, 1, 2, 4))):
                data = dice.choice(_BLIND)(data, self._files, dice)
        return source.form, data[:_MAX_BYTES]

    def _structured(self, source: SeedFile, dice: random.Random) -> bytes:
        """One or a few edits of pieces; only the first can use the offsets, so that more of them start again."""
        data, pieces = source.data, source.pieces
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            if not pieces:
                break
            data = dice.choice(_STRUCTURED)(data, pieces, self._files, dice)[:_MAX_BYTES]
            try:
                pieces = pieces_of(data)
            except IndexError:  # what was made is past what file_structure.py understands
                break
        return data


# --- blind -------------------------------------------------------------------------------------------------------

Files = Sequence[SeedFile]


def _slice(data: bytes, dice: random.Random, most: int = 400) -> tuple[int, int]:
    start = dice.randrange(len(data) + 1)
    return start, min(len(data), start + 1 + int(dice.random() ** 3 * most))


def _flip_bits(data: bytes, _files: Files, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 2, 4, 16, 64)) if out else 0):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def _flip_near_the_start(data: bytes, _files: Files, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 2, 3)) if out else 0):
        out[dice.randrange(min(len(out), 200))] = dice.randrange(256)
    return bytes(out)


def _overwrite(data: bytes, _files: Files, dice: random.Random) -> bytes:
    start, end = _slice(data, dice)
    filling = dice.choice((b"\0", b"\xff", None))
    run = dice.randbytes(end - start) if filling is None else filling * (end - start)
    return data[:start] + run + data[end:]


def _write_extreme(data: bytes, _files: Files, dice: random.Random) -> bytes:
    return _extreme_at(data, dice.randrange(len(data) + 1), dice)


def _extreme_at(data: bytes, at: int, dice: random.Random) -> bytes:
    width = dice.choice(_WIDTHS)
    number = dice.choice(_EXTREMES) if dice.random() < 0.8 else dice.getrandbits(8 * width)
    value = (number & ((1 << 8 * width) - 1)).to_bytes(width, dice.choice(("big", "little")))
    return data[:at] + value + data[at + width :]


def _delete(data: bytes, _files: Files, dice: random.Random) -> bytes:
    start, end = _slice(data, dice)
    return data[:start] + data[end:]


def _duplicate(data: bytes, _files: Files, dice: random.Random) -> bytes:
    start, end = _slice(data, dice)
    return data[:end] + data[start:end] * dice.choice((1, 1, 2, 50)) + data[end:]


def _swap(data: bytes, _files: Files, dice: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_slice(data, dice), _slice(data, dice)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _insert(data: bytes, _files: Files, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(1 + int(dice.random() ** 3 * 300)) + data[at:]


def _truncate(data: bytes, _files: Files, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _splice(data: bytes, files: Files, dice: random.Random) -> bytes:
    """The head of this file and the tail of another, which may be of another format."""
    other = dice.choice(files).data
    share = dice.random()
    return data[: int(len(data) * share)] + other[int(len(other) * dice.choice((share, dice.random()))) :]


def _append(data: bytes, files: Files, dice: random.Random) -> bytes:
    other = dice.choice(files).data
    return data + other[: dice.choice((len(other), dice.randrange(len(other) + 1)))]


_BLIND: tuple[Callable[[bytes, Files, random.Random], bytes], ...] = (
    _flip_bits, _flip_bits, _flip_near_the_start, _overwrite, _write_extreme, _delete, _duplicate, _swap, _insert, _truncate,
    _splice, _append,
)  # fmt: skip


# --- structured --------------------------------------------------------------------------------------------------


def _replaced(data: bytes, pieces: list[Piece], piece: Piece, new: bytes, dice: random.Random) -> bytes:
    """``piece`` replaced; in most cases the lengths of what it lies in are made to fit again."""
    out = bytearray(data)
    out[piece.start : piece.end] = new
    delta = len(new) - (piece.end - piece.start)
    if delta and dice.random() < 0.8:
        for outer in ancestors(pieces, piece):
            _add_to_size(out, outer, delta)
    return bytes(out)


def _add_to_size(out: bytearray, piece: Piece, delta: int) -> None:
    if not piece.size_bytes:
        return
    place = slice(piece.size_at, piece.size_at + piece.size_bytes)
    bits = (7 if piece.ebml else 8) * piece.size_bytes
    stored = int.from_bytes(out[place], piece.order)
    length = (stored & ((1 << bits) - 1)) + delta
    marker = stored >> bits << bits if piece.ebml else 0
    out[place] = (max(0, length) & ((1 << bits) - 1) | marker).to_bytes(piece.size_bytes, piece.order)


def _with_crc(data: bytes, piece: Piece, dice: random.Random) -> bytes:
    """The PNG chunk's checksum made right, in most cases: else nothing behind it would be reached."""
    if not piece.crc or dice.random() < 0.1:
        return data
    crc = zlib.crc32(data[piece.start + 4 : piece.end - 4]).to_bytes(4, "big")
    return data[: piece.end - 4] + crc + data[piece.end :]


def _drop_piece(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    return _replaced(data, pieces, dice.choice(pieces), b"", dice)


def _repeat_piece(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    piece = dice.choice(pieces)
    times = dice.choice((2, 2, 3, 30))
    return _replaced(data, pieces, piece, data[piece.start : piece.end] * times, dice)


def _swap_pieces(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    first, second = sorted((dice.choice(pieces), dice.choice(pieces)), key=lambda piece: piece.start)
    if first.end > second.start:
        return data
    a, b = data[first.start : first.end], data[second.start : second.end]
    return data[: first.start] + b + data[first.end : second.start] + a + data[second.end :]


def _foreign_piece(data: bytes, pieces: list[Piece], files: Files, dice: random.Random) -> bytes:
    """A piece of another file in place of one, or before it."""
    other = dice.choice(files)
    if not other.pieces:
        return data
    theirs, piece = dice.choice(other.pieces), dice.choice(pieces)
    new = other.data[theirs.start : theirs.end]
    return _replaced(data, pieces, piece, new + data[piece.start : piece.end] * dice.randrange(2), dice)


def _wrong_size(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    piece = dice.choice(pieces)
    if not piece.size_bytes:
        return data
    bits = 8 * piece.size_bytes
    near = max(0, piece.end - piece.start + dice.choice((-9, -1, 1, 8, 100, 100_000)))
    number = dice.choice((*_EXTREMES, near, near)) & ((1 << bits) - 1)
    return (
        data[: piece.size_at]
        + number.to_bytes(piece.size_bytes, piece.order)
        + data[piece.size_at + piece.size_bytes :]
    )


def _extreme_field(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    """An impossible number in the header of a piece: dimensions, counts, offsets, times."""
    piece = dice.choice(pieces)
    room = min(_FIELDS, piece.end - piece.body - 4 * piece.crc)
    if room <= 0:
        return data
    changed = _extreme_at(data, piece.body + dice.randrange(room), dice)
    return _with_crc(changed, piece, dice) if len(changed) == len(data) else changed


def _damaged_body(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    piece = dice.choice(pieces)
    end = piece.end - 4 * piece.crc
    if piece.body >= end:
        return data
    body = _flip_bits(data[piece.body : end], (), dice)
    return _with_crc(data[: piece.body] + body + data[end:], piece, dice)


def _damaged_rows(data: bytes, pieces: list[Piece], _files: Files, dice: random.Random) -> bytes:
    """A PNG's picture data, damaged before compression: filters and samples instead of a broken stream."""
    rows = [piece for piece in pieces if piece.crc and data[piece.start + 4 : piece.body] == b"IDAT"]
    if not rows:
        return _damaged_body(data, pieces, (), dice)
    try:
        plain = zlib.decompress(data[rows[0].body : rows[0].end - 4])
    except zlib.error:
        return data
    packed = zlib.compress(dice.choice((_flip_bits, _overwrite, _delete, _duplicate))(plain, (), dice), 1)
    chunk = len(packed).to_bytes(4, "big") + b"IDAT" + packed + zlib.crc32(b"IDAT" + packed).to_bytes(4, "big")
    return _replaced(data, pieces, rows[0], chunk, dice)


_STRUCTURED: tuple[Callable[[bytes, list[Piece], Files, random.Random], bytes], ...] = (
    _drop_piece, _repeat_piece, _swap_pieces, _foreign_piece, _wrong_size, _wrong_size, _extreme_field, _extreme_field,
    _extreme_field, _damaged_body, _damaged_body, _damaged_rows,
)  # fmt: skip
