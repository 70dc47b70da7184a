"""Which operations of pict-rs can show nothing but the original, by their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.hashes import StoredHash
from lemmy_safety.pictrs.variants import Variant, exact_variant


def made_by(operation: str, original_format: str = "png") -> Variant | None:
    return exact_variant(operation, original="o", original_format=original_format)


@pytest.mark.parametrize("operation", ["webp", "png", "resize/512/webp", "resize/Lanczos.a90000/avif", "blur/2.5/webp"])
def test_what_averages_shows_the_same_of_any_size(operation) -> None:
    """Another format, a smaller size by averaging, a blur."""
    variant = made_by(operation)
    assert variant == Variant(original="o")
    assert variant.shows_the_same(10_000)
    assert variant.shows_the_same(None)


@pytest.mark.parametrize(
    "operation", ["thumbnail/256/webp", "resize/512/thumbnail/256/webp", "thumbnail/256/blur/2/webp"]
)
def test_a_thumbnail_keeps_single_pixels_unless_the_original_fits_into_it(operation) -> None:
    """Up to that size nothing is left out."""
    variant = made_by(operation)
    assert variant.shows_the_same(256)
    assert not variant.shows_the_same(257)
    assert not variant.shows_the_same(None)


def test_the_smallest_of_several_thumbnails_counts() -> None:
    assert made_by("thumbnail/512/thumbnail/96/webp") == Variant(original="o", fits_in=96)


@pytest.mark.parametrize(
    "operation",
    [
        "crop/16x9/webp",
        "crop/1x1/resize/256/webp",
        "",
        "sharpen/2/webp",
        "resize/webp",
        "thumbnail/x/webp",
        "thumbnail/٣/webp",
    ],
)
def test_what_shows_a_part_or_is_not_known_does_not_show_the_same(operation) -> None:
    """An empty format is no operation of pict-rs either, but changes nothing."""
    variant = made_by(operation)
    assert variant is None or operation == ""


@pytest.mark.parametrize(("original_format", "is_exact"), [("png", False), ("webp", False), ("jpeg", True)])
def test_a_jpeg_of_what_may_be_transparent_may_show_hidden_colours(original_format, is_exact) -> None:
    assert (made_by("jpeg", original_format) is not None) is is_exact
    assert (made_by("resize/64/jpg", original_format) is not None) is is_exact


@pytest.mark.parametrize("original_format", ["avif", "jxl", "gif", "mp4", ""])
def test_an_original_whose_colours_may_be_read_differently_has_none(original_format) -> None:
    """Another decoder may show another picture."""
    assert made_by("webp", original_format) is None


@given(st.text(max_size=60))
def test_no_text_is_taken_for_an_operation_that_it_is_not(operation) -> None:
    """Nothing raises, and only the words that are known are exact."""
    if made_by(operation) is not None:
        assert set(operation.split("/")[:-1:2]) <= {"resize", "blur", "thumbnail"}


@pytest.mark.parametrize(("number", "is_still"), [(0, False), (2, False), (3, False), (4, True), (8, True), (9, False)])
def test_the_last_byte_of_a_hash_tells_what_moves(number, is_still) -> None:
    assert StoredHash(bytes(38) + bytes([number])).is_still is is_still
