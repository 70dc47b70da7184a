"""Two renderings of one picture are the same picture; two pictures are not, however alike they are."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from support.media import pictures

from lemmy_safety.media.pixels import likeness

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "brick", "grass", "gravel", "page", "text", "camera")


def preview(image, size=(160, 120), quality=40):
    """A camera's preview: small, and badly compressed."""
    small = image.copy()
    small.thumbnail(size)
    out = io.BytesIO()
    small.save(out, "jpeg", quality=quality)
    return Image.open(out)


def same(picture, other):
    return likeness.same_picture(np.asarray(picture.convert("RGB")), np.asarray(other.convert("RGB")))


@pytest.mark.parametrize("name", NAMES)
def test_a_preview_shows_the_same_picture(name):
    """Small, badly compressed, sharpened, brightened: it is still the same."""
    image = pictures.photo(name)
    assert same(image, preview(image))
    assert same(image, preview(image, quality=15))
    assert same(image, ImageEnhance.Brightness(preview(image)).enhance(1.06).filter(ImageFilter.SHARPEN))


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_a_preview_may_be_turned(turn):
    """Previews are stored as the camera was held, whatever the orientation says."""
    image = pictures.photo("coffee")
    small = preview(image)
    assert same(image, small if turn is None else small.transpose(turn))


def test_a_preview_may_have_bars_or_be_cropped():
    """A 16:9 picture has a 4:3 preview with black bars, or of its middle."""
    image = pictures.photo("coffee").crop((0, 0, 600, 338))
    assert same(image, ImageOps.pad(image, (160, 120)))
    assert same(image, ImageOps.fit(image, (160, 120)))
    assert same(image.transpose(Image.Transpose.ROTATE_90), ImageOps.pad(image, (160, 120)))


def test_bars_with_a_picture_in_them_are_another_picture():
    """What is shown in the place of black bars is not overlooked."""
    image = pictures.photo("coffee").crop((0, 0, 600, 338))
    framed = ImageOps.pad(image, (160, 120))
    framed.paste(pictures.photo("chelsea").resize((160, 15)), (0, 0))
    assert not same(image, framed)


@pytest.mark.long
def test_different_pictures_are_different():
    """No two of the sample photos are taken for one another, be it as previews."""
    for one, other in combinations(NAMES, 2):
        assert not same(pictures.photo(one), preview(pictures.photo(other))), (one, other)


@pytest.mark.parametrize("share", [4, 6])
def test_a_picture_with_another_one_in_it_is_different(share):
    """A preview in which a sixth of each side shows something else is another picture."""
    image = pictures.photo("coffee")
    small = preview(image)
    small.paste(pictures.photo("chelsea").resize((160 // share, 107 // share)), (50, 40))
    assert not same(image, small)


def test_extreme_shapes_are_compared():
    """A strip and a speck are no error."""
    strip = pictures.plasma(4096, 3)
    assert same(strip, strip)
    assert not same(strip, pictures.photo("coffee"))
    assert not same(pictures.photo("coffee"), pictures.quarters(1, 1))


def test_small_changes_are_no_change_and_large_ones_are():
    """What a lossy codec does to a still part is no change; a small figure is one."""
    image = pictures.photo("coffee").crop((0, 0, 400, 400))
    before = likeness.small_copy(np.asarray(image))
    out = io.BytesIO()
    image.save(out, "jpeg", quality=60)
    assert likeness.unchanged(before, likeness.small_copy(np.asarray(Image.open(out))))
    image.paste((255, 255, 255), (200, 200, 240, 240))
    assert not likeness.unchanged(before, likeness.small_copy(np.asarray(image)))
