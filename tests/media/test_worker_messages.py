"""The messages of decoding processes: what is sent arrives, and nothing else is believed."""

from __future__ import annotations

import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.fingerprints import pdq_of
from lemmy_safety.media import DecodedMedia
from lemmy_safety.media.workers.messages import (
    Alone,
    BadAnswer,
    Fault,
    Ready,
    Refused,
    Rest,
    pack,
    receive,
    send,
    unpack,
)
from lemmy_safety.records import Anomaly, AnomalyKind, Frame, ItemStatus, MediaInfo


def through_a_pipe(parts, *, max_bytes: int = 1 << 20):
    stream = io.BytesIO()
    send(stream, parts)
    stream.seek(0)
    return receive(stream, max_bytes=max_bytes)


@given(st.lists(st.binary(max_size=300_000), min_size=1, max_size=4))
def test_parts_arrive_as_they_were_sent(parts):
    """Parts of any sizes, those that are copied together and those that are not."""
    first, others = through_a_pipe(parts, max_bytes=1 << 21)
    assert [first, *map(bytes, others)] == parts


def test_media_arrive_whole():
    """Every field of a medium and every pixel of its frames, in C order even where they were not."""
    pixels = np.arange(600 * 400 * 3, dtype=np.uint32).astype(np.uint8).reshape(600, 400, 3)
    anomaly = Anomaly(kind=AnomalyKind.TRAILING_DATA, detail="12 bytes", offset=7, size=12)
    info = MediaInfo(media_type="image/gif", width=400, height=600, frame_count=9, duration_s=1.5, anomalies=(anomaly,))
    frames = (
        Frame(pixels=pixels, index=3, at_s=0.5, view="left end", plain=True),
        Frame(pixels=np.asfortranarray(pixels[:2, :3])),
        Frame(pixels=pixels[::2, ::2]),
    )
    pdqs = tuple(pdq_of(frame.pixels) for frame in frames)
    media = DecodedMedia(info=info, frames=frames, pdqs=pdqs)
    arrived = unpack(*through_a_pipe(pack(media), max_bytes=1 << 21))
    assert isinstance(arrived, DecodedMedia)
    assert (arrived.info, arrived.pdqs) == (info, pdqs)
    for sent, got in zip(frames, arrived.frames, strict=True):
        assert np.array_equal(sent.pixels, got.pixels)
        assert (got.index, got.at_s, got.view, got.plain) == (sent.index, sent.at_s, sent.view, sent.plain)
    assert arrived.frames[0].pixels.flags.c_contiguous


def test_frames_without_their_hashes_are_no_answer():
    """What comes out of a pipe has one hash a frame, or later stages would trip over it."""
    info = MediaInfo(media_type="image/png", width=2, height=2)
    frame = Frame(pixels=np.zeros((2, 2, 3), np.uint8))
    media = DecodedMedia(info=info, frames=(frame,))
    for answer in (media, Alone(media=media), Rest(info=info, frames=(frame,), pdqs=())):
        with pytest.raises(BadAnswer, match="0 hashes of 1 frames"):
            unpack(*through_a_pipe(pack(answer)))
    with pytest.raises(BadAnswer, match="MediaInfo"):
        unpack(*through_a_pipe(pack(Alone(media=info))))


@pytest.mark.parametrize(
    "answer", [Ready(7), Refused(ItemStatus.TOO_LARGE, "100 x 100 px", decoder_broke=True), Fault("KeyError", "trace")]
)
def test_other_answers_arrive(answer):
    """Refusals keep status, reason and whether the decoder broke."""
    assert unpack(*through_a_pipe(pack(answer))) == answer


def test_enumerations_arrive_as_an_older_python_writes_them(monkeypatch):
    """Python 3.11.2 of Debian 12 pickles a member by way of ``getattr``, which no answer may name."""
    for kind in (ItemStatus, AnomalyKind):
        monkeypatch.setattr(kind, "__reduce_ex__", lambda member, _protocol: (getattr, (type(member), member.name)))
    refused = Refused(ItemStatus.UNREADABLE, "no picture", decoder_broke=False)
    assert unpack(*through_a_pipe(pack(refused))) == refused
    anomaly = Anomaly(kind=AnomalyKind.TRAILING_DATA, detail="12 bytes", offset=7, size=12)
    info = MediaInfo(media_type="image/png", width=2, height=2, anomalies=(anomaly,))
    arrived = unpack(*through_a_pipe(pack(DecodedMedia(info=info, frames=()))))
    assert (arrived.info.anomalies, type(arrived.info.anomalies[0].kind)) == ((anomaly,), AnomalyKind)


class Surprise:
    def __reduce__(self):
        return os.getenv, ("HOME",)


#: Pickled by hand: the global that these two strings name, called with no argument.
DETOUR = b"\x80\x04\x8c\x23lemmy_safety.media.workers.messages\x8c\x0cpickle.loads\x93)R."


@pytest.mark.parametrize(
    "record",
    [pickle.dumps(Surprise()), DETOUR, pickle.dumps({"no": "answer"}), pickle.dumps(np.random.seed), b"", b"no pickle"],
    ids=["calls a function", "by way of our imports", "plain data", "another function of numpy", "nothing", "text"],
)
def test_only_answers_are_believed(record):
    """A decoder that was taken over cannot make the program run or take anything but an answer."""
    with pytest.raises(BadAnswer) as refused:
        unpack(record, [])
    if record in (DETOUR, pickle.dumps(Surprise())):
        assert "is not part of an answer" in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_refused(record):
    """Whatever comes out of the pipe, nothing but BadAnswer is raised."""
    with pytest.raises(BadAnswer):
        unpack(record, [])


@pytest.mark.parametrize(
    "message",
    [struct.pack("<Q", 0), struct.pack("<Q", 1 << 60), struct.pack("<QQ", 1, 1 << 60), struct.pack("<QQQ", 2, 1, 200)],
    ids=["no part", "too many parts", "an enormous part", "more than allowed in all"],
)
def test_sizes_are_bounded(message):
    """What a message says of itself cannot make the program run out of memory."""
    with pytest.raises(BadAnswer):
        receive(io.BytesIO(message + b"x" * 500), max_bytes=200)


@pytest.mark.parametrize("kept", [0, 5, 12, 30, 200_030])
def test_a_message_that_breaks_off_is_the_end(kept):
    """A process that dies in the middle of an answer has not answered."""
    stream = io.BytesIO()
    send(stream, [b"record", bytes(200_000), bytes(10)])
    with pytest.raises(EOFError):
        receive(io.BytesIO(stream.getvalue()[:kept]), max_bytes=1 << 20)
