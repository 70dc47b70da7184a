"""Decoding in processes gives what decoding inline gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.media import pictures
from support.media.decoder_processes import (
    HEALTHY,
    LIMITS,
    MEMORY,
    outcome,
    process_decoder,
)

from lemmy_safety.media.workers.pool import ProcessDecoder

SAME = {
    **{name: pictures.encode(pictures.photo("chelsea"), name) for name in pictures.STILL_FORMATS},
    **{
        f"animated {name}": pictures.encode_animation([pictures.shapes(seed=n) for n in range(3)], name)
        for name in ("gif", "webp")
    },
    "turned": pictures.with_orientation(pictures.quarters(), 6),
    "wide": pictures.encode(pictures.shapes(600, 100), "png"),
    "truncated": pictures.truncated(pictures.encode(pictures.photo("coffee"), "jpeg"), 0.6),
    "appended": HEALTHY + b"PK\x03\x04 and so on",
    "empty": b"",
    "text": b"no picture at all",
    "bomb": pictures.png_bomb(),
    "beheaded": pictures.truncated(HEALTHY, 0.05),
    "too many bytes": HEALTHY + bytes(LIMITS.max_bytes),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_both_decoders_say_the_same(inline, processes, data):
    """Healthy, damaged and refused files: same frames, same facts, same refusals."""
    assert outcome(processes, data) == outcome(inline, data)


def test_frames_are_as_the_contract_says(decoder):
    """Frames are C-contiguous RGB bytes."""
    media = decoder.decode(pictures.encode(pictures.quarters(), "png"))
    for frame in media.frames:
        assert frame.pixels.dtype == np.uint8
        assert frame.pixels.ndim == 3
        assert frame.pixels.flags.c_contiguous
    assert media.frames[0].pixels[0, 0].tolist() == [255, 0, 0]


def test_a_decoder_is_asked_from_many_threads(decoder):
    """Each of more callers than there are processes gets the answer to its own medium."""
    files = [pictures.encode(pictures.gradient(40 + n, 30, seed=n), "png") for n in range(24)]
    with ThreadPoolExecutor(6) as threads:
        widths = list(threads.map(lambda data: decoder.decode(data).info.width, files))
    assert widths == [40 + n for n in range(24)]


def test_the_version_changes_with_what_can_cost_a_medium_its_decoding(inline):
    """What timed out under other limits is read again; the rest of the text is that of inline decoding."""
    versions = set()
    for timeout_s, memory in ((30, MEMORY), (60, MEMORY), (30, 2 * MEMORY)):
        with ProcessDecoder(LIMITS, workers=1, timeout_s=timeout_s, memory_bytes=memory) as decoder:
            assert decoder.version.startswith(inline.version)
            versions.add(decoder.version)
    assert len(versions) == 3


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"timeout_s": 0.0}])
def test_limits_of_nothing_are_refused(wrong):
    """No process and no time are mistakes of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        process_decoder(**wrong)
