"""A worker takes on no more than it can judge soon."""

from __future__ import annotations

import asyncio

from support.media.pictures import encode, gradient
from support.web.relay import running_relay, running_worker
from support.web.service import until
from support.web.stand_ins import GatedDetector

from lemmy_safety.relay.worker.slots import Slots


def test_places_are_given_to_as_many_as_there_are_at_the_moment():
    """When there are fewer of them, those who leave make no slots for others at once."""

    async def run() -> None:
        places = 2
        slots = Slots(lambda: places)
        await slots.enter()
        await slots.enter()
        third = asyncio.create_task(slots.enter())
        await asyncio.sleep(0)
        assert not third.done()
        places = 1
        slots.leave()
        await asyncio.sleep(0)
        assert not third.done()
        slots.leave()
        await third

    asyncio.run(run())


def test_a_slow_worker_leaves_uploads_at_the_relay(tmp_path, monkeypatch) -> None:
    """Where another one can get them, but for the four that it may have asked for at first; all are answered in the end."""
    monkeypatch.setattr("lemmy_safety.relay.worker.service._AHEAD_S", 1e-9)  # as if each took for ever
    slow, quick = GatedDetector(), GatedDetector()
    quick.gate.set()
    with running_relay(tmp_path) as relay, running_worker(tmp_path, relay.url, detectors=[slow], name="slow.db"):
        first = relay.ask_later(encode(gradient(seed=0), "PNG"))
        assert slow.entered.wait(20)
        slow.gate.set()
        assert first.answer().status == 200
        slow.gate.clear()
        slow.entered.clear()
        asked = [relay.ask_later(encode(gradient(seed=number), "PNG")) for number in range(1, 13)]
        assert slow.entered.wait(20)
        with running_worker(tmp_path, relay.url, detectors=[quick], name="quick.db") as other:
            until(lambda: other.ledger.maintenance.stats().uploads.get("accepted", 0) >= 8, "what the slow one left")
        slow.gate.set()
        assert {one.answer().status for one in asked} == {200}
