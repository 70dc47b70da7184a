"""SHA-256 and PDQ of objects and frames."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from support.examples import examples
from support.media.fingerprinted_samples import bundled_photos

from lemmy_safety.fingerprints import MAX_DISTANCE, dihedral_pdqs_of, distance, pdq_of, sha256_of

# Hashes of ThreatExchange's "bridge" pictures, as its documentation prints them (PdqSignal.get_examples).
BRIDGE = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
BRIDGE_MODIFIED = "f8f8f0cee0f4a84f06370a2a038f63f0b36e26d596621e1d33e6b39c4e9c9b22"

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)


def test_sha256_is_lower_case_hex_of_the_bytes():
    """The digest of an object is the plain SHA-256 of its bytes, also of none."""
    assert sha256_of(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_hex_is_in_the_order_that_threatexchange_prints():
    """python-threatexchange reads pdqhash's vector as one binary number, first bit highest; so do we."""
    for photo in bundled_photos().values():
        if max(photo.shape[:2]) <= 512:
            bits, quality = pdqhash.compute(photo)
            as_number = int("".join(str(bit) for bit in bits), 2)
            assert pdq_of(photo).hex == f"{as_number:064x}"
            assert pdq_of(photo).quality == quality


@pytest.mark.long
def test_large_pictures_are_hashed_like_the_reference_hasher_does():
    """Over 512 pixels, the hash stays within the 10 bits that ThreatExchange asks for of its 512 x 512 reference."""
    # Most frequencies of a chessboard have no strength at all, so that their bits are an accident of rounding.
    photos = {name: photo for name, photo in bundled_photos().items() if not name.startswith("chessboard")}
    checked = 0
    for name, photo in photos.items():
        for times in (1, 3):
            image = Image.fromarray(photo).resize((photo.shape[1] * times, photo.shape[0] * times))
            if max(image.size) <= 512:
                continue
            reference = image.resize((512, 512), Image.Resampling.NEAREST)
            ours, theirs = pdq_of(np.asarray(image)), pdq_of(np.asarray(reference))
            if theirs.quality >= 80:
                assert distance(ours.hex, theirs.hex) <= 10, name
                checked += 1
    assert checked >= 20


def test_published_hashes_are_two_bits_apart():
    """The distance counts differing bits: two published variants of one picture differ in two."""
    assert distance(BRIDGE, BRIDGE) == 0
    assert distance(BRIDGE, BRIDGE_MODIFIED) == 2
    assert distance("0" * 64, "f" * 64) == 256


@given(hashes, hashes, hashes)
def test_distance_is_a_metric(a, b, c):
    """Symmetric, zero only for equal hashes, and never longer than a detour."""
    assert distance(a, b) == distance(b, a.upper())
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@pytest.mark.parametrize("bad", ["", "0" * 63, "0" * 65, "x" * 64])
def test_distance_refuses_what_is_no_hash(bad):
    """A hash of another length, or with other characters, is an error and not a distance."""
    with pytest.raises(ValueError, match=r"hex digits|invalid literal"):
        distance(bad, BRIDGE)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (4, 4), (5, 5), (5, 3000), (64, 64), (2, 700)])
def test_tiny_and_narrow_frames_have_a_hash(shape):
    """Frames of any shape give 64 hex digits and a quality; nothing crashes."""
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pdq = pdq_of(pixels)
    assert len(bytes.fromhex(pdq.hex)) == 32
    assert 0 <= pdq.quality <= 100
    if max(shape) < 5:
        assert pdq.quality == 0


@settings(max_examples=examples(50))
@given(st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_every_small_frame_has_a_hash(pixels):
    """Whatever the pixels are, hashing neither fails nor changes them, and gives the same twice."""
    before = pixels.copy()
    pdq = pdq_of(pixels)
    assert pdq == pdq_of(pixels)
    assert np.array_equal(before, pixels)
    assert 0 <= pdq.quality <= 100


def test_one_colour_has_no_quality():
    """A frame in one colour is never matched: its quality is 0."""
    assert pdq_of(np.full((300, 200, 3), 90, np.uint8)).quality == 0


def test_grey_frames_hash_like_their_rgb_twin():
    """A (height, width) array in grey has the hash of the same picture in three channels; read-only views work."""
    grey = np.asarray(Image.fromarray(bundled_photos()["chelsea"]).convert("L"))
    rgb = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    rgb.setflags(write=False)
    assert pdq_of(grey) == pdq_of(rgb)


def test_dihedral_hashes_are_those_of_the_turned_pictures():
    """Each of the eight equals the hash of the picture that Pillow turns or mirrors that way."""
    photo = Image.fromarray(bundled_photos()["coffee"])
    turn = Image.Transpose
    ways = (
        None,
        turn.ROTATE_90,
        turn.ROTATE_180,
        turn.ROTATE_270,
        turn.FLIP_TOP_BOTTOM,
        turn.FLIP_LEFT_RIGHT,
        turn.TRANSPOSE,
        turn.TRANSVERSE,
    )
    turned = [photo if way is None else photo.transpose(way) for way in ways]
    found = dihedral_pdqs_of(np.asarray(photo))
    assert found == tuple(pdq_of(np.asarray(picture)) for picture in turned)
    assert all(distance(found[0].hex, other.hex) > MAX_DISTANCE for other in found[1:])


@pytest.mark.long
def test_threads_do_not_disturb_each_other():
    """The same frames hashed by four threads at once have the hashes that one thread gives."""
    photos = list(bundled_photos().values()) * 2
    alone = [pdq_of(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pdq_of, photos)) == alone
