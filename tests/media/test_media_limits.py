"""What decoding may cost: refused with the numbers, or judged at a smaller size where the format allows that."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.media import moving_pictures, pictures

from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits, costs, decode, sniff
from lemmy_safety.media.stills import formats, reading, second_decoder
from lemmy_safety.records import AnomalyKind, ItemStatus
from lemmy_safety.settings import Settings
from lemmy_safety.wiring import media_limits

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=30_000, crop_ratio=0)


def refusal(data, limits=LIMITS):
    with pytest.raises(MediaError) as caught:
        decode(data, limits)
    assert caught.value.status is ItemStatus.TOO_LARGE
    return caught.value.reason


def test_a_jpeg_may_be_four_times_as_large():
    """libjpeg decodes at a smaller size, so a JPEG over the limit is judged; one four times over it is refused."""
    image = pictures.photo("coffee").resize((400, 300))
    media = decode(pictures.encode(image, "jpeg", quality=95), LIMITS)
    assert (media.info.width, media.info.height, media.info.anomalies) == (400, 300, ())
    assert np.abs(media.frames[0].pixels.astype(int) - np.asarray(image)).mean() < 6
    larger = image.resize((401, 300))
    assert refusal(pictures.encode(larger, "jpeg")) == "401 x 300 px is over the limit of 0.12 megapixels"


@pytest.mark.parametrize("file_format", ["png", "gif", "bmp", "tiff", "avif"])
def test_other_formats_may_not(file_format):
    """What is decoded whole keeps to the limit as it is."""
    data = pictures.encode(pictures.gradient(201, 150), file_format)
    assert refusal(data) == "201 x 150 px is over the limit of 0.03 megapixels"


@pytest.fixture
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(reading, "_LARGE_WEBP", 0)


@pytest.mark.usefixtures("_everything_is_large")
@pytest.mark.parametrize("options", [{"quality": 90}, {"lossless": True}])
def test_a_large_webp_is_decoded_at_a_smaller_size(options):
    """FFmpeg's way gives the picture that libwebp gives, with profile and orientation, also over the limit."""
    image = pictures.photo("coffee")
    exif = Image.Exif()
    exif[0x0112] = 3
    data = pictures.encode(image, "webp", exif=exif.tobytes(), **options)
    media = decode(data, MediaLimits(max_bytes=10**6, max_pixels=61_000, crop_ratio=0))
    assert (media.info.width, media.info.height) == (600, 400)
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_180)).astype(int)
    assert np.abs(media.frames[0].pixels - turned).mean() < 6
    assert refusal(data, MediaLimits(max_bytes=10**6, max_pixels=59_999)).endswith("of 0.239996 megapixels")


@pytest.mark.long
@pytest.mark.usefixtures("_everything_is_large")
@pytest.mark.parametrize("lossless", [True, False])
def test_a_large_transparent_webp_hides_nothing_in_its_transparent_colours(lossless):
    """Colours behind alpha 0 are not mixed in, however fine they are interwoven with those that are seen."""
    seen = np.asarray(pictures.photo("coffee").resize((1400, 1200))).copy()
    y, x = np.mgrid[0:1200, 0:1400]
    hidden = (x // 2 + y // 2) % 2 == 0
    samples = np.dstack([np.where(hidden[..., None], 255 - seen, seen), np.where(hidden, 0, 255)]).astype(np.uint8)
    data = pictures.encode(Image.fromarray(samples), "webp", lossless=lossless, exact=True, quality=90)
    frames = decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**7, crop_ratio=0)).frames
    white = np.asarray(Image.fromarray(seen).resize((597, 512), Image.Resampling.BOX)).astype(int) // 2 + 127
    assert np.abs(frames[0].pixels - white).mean() < (4 if lossless else 12)
    assert [frame.view for frame in frames] == ["", "on a dark page"]


@pytest.mark.usefixtures("_everything_is_large")
def test_a_large_damaged_webp_is_judged_by_what_there_is():
    """Where FFmpeg refuses a large file, the usual tries at a damaged one follow."""
    image = pictures.photo("coffee")
    data = pictures.truncated(pictures.encode(image, "webp"), 0.7)
    media = decode(data, MediaLimits(max_bytes=10**6, max_pixels=10**6, crop_ratio=0))
    assert np.abs(media.frames[0].pixels[:200].astype(int) - np.asarray(image)[:200]).mean() < 6


def test_the_memory_of_a_progressive_jpeg_is_counted():
    """A JPEG in several passes keeps all its coefficients; one in a single pass keeps none."""
    image = pictures.photo("coffee")
    whole = pictures.encode(image, "jpeg", progressive=True, subsampling=0)
    assert costs.jpeg_memory(whole) == 75 * 50 * 64 * 2 * 3
    assert costs.jpeg_memory(pictures.encode(image, "jpeg", progressive=True, subsampling=2)) == 38 * 25 * 128 * 6
    assert costs.jpeg_memory(pictures.encode(image, "jpeg")) == 0
    assert costs.jpeg_memory(pictures.encode(image.convert("L"), "jpeg")) == 0
    scan = whole.index(b"\xff\xda")
    assert costs.jpeg_memory(whole[:scan]) > 0
    assert costs.jpeg_memory(b"\xff\xd8\xff\xe0") == 0


def test_a_progressive_jpeg_that_needs_too_much_memory_is_refused():
    """The header alone is enough to say what decoding would take."""
    header = pictures.encode(pictures.gradient(16, 16), "jpeg", progressive=True, subsampling=0)
    at = header.index(b"\xff\xc2") + 5
    data = header[:at] + struct.pack(">HH", 20_000, 20_000) + header[at + 4 :]
    limits = MediaLimits(max_bytes=10**6, max_pixels=100_000_000)
    assert refusal(data, limits) == (
        "a JPEG picture of 20000 x 20000 px that needs 2288 MiB to be decoded, over the limit of 1536 MiB"
    )


@pytest.mark.long
def test_a_large_jpeg_2000_is_decoded_at_a_smaller_size():
    """Resolutions that scaling would discard are not decoded, and the picture is the same."""
    if not formats.readable(sniff.JPEG2000):
        pytest.skip("this Pillow has no OpenJPEG")
    image = pictures.photo("retina").resize((2400, 2200))
    data = pictures.encode(image, "jpeg2000", irreversible=True, quality_mode="rates", quality_layers=[20])
    assert reading._halvings(data, (2400, 2200), (1118, 1024)) == 1
    assert reading._halvings(data, (240, 220), (240, 220)) == 0
    media = decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**8))
    assert (media.info.width, media.info.height) == (2400, 2200)
    same = np.asarray(image.resize((559, 512), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(media.frames[0].pixels - same).mean() < 4


def test_the_webp_estimate_is_the_worst_case():
    """A simple lossy file takes its planes; any other may turn out to be transparent."""
    simple = pictures.encode(pictures.gradient(), "webp")
    lossless = pictures.encode(pictures.gradient(), "webp", lossless=True)
    assert second_decoder.webp_memory(simple, 1000) == 1500
    assert second_decoder.webp_memory(lossless, 1000) == 8000


def test_looking_takes_as_long_as_it_may():
    """What was seen of an animation when the seconds of LOOK_S are over is judged, and the rest is reported."""
    data = moving_pictures.animation(moving_pictures.drifting(40), "webp")
    media = decode(data, MediaLimits(max_bytes=10**7, max_pixels=10**7, look_s=0.001))
    assert media.frames
    (anomaly,) = media.info.anomalies
    assert anomaly.kind is AnomalyKind.FRAMES_LEFT_OUT
    assert " of 40 frames could be checked within " in anomaly.detail
    assert decode(data, MediaLimits(max_bytes=10**7, max_pixels=10**7)).info.anomalies == ()


@pytest.mark.parametrize(
    ("look_s", "timeout_s", "seconds"), [(20.0, 30.0, 20.0), (5.0, 30.0, 5.0), (60.0, 30.0, 20.0), (20.0, 3.0, 2.0)]
)
def test_looking_ends_well_before_decoding_is_given_up(look_s, timeout_s, seconds):
    """However long LOOK_S is, a third of DECODE_TIMEOUT_S is left: what was seen is lost after that."""
    limits = media_limits(Settings(look_s=look_s, decode_timeout_s=timeout_s))
    assert limits.look_s == pytest.approx(seconds)


def test_limits_that_allow_nothing_are_refused():
    """A limit of nothing is a mistake, not a wish."""
    for nothing in ({"max_frames": 0}, {"look_s": 0.0}, {"look_s": float("nan")}):
        with pytest.raises(ValueError, match="at least 1 byte, 1 pixel and 1 frame, and more than 0 seconds"):
            MediaLimits(max_bytes=1, max_pixels=1, **nothing)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("file_format", "mode", "size", "most_mib"),
    [("jpeg", "RGB", (8000, 5000), 60), ("png", "RGBA", (5000, 5000), 190), ("webp", "RGB", (5000, 5000), 120)],
)
def test_large_pictures_are_decoded_in_little_memory(tmp_path, file_format, mode, size, most_mib):
    """A JPEG of 40 megapixels costs 16 MB of its 120; a transparent PNG no more than the pixels that Pillow makes of it."""
    code = """
import pathlib, sys
from lemmy_safety.media import MediaLimits, decode
data = pathlib.Path(sys.argv[1]).read_bytes()
def peak_kib():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
before = peak_kib()
media = decode(data, MediaLimits(max_bytes=10**8, max_pixels=10**8))
print(media.info.width, (peak_kib() - before) // 1024)
"""
    path = tmp_path / "large"
    image = pictures.photo("retina").resize(size, Image.Resampling.NEAREST).convert(mode)
    if mode == "RGBA":
        image.putalpha(image.getchannel("G"))
    path.write_bytes(pictures.encode(image, file_format))
    run = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    width, mib = map(int, run.stdout.split())
    assert width == size[0]
    assert mib < most_mib
