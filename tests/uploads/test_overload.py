"""More uploads than can be judged: who still waits for an answer goes before those who were answered already."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest
from support.web.engine import in_service, until, upload
from support.web.stand_ins import CountingDecoder, GatedDetector

from lemmy_safety.uploads.records import AnswerKind

if TYPE_CHECKING:
    from lemmy_safety.uploads.decider import Validator


class RememberingDetector(GatedDetector):
    """Keeps which bytes each batch was made of."""

    def __init__(self) -> None:
        super().__init__()
        self.judged: list[set[str]] = []

    def detect(self, batch):
        found = super().detect(batch)
        self.judged.append({sample.sha256 for sample in batch})
        return found


def test_who_waits_is_not_held_up_by_those_whom_nobody_waits_for(tmp_path):
    """The late ones lie there decoded, the other one has yet to be: the judge waits for it, and takes it alone."""
    detector = RememberingDetector()
    late, waited_for = [upload(number) for number in range(1, 4)], upload(9)

    async def story(validator: Validator, decoder: CountingDecoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        first = asyncio.create_task(validator.validate(upload(0), deadline=loop.time() + 60))
        await until(detector.entered.is_set)
        for one in late:
            answer = await validator.validate(one, deadline=loop.time())
            assert answer.kind is AnswerKind.UNCHECKED_ACCEPTED
        await until(lambda: decoder.calls == 4)
        other = asyncio.create_task(validator.validate(waited_for, deadline=loop.time() + 60))
        await asyncio.sleep(0)  # it is admitted
        detector.gate.set()
        assert (await first).kind is AnswerKind.ACCEPTED
        assert (await other).kind is AnswerKind.ACCEPTED
        await until(lambda: sum(map(len, detector.judged)) == 1 + 5)

    assert in_service(tmp_path, detector, story) == 0
    _warming_up, _first, second, *rest = detector.judged
    assert second == {waited_for.sha256}
    assert set.union(*rest) == {one.sha256 for one in late}


def test_pictures_that_nobody_waits_for_do_not_keep_the_memory_from_one_that_is_waited_for(tmp_path):
    """They fill it, decoded; the judge holds them back for the one that cannot be decoded: one of them is given up."""
    detector = GatedDetector(batch_size=1)
    with CountingDecoder() as decoder:
        one = sum(frame.pixels.nbytes for frame in decoder.decode(upload(0).data).frames)

    async def story(validator: Validator, decoder: CountingDecoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        first = asyncio.create_task(validator.validate(upload(0), deadline=loop.time() + 60))
        await until(detector.entered.is_set)
        for number in (1, 2):
            answer = await validator.validate(upload(number), deadline=loop.time())
            assert answer.kind is AnswerKind.UNCHECKED_ACCEPTED
        await until(lambda: decoder.calls == 3)
        waited_for = asyncio.create_task(validator.validate(upload(3), deadline=loop.time() + 60))
        await asyncio.sleep(0)
        detector.gate.set()
        assert (await first).kind is AnswerKind.ACCEPTED
        assert (await waited_for).kind is AnswerKind.ACCEPTED
        await until(lambda: not validator._judging._jobs)

    assert in_service(tmp_path, detector, story, frame_bytes=2 * one + one // 2, decode_workers=1) == 1
    assert detector.batches == [1, 1, 1]


@pytest.mark.long
def test_one_that_is_waited_for_is_decoded_when_those_before_it_are_not_waited_for_any_more(tmp_path):
    """There was enough for the judge, so it was not decoded yet; then no one waited for that any longer."""
    detector = GatedDetector(batch_size=1)

    async def story(validator: Validator, decoder: CountingDecoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        validator._judging._batches._speed.note(1, 1, 5.0)  # a slow processor
        first = asyncio.create_task(validator.validate(upload(0), deadline=loop.time() + 60))
        await until(detector.entered.is_set)
        before = asyncio.create_task(validator.validate(upload(1), deadline=loop.time() + 0.5))
        await until(lambda: decoder.calls == 2)
        waited_for = asyncio.create_task(validator.validate(upload(2), deadline=loop.time() + 60))
        assert (await before).kind is AnswerKind.UNCHECKED_ACCEPTED
        detector.gate.set()
        assert (await first).kind is AnswerKind.ACCEPTED
        assert (await waited_for).kind is AnswerKind.ACCEPTED

    assert in_service(tmp_path, detector, story) == 0


@pytest.mark.long
def test_the_judge_does_not_wait_for_a_long_decode_that_nobody_waits_for(tmp_path, monkeypatch):
    """Its short wait for company has passed once in vain; the next picture gets one of its own, not the rest of the video."""
    monkeypatch.setattr("lemmy_safety.uploads.batches._BATCH_WINDOW_S", 1.0)
    released = {2: threading.Event(), 3: threading.Event()}
    gates = {upload(number).sha256: event for number, event in released.items()}

    class SlowDecoder(CountingDecoder):
        def decode(self, data):
            gate = gates.get(hashlib.sha256(data).hexdigest())
            if gate is not None:
                gate.wait(60)
            return super().decode(data)

    detector = GatedDetector()
    detector.gate.set()

    async def story(validator: Validator, decoder: CountingDecoder) -> None:
        loop = asyncio.get_running_loop()
        await validator.load()
        batches = validator._judging._batches
        batches._speed.note(8, 8, 0.01)  # quick, so that batches are of several
        for number in (2, 1):  # the first is the long one
            await validator.validate(upload(number), deadline=loop.time())
        await until(lambda: batches._window is not None)
        waited_for = asyncio.create_task(validator.validate(upload(3), deadline=loop.time() + 60))
        await until(lambda: batches._window is None)
        released[3].set()
        assert (await waited_for).kind is AnswerKind.ACCEPTED
        assert not released[2].is_set()
        released[2].set()

    in_service(tmp_path, detector, story, decoder=SlowDecoder(), decode_workers=3)
