"""Transparent pictures are judged as a light page shows them, and as a dark one does where that differs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.media import pictures
from support.media.rendered import LIMITS, corners, near, shown

from lemmy_safety.media import decode

RED, BLUE, WHITE, DARK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (34, 34, 34)


def holed(mode="RGBA"):
    """Red, with a transparent hole (filled with blue that no one sees) in its right half."""
    image = Image.new("RGBA", (40, 20), (*RED, 255))
    image.paste((*BLUE, 0), (20, 0, 40, 20))
    return image.convert(mode)


@pytest.mark.parametrize("file_format", ["png", "webp", "avif", "tiff", "gif"])
def test_transparency_is_shown_on_white(file_format):
    """What is transparent is judged as the white behind it, not as the colour hidden in it."""
    options = {"lossless": True} if file_format == "webp" else {"quality": 100} if file_format == "avif" else {}
    assert near(corners(shown(pictures.encode(holed(), file_format, **options))), [RED, WHITE, RED, WHITE])


def on_pages(image, file_format="png", **options):
    """What each page shows: the frames by their view."""
    media = decode(pictures.encode(image, file_format, **options), LIMITS)
    return {frame.view: frame.pixels.astype(int) for frame in media.frames}


LOSSLESS = {"png": {}, "webp": {"lossless": True}, "avif": {"quality": 100}, "tiff": {}, "gif": {}}


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_transparency_is_shown_on_a_dark_page_as_well(file_format):
    """Where a dark page shows something else, that is a second frame of the same picture."""
    frames = on_pages(holed(), file_format, **LOSSLESS[file_format])
    assert list(frames) == ["", "on a dark page"]
    assert near(corners(frames["on a dark page"]), [RED, DARK, RED, DARK])


def test_what_only_a_dark_page_shows_is_seen():
    """White on nothing: a light page shows nothing of the picture, a dark one shows it."""
    photo = pictures.photo("coffee").convert("L").resize((120, 80))
    ghost = Image.new("RGBA", photo.size, (255, 255, 255, 0))
    ghost.putalpha(photo)
    frames = on_pages(ghost)
    assert np.ptp(frames[""]) == 0
    revealed = frames["on a dark page"][:, :, 0].ravel()
    assert np.corrcoef(revealed, np.asarray(photo).ravel())[0, 1] > 0.999
    assert np.ptp(revealed) > 150


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_opaque_pictures_are_shown_once(mode):
    """An alpha channel that lets nothing through makes no second frame."""
    assert list(on_pages(pictures.photo("coffee").convert(mode))) == [""]


def test_rounded_corners_and_shadows_make_no_second_frame():
    """The few transparent pixels at a screenshot's corners are not worth a second look."""
    image = pictures.photo("coffee").convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 8, 8))
    assert list(on_pages(image)) == [""]


def test_dark_frames_are_turned_and_scaled_like_light_ones():
    """Orientation and size are the same on both pages."""
    frames = on_pages(
        holed().resize((2000, 1000)), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0" + bytes(4)
    )
    assert {pixels.shape for pixels in frames.values()} == {(1024, 512, 3)}
    assert near(corners(frames["on a dark page"]), [RED, RED, DARK, DARK])


def test_transparent_animations_are_shown_on_both_pages():
    """Frames of an animation get their second rendering, too."""
    out = io.BytesIO()
    holed().save(out, "png", save_all=True, append_images=[pictures.quarters(40, 20).convert("RGBA")], duration=100)
    media = decode(out.getvalue(), LIMITS)
    dark = next(frame for frame in media.frames if frame.view == "on a dark page")
    assert dark.index == 0
    assert near(corners(dark.pixels.astype(int)), [RED, DARK, RED, DARK])


def test_half_transparency_is_mixed():
    """Alpha is a share, not a switch."""
    data = pictures.encode(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "png")
    assert near(corners(shown(data)), [(255, 127, 127)] * 4, 1)


def test_hidden_colours_do_not_bleed_when_scaled():
    """A large transparent picture is scaled without its hidden colours coming through."""
    pixels = shown(pictures.encode(holed().resize((2000, 1000), Image.Resampling.NEAREST), "png"))
    assert near(corners(pixels), [RED, WHITE, RED, WHITE], 2)
    assert pixels[:, :, 0].min() >= 250  # red and white both have full red; the hidden blue has none


def test_grey_with_alpha_is_composited():
    """LA pictures are shown on white."""
    assert near(corners(shown(pictures.encode(holed("LA"), "png"))), [(76,) * 3, WHITE, (76,) * 3, WHITE], 1)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_a_palette_with_transparency_is_composited(transparency):
    """Both ways of a PNG to make palette entries transparent are obeyed, and nothing warns."""
    image = Image.new("P", (40, 20), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (20, 0, 40, 20))
    data = pictures.encode(image, "png", transparency=transparency)
    assert near(corners(shown(data)), [RED, WHITE, RED, WHITE], 0)


def test_one_transparent_colour_is_composited():
    """A truecolour PNG can name one colour as transparent."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    assert near(corners(shown(pictures.encode(image, "png", transparency=BLUE))), [RED, WHITE, RED, WHITE], 0)


def test_an_embedded_profile_is_obeyed_behind_transparency():
    """Profile first, then white: the ground is never sent through the profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    data = pictures.encode(holed(), "png", icc_profile=swapped)
    assert near(corners(shown(data)), [BLUE, WHITE, BLUE, WHITE], 30)
