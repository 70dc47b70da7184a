"""What browsers show of damaged files, and Pillow does not: found out by comparing with Chromium, file by file."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image
from support.media import damage, pictures

from lemmy_safety.media import MediaLimits, decode, sniff
from lemmy_safety.media.stills import interlace, reading, repair, second_decoder
from lemmy_safety.media.structure import riff
from lemmy_safety.records import AnomalyKind

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=100_000_000, crop_ratio=0)


def difference(data, image, rows=slice(None)):
    """How far the judged frame is from the picture that was damaged, in levels."""
    media = decode(data, LIMITS)
    assert media.info.anomalies[0].kind in {AnomalyKind.TRUNCATED, AnomalyKind.DAMAGED}
    assert (media.info.width, media.info.height) == image.size
    return np.abs(media.frames[0].pixels[rows].astype(int) - np.asarray(image)[rows]).mean()


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.7])
def test_an_interlaced_gif_is_filled_from_its_first_passes(fraction):
    """A cut-off interlaced GIF shows all of its picture, only coarser, not stripes on an empty page."""
    image = pictures.photo("coffee").resize((300, 200))
    data = pictures.truncated(pictures.encode(image, "gif", interlace=1), fraction)
    assert difference(data, image) < 26


@pytest.mark.parametrize("fraction", [0.03, 0.1, 0.4, 0.8])
def test_an_interlaced_png_is_filled_from_its_first_passes(fraction):
    """A cut-off interlaced PNG shows blocks, not dots on an empty page."""
    image = pictures.photo("coffee").resize((300, 200))
    assert difference(pictures.truncated(damage.interlaced_png(image), fraction), image) < 34


def test_a_damaged_interlaced_animation_has_its_first_frame_filled():
    """A GIF whose first frame breaks off and that goes on with others: browsers show the first one whole, only coarser."""
    image = pictures.photo("coffee").resize((300, 200))
    whole = pictures.encode(image, "gif", interlace=1)
    start = whole.index(b",", 700)
    broken = pictures.truncated(whole, 0.4)
    # The chain of sub-blocks ends where the data do; the next frame follows as if nothing had happened.
    at = start + 11
    while at + 1 + broken[at] < len(broken):
        at += 1 + broken[at]
    second = pictures.encode(pictures.shapes(300, 200), "gif", interlace=0)
    data = broken[:at] + b"\0" + second[second.index(b"!\xf9") if b"!\xf9" in second else second.index(b",", 13) :]
    media = decode(data, LIMITS)
    assert media.frames[0].view == ""
    assert np.abs(media.frames[0].pixels.astype(int) - np.asarray(image)).mean() < 26


def test_an_interlaced_palette_keeps_its_colours():
    """Filling works on indices; the palette and its transparency stay what they are."""
    image = pictures.quarters(80, 80).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    data = pictures.encode(image, "gif", interlace=1, transparency=int(np.asarray(image)[0, 0]))
    pixels = decode(data[:-30], LIMITS).frames[0].pixels
    assert tuple(pixels[5, 5]) == (255, 255, 255)
    assert tuple(pixels[5, 70]) == (0, 255, 0)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (17, 1), (1, 17)])
def test_small_interlaced_pictures_have_passes_without_pixels(size):
    """Passes that a small picture has not are no error."""
    image = pictures.plasma(*size)
    whole = damage.interlaced_png(image)
    assert np.array_equal(decode(whole, LIMITS).frames[0].pixels, np.asarray(image))
    loaded = Image.open(io.BytesIO(whole))
    loaded.load()
    assert np.array_equal(np.asarray(interlace.filled(loaded, whole, sniff.PNG)), np.asarray(image))


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_progressive_jpeg_shows_the_scans_that_are_there(fraction):
    """libjpeg gives nothing of a progressive file before its end; what its first scans say is judged."""
    image = pictures.photo("coffee")
    data = pictures.truncated(pictures.encode(image, "jpeg", progressive=True), fraction)
    assert difference(data, image) < 16


def test_a_progressive_jpeg_with_a_broken_table_shows_what_came_before():
    """Rubbish in a later scan's table does not take the first scans away."""
    image = pictures.photo("coffee")
    data = bytearray(pictures.encode(image, "jpeg", progressive=True))
    last_table = data.rindex(b"\xff\xc4")
    data[last_table + 5 : last_table + 21] = b"\xff" * 16
    assert difference(bytes(data), image) < 16


@pytest.mark.parametrize("lost", [1, 40])
def test_a_png_whose_chunks_are_out_of_step_shows_its_first_rows(lost):
    """Lost bytes within the picture data put all that follows out of step; the rows before them are shown."""
    image = pictures.photo("coffee")
    data = pictures.encode(image, "png")
    middle = len(data) // 2
    assert difference(data[:middle] + data[middle + lost :], image, slice(0, 120)) < 1


def test_a_png_with_a_chunk_of_nonsense_length_is_judged():
    """A chunk that claims two gigabytes hides neither what is before it nor behind a library's error."""
    image = pictures.plasma()
    data = pictures.encode(image, "png")
    assert difference(data[:-12] + b"\x7f\xff\xff\xfftEXt" + data[-12:], image) == 0


def is_refused(data, kind):
    try:
        reading.read(data, kind, LIMITS, tolerant=False)
    except Exception:  # noqa: BLE001 - which error it is differs from release to release
        return True
    return False


@pytest.mark.parametrize(("kind", "options"), [(sniff.WEBP, {"lossless": True}), (sniff.AVIF, {"quality": 80})])
def test_broken_picture_data_shows_what_is_before_the_break(kind, options):
    """libwebp and libavif give nothing of a broken file; what can be decoded before the break is judged."""
    image = pictures.photo("coffee")
    data = pictures.encode(image, kind.media_type[6:], **options)
    rng = random.Random(7)
    tries = (damage.damaged(data, rng, first=len(data) * 3 // 4) for _ in range(200))
    broken = next(one for one in tries if len(one) == len(data) and is_refused(one, kind))
    assert difference(broken, image, slice(0, 60)) < 12


def test_a_webp_with_rubbish_before_its_picture_is_judged():
    """Chunks before the picture that lie about their length do not hide it."""
    image = pictures.photo("coffee")
    data = pictures.encode(image, "webp")
    assert difference(data[:12] + b"JUNK\xff\xff\xff\x7f" + data[12:], image) < 6


@pytest.mark.parametrize(("file_format", "kind"), [("jpeg", sniff.JPEG), ("png", sniff.PNG), ("bmp", sniff.BMP)])
def test_the_second_decoder_reads_what_the_first_one_reads(file_format, kind):
    """FFmpeg's decoders give the same picture, so that what they save is what was stored."""
    image = pictures.photo("coffee")
    out = second_decoder.decode_damaged(pictures.encode(image, file_format), kind, max_pixels=10**6)
    assert np.abs(np.asarray(out).astype(int) - np.asarray(image)).mean() < 6


def test_the_second_decoder_keeps_to_the_limit():
    """A picture over the limit is refused by FFmpeg before it allocates it."""
    with pytest.raises(second_decoder.CannotDecode):
        second_decoder.decode_damaged(pictures.encode(pictures.photo("coffee"), "png"), sniff.PNG, max_pixels=1000)


def test_the_second_decoder_judges_what_pillow_cannot(monkeypatch):
    """Where every way of the first decoder fails, the second one is asked."""

    def broken(*arguments, **keywords):
        raise OSError("broken data stream")

    monkeypatch.setattr(reading, "read", broken)
    image = pictures.photo("coffee")
    assert difference(pictures.encode(image, "jpeg"), image) < 6


def test_halving_finds_the_last_byte_that_helps():
    """The search for the longest part converges on the break."""
    assert repair.longest_part(1000, lambda part: part <= 700, tries=10) in range(699, 701)
    assert repair.longest_part(1000, lambda _: False, tries=10) is None


@pytest.mark.parametrize("lost", [1, 500, 3000])
def test_a_webp_that_was_cut_short_is_searched_up_to_its_own_end(lost):
    """A rewritten file has another length than the damaged one; no offset lies beyond its end."""
    data = pictures.encode(pictures.photo("coffee"), "webp", lossless=True)
    broken = data[:12] + b"JUNK" + bytes([200, 0, 0, 0]) + bytes(200) + data[12:-lost]
    whole = repair.breakable(broken, sniff.WEBP, max_bytes=10**7)
    assert len(whole) < len(broken) + 600 * 400 + 16
    assert len(repair.cut(whole, len(broken))) == len(whole)
    assert difference(broken, pictures.photo("coffee"), slice(0, 100)) < 1


def test_rewritten_files_are_files():
    """A rewritten WebP has the right lengths again."""
    data = pictures.encode(pictures.photo("coffee"), "webp")
    for other in repair.rewritten(pictures.truncated(data, 0.5), sniff.WEBP, max_bytes=10**6):
        assert riff.read_webp(other).end == len(other)


@pytest.mark.parametrize("file_format", ["jpeg", "png", "gif", "webp", "avif", "bmp"])
def test_hardly_a_file_that_begins_well_is_unreadable(file_format):
    """Of files damaged in their second half, in whatever way, all are judged."""
    image = pictures.photo("chelsea").resize((160, 120))
    rng = random.Random(3)
    data = pictures.encode(image, file_format)
    for _ in range(12):
        broken = damage.damaged(data, rng, first=len(data) // 2)
        media = decode(broken, LIMITS)
        rows = slice(80, 120) if file_format == "bmp" else slice(0, 20)
        shown = np.abs(media.frames[0].pixels[rows].astype(int) - np.asarray(image)[rows]).mean()
        assert shown < 30
