"""Fingerprints of an object and its frames: SHA-256 of the bytes, PDQ of the pixels.

Hash lists are matched against them, and the ledger stores them. This module knows no lists and judges nothing.

PDQ is ThreatExchange's perceptual hash: 256 bits that change little when a picture is re-encoded or scaled. It is not
rotation-safe, and small differences between decoders and scalers change some bits; the matching distance
(31 bits) allows for that.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pdqhash
from PIL import Image

from lemmy_safety.records import Pdq

if TYPE_CHECKING:
    import numpy.typing as npt

HEX_DIGITS = 64

#: Two pictures with hashes at most this many bits apart count as the same.
#: Source: facebook/ThreatExchange, pdq/README.md, "Matching".
MAX_DISTANCE = 31

#: Hashes of pictures with less structure than this match by accident and are not used (same source: discard <= 49).
MIN_QUALITY = 50

#: The reference hasher scales pictures over 512 pixels in either direction to exactly 512 x 512 before it hashes, and
#: an implementation counts as correct within 10 bits of it (ThreatExchange: pdq/cpp/io/pdqio.cpp, pdq/README.md).
_REFERENCE_SIDE = 512


def sha256_of(data: bytes) -> str:
    """The SHA-256 digest of an object's bytes as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def pdq_of(pixels: npt.NDArray[np.uint8]) -> Pdq:
    """The PDQ hash of one frame, in the bit order that ThreatExchange's tools print.

    ``pixels`` has shape (height, width, 3) in RGB, or (height, width) in grey, dtype uint8; it may be read-only.
    A frame under 5 pixels in either direction has no PDQ: its hash is all zeros with quality 0, as in the reference.
    A frame in one colour gets quality 0 too. May be called from several threads at the same time.
    """
    if pixels.ndim == 2:  # noqa: PLR2004 - (height, width)
        pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    if max(pixels.shape[:2]) > _REFERENCE_SIDE:
        # Averaging (BOX) stays within 6 bits of the reference's nearest-neighbour scaling on the sample photos; unlike
        # that, it keeps the hash of a picture close to that of its thumbnail.
        scaled = Image.fromarray(pixels).resize((_REFERENCE_SIDE, _REFERENCE_SIDE), Image.Resampling.BOX)
        pixels = np.asarray(scaled)
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return Pdq(hex=np.packbits(bits.astype(np.uint8)).tobytes().hex(), quality=int(quality))


def dihedral_pdqs_of(pixels: npt.NDArray[np.uint8]) -> tuple[Pdq, ...]:
    """The hashes of the eight ways to turn and mirror a frame (``pixels`` as for ``pdq_of``).

    In this order: as it is, turned left by 90, 180 and 270 degrees, mirrored top to bottom, mirrored left to right,
    turned left by 90 degrees and mirrored top to bottom, turned left by 90 degrees and mirrored left to right.

    Each one is hashed from turned pixels. ``pdqhash.compute_dihedral`` derives seven of them from the first's
    transform, which is faster, but up to 18 bits off on the sample photos: more than half of ``MAX_DISTANCE``.
    """
    left = np.rot90(pixels)
    turned = (
        pixels,
        left,
        np.rot90(pixels, 2),
        np.rot90(pixels, 3),
        np.flipud(pixels),
        np.fliplr(pixels),
        np.flipud(left),
        np.fliplr(left),
    )
    return tuple(pdq_of(np.ascontiguousarray(view)) for view in turned)


def distance(a_hex: str, b_hex: str) -> int:
    """How many of 256 bits differ between two PDQ hashes, each given as 64 hex digits.

    :raises ValueError: one of them is not 64 hex digits.
    """
    if len(a_hex) != HEX_DIGITS or len(b_hex) != HEX_DIGITS:
        raise ValueError(f"A PDQ hash has {HEX_DIGITS} hex digits, not {len(a_hex)} and {len(b_hex)}.")
    return (int(a_hex, 16) ^ int(b_hex, 16)).bit_count()
