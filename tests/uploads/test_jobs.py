"""One job for the same bytes, and no more open jobs than there is room for."""

from __future__ import annotations

import asyncio

import pytest

from lemmy_safety.records import Assessment, ItemStatus
from lemmy_safety.uploads.jobs import Job, JobTable
from lemmy_safety.uploads.lookups import Learned
from lemmy_safety.uploads.metrics import Meters
from lemmy_safety.uploads.records import Upload

LEARNED = Learned(Assessment(status=ItemStatus.UNREADABLE, reason="no picture"))


def upload(name: str) -> Upload:
    return Upload(data=name.encode(), size=len(name), sha256=name, media_type="image/png", free=lambda: None)


def in_table(story, *, capacity: int = 2, is_open=lambda _job: True) -> list[Job]:
    """Tell a story to a table; the jobs of which something was learned."""
    learned: list[Job] = []

    async def run() -> None:
        meters = Meters()
        table = JobTable(
            capacity=capacity, meters=meters, on_learned=lambda job, _: learned.append(job), is_open=is_open
        )
        await story(table, meters)

    asyncio.run(run())
    return learned


def test_the_same_bytes_are_one_job() -> None:
    """The second upload of them is dropped and joins the first, also where there is no room for others."""

    async def story(table: JobTable, meters: Meters) -> None:
        first, second = upload("a"), upload("a")
        job = table.admit(first)
        assert table.admit(second) is job
        assert job.upload is first
        assert (first.data, second.data) == (b"a", None)
        assert table.holds(first)
        assert not table.holds(second)
        assert b"lemmy_safety_hook_joined_total 1.0" in meters.exposition()

    in_table(story, capacity=1)


def test_what_finds_no_place_is_dropped() -> None:
    """Unless room is made; a job that is finished has left its place."""

    async def story(table: JobTable, meters: Meters) -> None:
        job, _other = table.admit(upload("a")), table.admit(upload("b"))
        refused = upload("c")
        assert table.admit(refused) is None
        assert refused.data is None
        assert table.admit(upload("d"), make_room=lambda: True) is not None
        table.finish(job, None)
        assert [job.upload.sha256 for job in table] == ["b", "d"]
        assert b"lemmy_safety_hook_queue_length 2.0" in meters.exposition()

    assert in_table(story) == []


def test_without_new_ones_only_known_bytes_are_taken() -> None:
    """As a relay that ends does."""

    async def story(table: JobTable, _meters: Meters) -> None:
        job = table.admit(upload("a"))
        assert table.admit(upload("a"), new=False) is job
        assert table.admit(upload("b"), new=False) is None

    in_table(story)


def test_a_job_that_is_not_open_takes_no_place_and_ends_beside_its_successor() -> None:
    """No one can join it. When it ends, the later job of the same bytes stays."""
    closed: set[Job] = set()

    async def story(table: JobTable, _meters: Meters) -> None:
        old = table.admit(upload("a"))
        closed.add(old)
        new = table.admit(upload("a"))
        assert new is not old
        table.finish(old, LEARNED)
        assert list(table) == [new]
        assert old.learned.result() is LEARNED
        assert not new.learned.done()

    (ended,) = in_table(story, capacity=1, is_open=lambda job: job not in closed)
    assert closed == {ended}


def test_a_job_ends_once() -> None:
    """Its bytes are dropped, and a second end is a fault."""

    async def story(table: JobTable, _meters: Meters) -> None:
        job = table.admit(upload("a"))
        table.finish(job, LEARNED)
        assert job.upload.data is None
        with pytest.raises(asyncio.InvalidStateError):
            table.finish(job, LEARNED)

    assert len(in_table(story)) == 1
