"""A picture that hides something slow is judged by itself in time: real decoding processes, the real list of hashes."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.media import breaking_decoders, pictures
from support.web.engine import in_service, until, upload
from support.web.stand_ins import GatedDetector

from lemmy_safety.detectors.hashes import canary
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import MediaError
from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.scan.budget import ByteBudget
from lemmy_safety.uploads import decoding
from lemmy_safety.uploads.records import AnswerKind, Cause, Upload

LIMITS = MediaLimits(max_bytes=20_000_000, max_pixels=40_000_000)

#: What is inside the pictures: none of it ever ends.
ENDLESS = (b"sleep", b"loop", b"hold the interpreter")


def canary_as(file_format: str) -> bytes:
    return pictures.encode(canary.canary_image(), file_format)


def upload_of(picture: bytes, inside: bytes = b"sleep") -> Upload:
    data = picture + breaking_decoders.INSIDE + inside
    sha256 = hashlib.sha256(data).hexdigest()
    return Upload(data=data, size=len(data), sha256=sha256, media_type="image/png", free=lambda: None)


def told(tmp_path, story, *, detector=None, workers=1, **how) -> int:
    """How many uploads were left unchecked at the end."""
    decoder = ProcessDecoder(
        LIMITS, workers=workers, timeout_s=600, memory_bytes=1 << 30, decode=breaking_decoders.show_then_break
    )
    return in_service(tmp_path, detector or HashesDetector(), story, decoder=decoder, decode_workers=workers, **how)


@pytest.fixture(autouse=True)
def _short_shares(monkeypatch):
    monkeypatch.setattr(decoding, "SHARE_S", 0.5)


@pytest.mark.parametrize("inside", ENDLESS)
@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", "gif"])
def test_a_flagged_picture_with_something_endless_inside_is_refused(tmp_path, file_format, inside):
    async def story(validator, _decoder) -> None:
        await validator.load()
        flagged = upload_of(canary_as(file_format), inside)
        answer = await validator.validate(flagged, deadline=asyncio.get_running_loop().time() + 40)
        assert answer.kind is AnswerKind.REFUSED

    began = time.monotonic()
    assert told(tmp_path, story) == 0
    assert time.monotonic() - began < 30


def test_the_decoder_is_free_after_such_a_refusal(tmp_path):
    """The only one there is judges the next upload at once, and its memory is given back."""

    async def story(validator, _decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        for file_format in ("png", "jpeg"):
            flagged = upload_of(canary_as(file_format))
            assert (await validator.validate(flagged, deadline=loop.time() + 40)).kind is AnswerKind.REFUSED
            assert (await validator.validate(upload(1), deadline=loop.time() + 40)).kind is AnswerKind.ACCEPTED

    # Room for the frames of one picture.
    assert told(tmp_path, story, frame_bytes=2_000_000) == 0


def test_a_harmless_picture_with_something_endless_inside_stays_unchecked(tmp_path):
    """Its own frames say nothing of what is inside."""

    async def story(validator, _decoder) -> None:
        await validator.load()
        slow = upload_of(pictures.encode(pictures.gradient(seed=1), "png"))
        answer = await validator.validate(slow, deadline=asyncio.get_running_loop().time() + 4)
        assert (answer.kind, answer.cause) == (AnswerKind.UNCHECKED_ACCEPTED, Cause.TIMED_OUT)

    assert told(tmp_path, story) == 1


def test_where_the_time_is_short_the_look_comes_earlier(tmp_path, monkeypatch):
    """Half of what is left of the time is enough to wait for the rest."""
    monkeypatch.setattr(decoding, "SHARE_S", 600.0)

    async def story(validator, _decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        assert (await validator.validate(upload(1), deadline=loop.time() + 40)).kind is AnswerKind.ACCEPTED
        answer = await validator.validate(upload_of(canary_as("png")), deadline=loop.time() + 8)
        assert answer.kind is AnswerKind.REFUSED

    assert told(tmp_path, story) == 0


def test_a_picture_without_anything_inside_is_judged_once(tmp_path):
    """However long the judge takes: an early look is for what is still being decoded."""
    detector = GatedDetector()

    async def story(validator, _decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        asked = asyncio.create_task(validator.validate(upload(1), deadline=loop.time() + 40))
        await until(detector.entered.is_set)
        await asyncio.sleep(2 * decoding.SHARE_S)
        detector.gate.set()
        assert (await asked).kind is AnswerKind.ACCEPTED
        assert detector.batches == [1]

    assert told(tmp_path, story, detector=detector) == 0


def test_a_decoder_never_shows_what_another_file_was():
    """What a process showed of its last picture says nothing of the next file, of which it shows nothing yet."""
    decoder = ProcessDecoder(
        LIMITS, workers=1, timeout_s=600, memory_bytes=1 << 30, decode=breaking_decoders.break_or_decode
    )
    endless = bytes(bytearray(b"sleep"))
    with decoder, ThreadPoolExecutor(1) as threads:
        picture = canary_as("png")
        assert decoder.decode(picture).frames
        assert decoder.shown_so_far(picture) is None
        slow = threads.submit(decoder.decode, endless)
        pause = threading.Event()
        while not decoder.make_way(endless, share_s=0.3):
            assert decoder.shown_so_far(endless) is None
            pause.wait(0.01)
        with pytest.raises(MediaError, match="others waited"):
            slow.result()


def test_frames_are_taken_without_waiting_where_they_fit():
    budget = ByteBudget(10)
    assert budget.take_now(8)
    assert not budget.take_now(3)
    assert budget.used == 8
    budget.release(8)
    assert budget.take_now(100)
    budget.release(100)
    budget.abort()
    assert not budget.take_now(1)
