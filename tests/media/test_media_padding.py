"""Padding hides nothing: what a browser shows at once is judged, however much filler its file holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.media import padding, pictures

from lemmy_safety.media import MediaLimits, decode, sniff
from lemmy_safety.media.containers import lean
from lemmy_safety.media.hidden.embedded import Content
from lemmy_safety.media.structure.runs import MUCH_FILLER
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.records import AnomalyKind

LIMITS = MediaLimits(max_bytes=64 * 1024 * 1024, max_pixels=1_000_000, crop_ratio=0)
MIB = 1024 * 1024
PADDINGS = padding.paddings()
TORN = "picture data in chunks of one byte"


def frames(data):
    """What is judged: numbers, times and pixels of all frames."""
    return [(frame.index, frame.at_s, frame.view, frame.pixels.tobytes()) for frame in decode(data, LIMITS).frames]


@pytest.mark.long
@pytest.mark.parametrize("name", PADDINGS)
def test_padding_changes_nothing_about_what_is_judged(name):
    """All frames are those of the file without padding, and decoders are handed little more than that file."""
    padded = PADDINGS[name].padded(3 * MIB)
    assert frames(padded) == frames(PADDINGS[name].plain)
    handed, _ = lean(padded, sniff.sniff(padded))
    idle_codes = ("idle picture data behind", "sub-blocks behind the codes")
    most = len(padded) // 10 if not name.startswith(idle_codes) else len(padded)
    assert len(handed) <= most


@pytest.mark.parametrize(
    "name", ["fill behind the start of a JPEG", "empty application segments in a JPEG", "empty private chunks in a PNG"]
)
def test_a_file_full_of_padding_is_judged_in_time(name):
    """The largest upload, through a real decoding process, well within the default time for one object."""
    padded = PADDINGS[name].padded(38 * MIB)
    with ProcessDecoder(LIMITS, workers=1, timeout_s=20, memory_bytes=512 * MIB) as decoder:
        media = decoder.decode(padded)
    assert [frame.pixels.tobytes() for frame in media.frames] == [
        frame.pixels.tobytes() for frame in decode(PADDINGS[name].plain, LIMITS).frames
    ]


@pytest.mark.parametrize("name", sorted(PADDINGS.keys() - {"empty extensions of no kind in a GIF", TORN}))
def test_a_file_with_little_padding_goes_to_its_decoder_as_it_is(name):
    """What holds little filler is not touched: nothing can go wrong with an ordinary file."""
    for data in (PADDINGS[name].plain, PADDINGS[name].padded(200)):
        kind = sniff.sniff(data)
        assert lean(data, kind) == (data, kind)


@pytest.mark.parametrize("extension", [b"!\x99\0", b"!\xff\0", b"!\x01\0", b"!\xf9\0"])
@pytest.mark.parametrize("file_format", ["gif", "moving gif"])
def test_one_empty_extension_hides_no_gif(extension, file_format):
    """Browsers pass over an extension without content; Pillow reads on into the frame behind it."""
    plain = (
        pictures.encode(pictures.shapes(), "gif")
        if file_format == "gif"
        else pictures.encode_animation([pictures.shapes(seed=seed) for seed in range(4)], "gif")
    )
    at = padding.palette_end(plain)
    assert frames(plain[:at] + extension + plain[at:]) == frames(plain)


_SEGMENT = st.builds(
    lambda marker, body: b"\xff" + marker + (len(body) + 2).to_bytes(2, "big") + body,
    st.sampled_from([b"\xfe", b"\xe3", b"\xef", b"\xe0", b"\xe1", b"\xdc"]),
    st.binary(max_size=80).filter(lambda body: not body.startswith((b"JF", b"Ex", b"http"))),
)
_CHUNK = st.builds(padding.chunk, st.sampled_from([b"prVt", b"tEXt", b"aBCd", b"zzZz"]), st.binary(max_size=80))
_EXTENSION = st.builds(
    lambda label, blocks: b"!" + label + b"".join(bytes([len(one)]) + one for one in blocks) + b"\0",
    st.sampled_from([b"\xfe", b"\x01", b"\xff", b"\x99"]),
    st.lists(st.binary(min_size=1, max_size=255), max_size=3),
)
_RIFF_CHUNK = st.builds(
    lambda body: b"prVt" + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2), st.binary(max_size=80)
)
_ELEMENTS = {
    "JPEG": (_SEGMENT | st.integers(1, 40).map(lambda n: b"\xff" * n + b"\x01"), "empty comments in a JPEG"),
    "PNG": (_CHUNK, "empty private chunks in a PNG"),
    "APNG": (_CHUNK, "chunks between the frames of an APNG"),
    "GIF": (_EXTENSION, "comments between the frames of a GIF"),
    "WebP": (_RIFF_CHUNK, "chunks between the frames of a WebP"),
}


@pytest.mark.long
@pytest.mark.parametrize("form", _ELEMENTS)
@given(data=st.data())
def test_any_mixture_of_filler_changes_nothing(form, data):
    """Whatever elements of whatever sizes it is made of."""
    elements, name = _ELEMENTS[form]
    mixture = b"".join(data.draw(st.lists(elements, min_size=1, max_size=8)))
    filler = mixture * (MUCH_FILLER // len(mixture) + 600)
    padded = PADDINGS[name].with_filler(filler)
    assert frames(padded) == frames(PADDINGS[name].plain)
    assert len(lean(padded, sniff.sniff(padded))[0]) < MUCH_FILLER


@given(noise=st.binary(max_size=400), name=st.sampled_from(sorted(PADDINGS)), at=st.integers(0, 4000))
def test_no_noise_breaks_what_takes_filler_out(noise, name, at):
    """Damage anywhere, padding behind it: bytes of the same kind come out, and nothing is raised."""
    padded = PADDINGS[name].padded(2 * MUCH_FILLER)
    broken = padded[:at] + noise + padded[at + len(noise) // 2 :]
    handed, _ = lean(broken, sniff.sniff(broken))
    assert isinstance(handed, bytes)
    assert len(handed) <= len(broken) + 64


@pytest.mark.long
def test_what_is_hidden_behind_padding_is_still_found():
    """Filler is taken out for the decoder alone: a second picture behind the end keeps its place in the file."""
    other = pictures.encode(pictures.checker(), "png")
    padded = PADDINGS["empty comments in a JPEG"].padded(MIB)
    media = decode(padded + other, LIMITS)
    view = f"{Content.PICTURE} at byte {len(padded)}"
    assert [frame.view for frame in media.frames if frame.view] == [view]
    assert np.array_equal(media.frames[-1].pixels, np.asarray(pictures.checker()))
    assert AnomalyKind.EMBEDDED_PICTURE in {anomaly.kind for anomaly in media.info.anomalies}
