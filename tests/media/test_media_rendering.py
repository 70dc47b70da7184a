"""What a viewer sees is what is judged: orientation, transparency, sample depths, colour spaces, profiles, gamma."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from support.media import pictures
from support.media.rendered import LIMITS, corners, near, shown

from lemmy_safety.media import decode
from lemmy_safety.media.pixels import colours, rendering

RED, GREEN, BLUE, YELLOW, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255)
DARK = (34, 34, 34)
# Quarters, 32 x 24, arithmetic coding: libjpeg reads it, Pillow does not write it.
ARITHMETIC_JPEG = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00RO70|EjA0|NsD0|NvF2n7WM1O*BQ2L=cX3JeSj3JVJj4iXRz4iOFu3lJ6%5fc;@6%`B*7Z?^47!"
    "ni}6#v@*LjeN>1O)^I2?YfS6b%av6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6ciK`6cqo-01*fP7yuvx0U`hb"
    "5di}c0sqVZ3IGrg1pyEd1^?Or3<CiG0ucid06zf#0NF`mhF2QV1m#h~=U~~`8CFy=xOb=HpmYxE?%5O=)HhVyv)PjwJb;(w7(I{oT+!aB#px"
    "$){ns*|Onb&h=@$-kToF^^DKeC-&m&b|6%EgS?%Il>K>yh"
)


# Where the quarters red, green / blue, yellow end up: the EXIF specification's eight cases.
TURNED = {
    1: [RED, GREEN, BLUE, YELLOW],
    2: [GREEN, RED, YELLOW, BLUE],
    3: [YELLOW, BLUE, GREEN, RED],
    4: [BLUE, YELLOW, RED, GREEN],
    5: [RED, BLUE, GREEN, YELLOW],
    6: [BLUE, RED, YELLOW, GREEN],
    7: [YELLOW, GREEN, BLUE, RED],
    8: [GREEN, YELLOW, RED, BLUE],
}


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_upright(orientation, file_format):
    """All eight EXIF orientations are applied in every format that has them, and the size is that of the upright."""
    media = decode(pictures.with_orientation(pictures.quarters(64, 48), orientation, file_format), LIMITS)
    assert near(corners(media.frames[0].pixels.astype(int)), TURNED[orientation], 40)
    assert (media.info.width, media.info.height) == ((48, 64) if orientation > 4 else (64, 48))


def test_large_turned_pictures_are_turned_after_scaling():
    """Scaling and turning go together."""
    media = decode(pictures.with_orientation(pictures.quarters(2000, 1200), 6), LIMITS)
    assert (media.info.width, media.info.height) == (1200, 2000)
    assert media.frames[0].pixels.shape == (853, 512, 3)
    assert near(corners(media.frames[0].pixels.astype(int)), TURNED[6])


def test_an_orientation_in_xmp_turns_nothing():
    """Browsers do not obey XMP, so it must not turn what is judged."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="3"/></x:xmpmeta>'
    assert near(corners(shown(pictures.encode(pictures.quarters(), "jpeg", xmp=xmp))), TURNED[1], 40)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp"])
def test_a_broken_exif_block_hides_nothing(file_format, block):
    """The picture is judged as it is when its EXIF block is damaged."""
    data = pictures.encode(pictures.quarters(), file_format, exif=block)
    assert near(corners(decode(data, LIMITS).frames[0].pixels.astype(int)), TURNED[1], 40)


def grey_steps(dtype, scale):
    levels = np.array([[0.0, 0.25], [0.5, 1.0]]).repeat(10, axis=0).repeat(10, axis=1)
    return Image.fromarray((levels * scale).astype(dtype))


STEPS = [(0,) * 3, (64,) * 3, (128,) * 3, (255,) * 3]


@pytest.mark.parametrize(
    ("image", "file_format"),
    [
        (grey_steps(np.uint16, 65535), "png"),
        (grey_steps(np.uint16, 65535), "tiff"),
        (grey_steps(">u2", 65535), "tiff"),
        (grey_steps(np.int32, 255), "tiff"),
        (grey_steps(np.int32, 65535), "tiff"),
        (grey_steps(np.int32, 2_000_000_000), "tiff"),
        (grey_steps(np.float32, 1.0), "tiff"),
        (grey_steps(np.float32, 255.0), "tiff"),
        (grey_steps(np.float32, 1e30), "tiff"),
    ],
    ids=["png16", "tiff16", "tiff16be", "int-8", "int-16", "int-31", "float-1", "float-255", "float-huge"],
)
def test_deep_grey_samples_keep_their_steps(image, file_format):
    """16-bit, 32-bit and float greys are scaled to eight bits instead of being cut off at white."""
    assert near(corners(shown(pictures.encode(image, file_format))), STEPS, 1)


def test_a_dark_sixteen_bit_picture_stays_dark():
    """16-bit samples are not stretched: PNG defines their range."""
    assert near(
        corners(shown(pictures.encode(grey_steps(np.uint16, 6553), "png"))),
        [(0,) * 3, (6,) * 3, (13,) * 3, (26,) * 3],
        1,
    )


def test_the_transparent_sample_of_a_deep_grey_picture_becomes_white():
    """Transparency by sample value works with 16 bits as well."""
    data = pictures.encode(grey_steps(np.uint16, 65535), "png", transparency=0)
    assert near(corners(shown(data)), [WHITE, *STEPS[1:]], 1)


def test_samples_that_are_no_numbers_are_black():
    """NaN and infinity do not spread over the picture."""
    samples = np.asarray(grey_steps(np.float32, 1.0)).copy()
    samples[:10, :10] = np.nan
    samples[0, 0] = np.inf
    assert near(corners(shown(pictures.encode(Image.fromarray(samples), "tiff"))), STEPS, 1)


def test_a_flat_deep_picture_is_no_error():
    """One single value has no range to be scaled by."""
    pixels = shown(pictures.encode(Image.fromarray(np.full((8, 8), -5.0, np.float32)), "tiff"))
    assert pixels.min() == pixels.max()


@pytest.mark.parametrize(
    ("mode", "file_format", "options"),
    [
        ("CMYK", "jpeg", {"quality": 95}),
        ("CMYK", "tiff", {}),
        ("YCbCr", "jpeg", {"quality": 95, "subsampling": 0}),
        ("YCbCr", "tiff", {}),
        ("LAB", "tiff", {}),
        ("P", "png", {}),
        ("P", "bmp", {}),
        ("RGBA", "bmp", {}),
    ],
)
def test_every_colour_space_comes_out_as_rgb(mode, file_format, options):
    """Colours survive the ways in which files store them."""
    image = pictures.quarters()
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(image, to_lab)
    else:
        image = image.convert(mode)
    assert near(corners(shown(pictures.encode(image, file_format, **options))), TURNED[1], 25)


def test_an_arithmetically_coded_jpeg_is_read():
    """Some viewers read these, so we do; the library in Pillow's wheels can."""
    assert near(corners(shown(ARITHMETIC_JPEG)), TURNED[1], 10)


@pytest.mark.parametrize("marked", [True, False])
def test_a_cmyk_jpeg_is_inverted(marked):
    """Photoshop stores CMYK upside down and marks it; browsers take every CMYK JPEG for one of its."""
    data = pictures.encode(pictures.quarters().convert("CMYK"), "jpeg", quality=95)
    at = data.index(b"Adobe")
    data = data if marked else data[: at - 4] + data[at + 12 :]
    assert near(corners(shown(data)), TURNED[1], 25)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "I;16", "1", "CMYK"])
def test_large_pictures_of_every_mode_are_scaled_in_bands(mode):
    """Scaling by bands, which keeps memory low, gives what scaling the whole gives."""
    image = pictures.photo("coffee").resize((2999, 2111))
    if mode == "RGBA":
        image.putalpha(pictures.photo("chelsea").convert("L").resize(image.size))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    size = rendering.frame_size(*image.size)
    by_bands = np.asarray(rendering.render(image, size, 1)).astype(int)
    whole = colours.plain_samples(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    whole = colours.to_srgb(whole, image)
    if whole.mode == "RGBA":
        whole = Image.alpha_composite(Image.new("RGBA", size, (255, 255, 255, 255)), whole).convert("RGB")
    assert np.abs(by_bands - np.asarray(whole)).max() <= 4


def test_bilevel_pictures_are_black_and_white():
    """One bit a pixel is black or white, not black and almost black."""
    image = pictures.checker(40, 20, cell=10).convert("1")
    assert set(np.unique(shown(pictures.encode(image, "png")))) == {0, 255}


def swapped_profile():
    """A valid sRGB profile with the primaries of red and blue exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "avif", "tiff"])
def test_an_embedded_profile_is_obeyed(file_format):
    """A picture is judged in the colours that its profile makes of it, as browsers show it."""
    options = {"quality": 95} if file_format in {"jpeg", "webp", "avif"} else {}
    data = pictures.encode(pictures.quarters(), file_format, icc_profile=swapped_profile(), **options)
    blue_first = corners(shown(data))
    assert blue_first[0][2] > 200
    assert blue_first[0][0] < 60
    assert blue_first[2][0] > 200


def test_an_srgb_profile_changes_nothing():
    """The usual profile costs no accuracy."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = pictures.photo("coffee")
    assert np.array_equal(
        shown(pictures.encode(image, "png", icc_profile=profile)), shown(pictures.encode(image, "png"))
    )


@pytest.mark.parametrize("profile", [b"rubbish", bytes(200), swapped_profile()[:300], b"x" * 5_000_000])
def test_a_profile_that_cannot_be_used_is_ignored(profile):
    """Damaged, empty or oversized profiles cost nothing but themselves."""
    assert near(corners(shown(pictures.encode(pictures.quarters(), "tiff", icc_profile=profile))), TURNED[1], 0)


def test_a_profile_of_another_colour_space_is_ignored():
    """An RGB profile in a grey picture says nothing about it."""
    grey = ImageOps.grayscale(pictures.quarters())
    plain = shown(pictures.encode(grey, "png"))
    assert np.array_equal(shown(pictures.encode(grey, "png", icc_profile=swapped_profile())), plain)


def with_gamma(data, gamma, extra=b""):
    """Insert a gAMA chunk (and others) behind the header of a PNG."""
    return data[:33] + pictures.png_chunk(b"gAMA", round(gamma * 100_000).to_bytes(4, "big")) + extra + data[33:]


def test_a_png_gamma_is_obeyed():
    """Two pictures can be stored in one PNG, one for viewers that obey its gamma; browsers do, so it is judged."""
    data = pictures.encode(Image.new("RGB", (16, 16), (128, 250, 20)), "png")
    dark = shown(with_gamma(data, 0.0227))  # 1 / (0.0227 x 2.2) = the twentieth power
    assert near(corners(dark), [(0, round(255 * (250 / 255) ** 20.02), 0)] * 4, 1)
    for neutral in (
        with_gamma(data, 0.45455),
        with_gamma(data, 0.0227, pictures.png_chunk(b"sRGB", b"\0")),
        with_gamma(data, 0),
    ):
        assert near(corners(shown(neutral)), [(128, 250, 20)] * 4, 0)
