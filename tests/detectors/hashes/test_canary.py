"""The canary picture: what it is, what its hash survives, and how far it is from everything else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, features
from support.media.fingerprinted_samples import bundled_photos, encoded, generated_pictures

from lemmy_safety.detectors.hashes.canary import CANARY_PDQS, HEIGHT, WIDTH, canary_image, canary_png
from lemmy_safety.fingerprints import MAX_DISTANCE, dihedral_pdqs_of, distance, pdq_of

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def distance_to_canary(pixels):
    """Bits to the nearest of the eight hashes."""
    found = pdq_of(np.asarray(pixels))
    assert found.quality == 100
    return min(distance(found.hex, known) for known in CANARY_PDQS)


def scaled(longest):
    image = canary_image()
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def test_the_written_hashes_are_those_of_the_picture():
    """The eight constants are what hashing the drawn picture gives, all of full quality."""
    found = dihedral_pdqs_of(np.asarray(canary_image()))
    assert tuple(pdq.hex for pdq in found) == CANARY_PDQS
    assert {pdq.quality for pdq in found} == {100}


def test_the_file_is_a_small_png_and_the_same_each_time():
    """The PNG decodes to the drawn pixels, is under 16 KiB, and two calls give the same bytes."""
    data = canary_png()
    assert data == canary_png()
    assert len(data) < 16_384
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(canary_image()))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 60}),
        ("JPEG", {"quality": 10}),
        ("WEBP", {"quality": 50}),
        ("GIF", {}),
        pytest.param("AVIF", {"quality": 40}, marks=needs_avif),
    ],
)
def test_it_survives_reencoding(kind, options):
    """What pict-rs makes of it in other formats is within a few bits, full size and as a 256 px thumbnail."""
    assert distance_to_canary(encoded(canary_image(), kind, **options)) <= 4
    assert distance_to_canary(encoded(scaled(256), kind, **options)) <= MAX_DISTANCE // 2


@pytest.mark.parametrize("longest", [1000, 512, 256, 160, 128, 96])
@pytest.mark.parametrize("kind", ["WEBP", "JPEG", "PNG"])
def test_it_survives_thumbnails(longest, kind):
    """Every thumbnail down to 96 px is recognised."""
    options = {} if kind == "PNG" else {"quality": 50}
    assert distance_to_canary(encoded(scaled(longest), kind, **options)) <= MAX_DISTANCE


@pytest.mark.parametrize("filtering", list(Image.Resampling))
def test_it_survives_any_filter_of_a_scaler(filtering):
    """The filter used for scaling makes no difference, neither down to 256 px nor up to twice the size."""
    for size in ((256, 192), (2048, 1536), (300, 300)):
        assert distance_to_canary(canary_image().resize(size, filtering)) <= MAX_DISTANCE


def test_it_survives_grey():
    """A greyscale copy has the same hash to a few bits."""
    assert distance_to_canary(canary_image().convert("L").convert("RGB")) <= 2


@pytest.mark.parametrize("way", list(Image.Transpose))
def test_it_survives_turning_and_mirroring(way):
    """Turned or mirrored in any of the seven ways and re-encoded small, it is still recognised."""
    turned = scaled(256).transpose(way)
    assert distance_to_canary(encoded(turned, "JPEG", quality=60)) <= MAX_DISTANCE


@pytest.mark.long
def test_ordinary_pictures_are_far_away():
    """No bundled photo and none of 200 generated pictures is within twice the matching distance."""
    pictures = [*bundled_photos().values(), *generated_pictures(200)]
    assert len(pictures) > 220
    nearest = min(
        distance(pdq.hex, known) for pdq in (pdq_of(picture) for picture in pictures) for known in CANARY_PDQS
    )
    assert nearest > 2 * MAX_DISTANCE
