"""What a classifier is spared: nothing that shows a picture, however faint or small in its frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.media import pictures

from lemmy_safety.media.pixels.complexity import TINY_PIXELS, is_plain

LEVELS = st.integers(0, 255)
SIDES = st.integers(1, 80)


def flat(width: int, height: int, colour=(0, 0, 0)) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (8, 32), (1, 256)])
def test_a_tiny_picture_is_plain_whatever_it_shows(size):
    """Up to 256 pixels in all there is nothing to judge: tracking pixels, spacers, favicons."""
    assert is_plain(np.asarray(pictures.photo("astronaut").resize(size)))


@pytest.mark.parametrize("size", [(17, 16), (32, 32), (8, 33), (4096, 1), (1, 257), (48, 48)])
def test_a_picture_just_over_that_size_is_not(size):
    """Icons that can show something are looked at, and so are strips whose short side was scaled to almost nothing."""
    assert size[0] * size[1] > TINY_PIXELS
    assert not is_plain(np.asarray(pictures.photo("astronaut").resize(size)))


@given(st.tuples(LEVELS, LEVELS, LEVELS), SIDES, SIDES)
def test_a_single_colour_is_plain_in_every_size(colour, width, height):
    """A blank page of any colour shows nothing."""
    assert is_plain(flat(width, height, colour))


@given(st.data(), st.integers(17, 80), st.integers(17, 80), st.sampled_from([127, 129]))
def test_one_different_pixel_is_seen(data, width, height, level):
    """A single level of difference in one channel of one pixel, anywhere, makes a frame worth looking at."""
    pixels = flat(width, height, (128, 128, 128))
    place = (data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, 2)))
    pixels[place] = level
    assert not is_plain(pixels)


@given(
    st.sampled_from(sorted(pictures.PHOTOS)),
    st.floats(1 / 128, 1),
    LEVELS,
    st.tuples(st.integers(17, 200), st.integers(17, 200)),
)
def test_a_faint_photo_is_not_plain(name, contrast, level, size):
    """A photo squeezed into a few grey levels round any brightness can be stretched by anyone who knows; it is looked at.

    Down to one level of contrast; below that nothing of the photo is left in eight bits.
    """
    photo = np.asarray(pictures.photo(name).convert("L").resize(size, Image.Resampling.BOX), dtype=float)
    spread = (photo - photo.min()) / max(1.0, float(np.ptp(photo)))
    faint = np.clip(np.rint(level + (spread - 0.5) * 255 * contrast), 0, 255).astype(np.uint8)
    if np.ptp(faint):
        assert not is_plain(np.repeat(faint[:, :, None], 3, axis=2))


def test_a_photo_hidden_in_four_levels_is_not_plain():
    """The case above with figures: a photo of +-4 levels on mid-grey."""
    grey = np.asarray(pictures.photo("camera").convert("L"), dtype=float)
    faint = np.rint(128 + (grey - 127.5) / 127.5 * 4).astype(np.uint8)
    assert np.ptp(faint) <= 8
    assert not is_plain(np.repeat(faint[:, :, None], 3, axis=2))


@given(st.integers(0, 100 - 3), st.integers(0, 100 - 3), st.integers(3, 40))
def test_a_small_inset_on_a_blank_page_is_not_plain(left, top, side):
    """A little picture anywhere on a large blank page is found, also at its last pixels."""
    page = Image.new("RGB", (100, 100), (255, 255, 255))
    page.paste(pictures.photo("chelsea").resize((side, side)), (left, top))
    assert not is_plain(np.asarray(page))


@pytest.mark.parametrize(
    "picture",
    [
        pictures.gradient(120, 90, seed=1),
        Image.linear_gradient("L").convert("RGB"),
        pictures.checker(64, 64, cell=1),
        pictures.lettering("A"),
        pictures.shapes(64, 64, seed=2),
        pictures.quarters(32, 32),
        Image.fromarray(np.repeat(np.arange(200, dtype=np.uint8)[None, :, None].repeat(3, 2), 100, 0)),
        Image.fromarray(np.repeat(np.arange(200, dtype=np.uint8)[:, None, None].repeat(3, 2), 100, 1)),
    ],
)
def test_drawings_and_gradients_are_looked_at(picture):
    """No threshold of contrast or of complexity: text, icons, bands and gradients all count as pictures."""
    assert not is_plain(np.asarray(picture.convert("RGB")))


def test_a_frame_that_may_not_be_written_or_is_a_view_is_accepted():
    """Frames are read-only as they come from Pillow, and crops of them are not contiguous."""
    pixels = np.asarray(pictures.photo("coffee"))
    assert not pixels.flags.writeable
    assert not is_plain(pixels[10:90, 10:90])
