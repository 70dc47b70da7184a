"""More uploads than can be judged: who still waits for an answer goes before those who were answered already."""

from __future__ import annotations

import asyncio
import hashlib

from support.hook_service import CountingDecoder, GatedDetector
from support.pictures import encode, gradient

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.policy import build_policy
from lemmy_safety.scan.inspection import Inspector
from lemmy_safety.web.meters import Meters
from lemmy_safety.web.uploads import AnswerKind, Upload
from lemmy_safety.web.validation import ValidationOptions, Validator


class RememberingDetector(GatedDetector):
    """Keeps which bytes each batch was made of."""

    def __init__(self) -> None:
        super().__init__()
        self.judged: list[set[str]] = []

    def detect(self, batch):
        found = super().detect(batch)
        self.judged.append({sample.sha256 for sample in batch})
        return found


def upload(number: int) -> Upload:
    data = encode(gradient(seed=number), "png")
    sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
    return Upload(data=data, size=len(data), sha256=sha256, md5=md5, media_type="image/png", free=lambda: None)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what happens in other threads gives no sign here
            await asyncio.sleep(0.005)


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
        await validator.close(within_s=10)

    async def run() -> None:
        with open_ledger(sqlite_url(tmp_path / "hook.db")) as ledger, CountingDecoder() as decoder:
            inspector = Inspector(
                detectors=[detector],
                policy=build_policy(nudenet_flags=False),
                decoder=decoder,
                frame_bytes=50_000_000,
            )
            options = ValidationOptions(accept_unchecked=True, queue=64, decode_workers=2)
            await story(Validator(inspector=inspector, ledger=ledger, options=options, meters=Meters()), decoder)
            assert ledger.count_unchecked_uploads() == 0

    asyncio.run(run())
    _warming_up, _first, second, *rest = detector.judged
    assert second == {waited_for.sha256}
    assert set.union(*rest) == {one.sha256 for one in late}
