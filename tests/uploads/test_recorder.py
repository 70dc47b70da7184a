"""Records of answers: grouped, in order, tried again, and never held up by one that cannot be written."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from lemmy_safety.errors import LedgerLocked
from lemmy_safety.ledger import UploadAnswer, UploadResult
from lemmy_safety.uploads import recorder
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.uploads.recorder import UploadRecorder


@dataclass
class WatchedUploads:
    """Keeps what is written, group by group; fails for as long as it is told to, and always on what is poisonous."""

    groups: list[list[str]] = field(default_factory=list)
    failing: bool = False
    poisonous: str = ""
    tried: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def record(self, results):
        self.gate.wait()
        names = [result.sha256 for result in results]
        self.tried.set()
        if self.failing:
            raise LedgerLocked("another process holds the database")
        if self.poisonous in names:
            raise ValueError("cannot be written")
        self.groups.append(names)

    @property
    def written(self) -> list[str]:
        return [name for group in self.groups for name in group]


def result(name: str) -> UploadResult:
    return UploadResult(sha256=name, size=1, media_type="", answer=UploadAnswer.ACCEPTED)


def test_what_comes_during_a_write_is_written_together():
    """Records that come while the disk is busy go into one transaction, in their order."""
    ledger = WatchedUploads()

    async def run():
        recorder = UploadRecorder(ledger, Meters())
        ledger.gate.clear()
        first = asyncio.create_task(recorder.record(result("0"), within_s=20, keep=True))
        await asyncio.sleep(0)
        others = [asyncio.create_task(recorder.record(result(str(n)), within_s=20, keep=True)) for n in range(1, 9)]
        await asyncio.sleep(0)
        ledger.gate.set()
        assert all(await asyncio.gather(first, *others))
        recorder.close()

    asyncio.run(run())
    assert ledger.groups == [["0"], [str(n) for n in range(1, 9)]]


def test_failed_records_are_tried_again_in_order(monkeypatch):
    """What is to be kept is written when the database is back, before what came later; the rest is given up."""
    monkeypatch.setattr(recorder, "_RETRY_S", 0.05)
    ledger = WatchedUploads(failing=True)

    async def run():
        recorder = UploadRecorder(ledger, Meters())
        assert not await recorder.record(result("kept"), within_s=20, keep=True)
        assert not await recorder.record(result("given up"), within_s=20, keep=False)
        recorder.record_later(result("later"))
        assert not await recorder.flush(within_s=0.01)
        ledger.failing = False
        assert await recorder.flush(within_s=20)
        recorder.close()

    asyncio.run(run())
    assert ledger.written == ["kept", "later"]


def test_waiting_for_the_disk_has_an_end():
    """Who waits in vain is told so in time; what was not to be kept is then not written any more."""
    ledger = WatchedUploads()

    async def run():
        recorder = UploadRecorder(ledger, Meters())
        ledger.gate.clear()
        recorder.record_later(result("slow"))
        assert not await recorder.record(result("unwanted"), within_s=0.05, keep=False)
        assert not await recorder.record(result("wanted"), within_s=0.05, keep=True)
        ledger.gate.set()
        assert await recorder.flush(within_s=20)
        recorder.close()

    asyncio.run(run())
    assert ledger.written == ["slow", "wanted"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_record_that_cannot_be_written_costs_only_itself(place):
    """A fault of ours in one record does not keep the others from the disk, and is counted as lost."""
    names = ["a", "b", "c"]
    ledger = WatchedUploads(poisonous=names[place])
    meters = Meters()

    async def run():
        recorder = UploadRecorder(ledger, meters)
        for name in names:
            recorder.record_later(result(name))
        assert await recorder.flush(within_s=20)
        recorder.record_later(result("d"))
        recorder.record_later(result("e"))
        assert await recorder.flush(within_s=20)
        recorder.close()

    asyncio.run(run())
    assert ledger.written == [*(name for name in names if name != names[place]), "d", "e"]
    assert b"lemmy_safety_hook_unrecorded_total 1.0" in meters.exposition()


def test_what_is_kept_is_bounded(monkeypatch):
    """While the database is away, the oldest records are given up beyond a number, and counted."""
    monkeypatch.setattr(recorder, "_MOST_KEPT", 5)
    ledger = WatchedUploads(failing=True)
    meters = Meters()

    async def run():
        recorder = UploadRecorder(ledger, meters)
        for number in range(20):
            assert not await recorder.record(result(str(number)), within_s=20, keep=True)
        ledger.failing = False
        recorder.record_later(result("last"))
        assert await recorder.flush(within_s=20)
        recorder.close()

    asyncio.run(run())
    assert ledger.written == ["15", "16", "17", "18", "19", "last"]
    assert b"lemmy_safety_hook_unrecorded_total 15.0" in meters.exposition()


def test_what_is_left_at_the_end_is_said(caplog):
    """Closing with records that could not be written says how many are lost."""
    ledger = WatchedUploads(failing=True)

    async def run():
        recorder = UploadRecorder(ledger, Meters())
        await recorder.record(result("a"), within_s=20, keep=True)
        recorder.close()

    asyncio.run(run())
    assert "the records of 1 answered uploads are lost" in caplog.text
