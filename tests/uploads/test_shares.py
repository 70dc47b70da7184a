"""One client cannot hold all decoders: real decoding processes, and files that are really slow."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from PIL import Image
from support.media import breaking_decoders, pictures
from support.web.engine import in_service, until, upload
from support.web.stand_ins import GatedDetector

from lemmy_safety.media import MediaLimits
from lemmy_safety.media.workers.pool import ProcessDecoder
from lemmy_safety.uploads import decoding
from lemmy_safety.uploads.records import AnswerKind, Cause, Upload

#: Commands of ``breaking_decoders`` that never end; each is a file of its own.
ENDLESS = (b"sleep", b"loop", b"announce a loop", b"hold the interpreter")


class CountingProcesses(ProcessDecoder):
    """The real decoder, counting how often it is asked."""

    def __init__(self, workers: int) -> None:
        limits = MediaLimits(max_bytes=20_000_000, max_pixels=40_000_000, crop_ratio=0)
        self.calls = 0
        super().__init__(
            limits, workers=workers, timeout_s=600, memory_bytes=1 << 30, decode=breaking_decoders.break_or_decode
        )

    def decode(self, data):
        self.calls += 1
        return super().decode(data)


@cache
def many_scans(seed: int) -> bytes:
    """A progressive JPEG whose last scan comes many times: each goes over the whole picture, which takes some seconds."""
    plain = Image.fromarray(np.full((2400, 3200), 40 + seed, np.uint8))
    data = pictures.encode(plain, "jpeg", progressive=True)
    scan, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[scan:end] * 900 + data[end:]


def upload_of(data: bytes) -> Upload:
    sha256 = hashlib.sha256(data).hexdigest()
    return Upload(data=data, size=len(data), sha256=sha256, media_type="image/jpeg", free=lambda: None)


@contextmanager
def open_detector():
    detector = GatedDetector()
    detector.gate.set()
    yield detector


@pytest.fixture
def _short_shares(monkeypatch):
    monkeypatch.setattr(decoding, "SHARE_S", 0.5)


def told(tmp_path, story, *, workers):
    with open_detector() as detector:
        return in_service(tmp_path, detector, story, decoder=CountingProcesses(workers), decode_workers=workers)


@pytest.mark.usefixtures("_short_shares")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_slow_files_do_not_keep_others_from_the_decoders(tmp_path, workers):
    """Files that never end hold the decoders; ordinary uploads are judged all the same, and the others are recorded."""

    async def story(validator, decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        slow = [
            asyncio.create_task(validator.validate(upload_of(command), deadline=loop.time() + 40))
            for command in ENDLESS
        ]
        await until(lambda: decoder.calls >= workers)
        ordinary = [
            asyncio.create_task(validator.validate(upload(number), deadline=loop.time() + 30)) for number in range(6)
        ]
        answers = await asyncio.gather(*ordinary)
        assert {answer.kind for answer in answers} == {AnswerKind.ACCEPTED}
        validator.end_waits()
        slow_answers = await asyncio.gather(*slow)
        assert {answer.kind for answer in slow_answers} == {AnswerKind.UNCHECKED_ACCEPTED}
        causes = [answer.cause for answer in slow_answers]
        assert causes.count(Cause.DETECTOR_FAILED) >= len(ENDLESS) - workers

    assert told(tmp_path, story, workers=workers) == len(ENDLESS)


@pytest.mark.usefixtures("_short_shares")
def test_bytes_that_made_way_cost_no_second_share(tmp_path):
    """Sent again they get the same answer, and no decoder."""

    async def story(validator, decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        slow = asyncio.create_task(validator.validate(upload_of(b"sleep"), deadline=loop.time() + 40))
        await until(lambda: decoder.calls == 1)
        assert (await validator.validate(upload(1), deadline=loop.time() + 30)).kind is AnswerKind.ACCEPTED
        first = await slow
        assert first.cause is Cause.DETECTOR_FAILED
        for _ in range(3):
            assert await validator.validate(upload_of(b"sleep"), deadline=loop.time() + 40) == first
        assert decoder.calls == 2

    assert told(tmp_path, story, workers=1) == 1


def test_a_slow_picture_that_stands_in_nobodys_way_is_judged(tmp_path):
    """However long it takes, as long as no other upload waits for a decoder."""

    async def story(validator, decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        began = loop.time()
        slow = asyncio.create_task(validator.validate(upload_of(many_scans(1)), deadline=loop.time() + 50))
        answer = await validator.validate(upload(1), deadline=loop.time() + 50)
        assert answer.kind is AnswerKind.ACCEPTED
        assert not slow.done()
        assert (await slow).kind is AnswerKind.ACCEPTED
        assert loop.time() - began > decoding.SHARE_S

    assert told(tmp_path, story, workers=2) == 0


def test_a_slow_picture_makes_way(tmp_path):
    """Pictures of hundreds of scans on every decoder: one of them is given up, and an ordinary upload is judged in time."""

    async def story(validator, decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        slow = [
            asyncio.create_task(validator.validate(upload_of(many_scans(seed) * 2), deadline=loop.time() + 50))
            for seed in (2, 3)
        ]
        await until(lambda: decoder.calls == 2)
        answer = await validator.validate(upload(2), deadline=loop.time() + 30)
        assert answer.kind is AnswerKind.ACCEPTED
        causes = [answer.cause for answer in await asyncio.gather(*slow)]
        assert set(causes) == {None, Cause.DETECTOR_FAILED}

    assert told(tmp_path, story, workers=2) == 1


@pytest.mark.usefixtures("_short_shares")
def test_a_file_that_nobody_waits_for_makes_way_first(tmp_path):
    """Its sender was answered already; the other one, which came first, still has its chance."""

    async def story(validator, decoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        awaited = asyncio.create_task(validator.validate(upload_of(b"sleep"), deadline=loop.time() + 40))
        await until(lambda: decoder.calls == 1)
        late = await validator.validate(upload_of(b"loop"), deadline=loop.time() + 0.2)
        assert late.cause is Cause.TIMED_OUT
        assert (await validator.validate(upload(3), deadline=loop.time() + 30)).kind is AnswerKind.ACCEPTED
        assert not awaited.done()
        validator.end_waits()
        await awaited

    assert told(tmp_path, story, workers=2) == 2
