"""Which upload goes to which worker, with times given by hand."""

from __future__ import annotations

import asyncio

import pytest

from lemmy_safety.relay.server.assignments import ABSENT_AFTER_S, LEASE_S, Assignments, Item
from lemmy_safety.uploads.jobs import Job
from lemmy_safety.uploads.records import Upload

BUDGET_S = 8.0


LOOP = asyncio.new_event_loop()  # futures need one; nothing runs in it
LOOP.close()


def item(name, since=0.0, *, awaited=True):
    upload = Upload(data=b"x", size=1, sha256=name, media_type="image/png", free=lambda: None)
    job = Job(upload, LOOP.create_future())
    job.waiting = int(awaited)
    return Item(name=name, job=job, since=since)


@pytest.fixture
def assignments():
    return Assignments(budget_s=BUDGET_S, now=0.0)


def asks(assignments, worker, now, *, gone=False):
    """One question that is answered at once."""
    assignments.note_poll(worker, "rules", now)
    taken = assignments.next_for(worker, now)
    assignments.note_poll_ended(worker, now)
    return None if taken is None else taken.name


def test_uploads_go_out_in_the_order_they_came(assignments) -> None:
    """Each once."""
    for name in "abc":
        assignments.add(item(name))
    assert [asks(assignments, "w", 0.1) for _ in range(4)] == ["a", "b", "c", None]


def test_what_nobody_waits_for_is_not_handed_out(assignments) -> None:
    """Nor what was dropped."""
    dropped = item("b")
    dropped.job.upload.drop()
    for one in (item("a", awaited=False), dropped, item("c")):
        assignments.add(one)
    assert [asks(assignments, "w", 0.1) for _ in range(2)] == ["c", None]


def test_what_a_silent_worker_got_goes_to_another_one(assignments) -> None:
    """Until then to no one; and the silent one, whose line may have been cut, gets nothing more before it speaks."""
    assignments.add(item("a"))
    assignments.note_poll("cut", "rules", 0.0)
    assignments.note_poll("cut", "rules", 0.0)  # a second question, open for ever
    assert assignments.next_for("cut", 0.1).name == "a"
    assignments.note_poll_ended("cut", 0.1)
    later = 0.1 + LEASE_S
    assert asks(assignments, "other", later - 0.1) is None
    assignments.add(item("b"))
    assert assignments.next_for("cut", later) is None
    assert asks(assignments, "other", later) == "a"
    assert asks(assignments, "other", later) == "b"


def test_a_worker_that_asks_on_keeps_what_it_has(assignments) -> None:
    """For half the budget; then its answer is not waited for alone."""
    assignments.add(item("a"))
    assert asks(assignments, "busy", 0.1) == "a"
    for now in (1.0, 2.0, 3.0, 4.0):
        assert asks(assignments, "busy", now) is None
        assert asks(assignments, "other", now) is None
    assert asks(assignments, "other", 4.2) == "a"


def test_a_worker_without_a_name_keeps_it_for_half_the_budget(assignments) -> None:
    """All of the ancestor's are one to us, so their questions say nothing about this one."""
    assignments.add(item("a"))
    assert asks(assignments, "", 0.0) == "a"
    assert asks(assignments, "", 3.9) is None
    assert asks(assignments, "", 4.0) == "a"


def test_under_too_much_load_those_go_first_that_can_be_in_time(assignments) -> None:
    """Going by how long workers took; those who have waited for long come when there is nothing else, the last one first."""
    for number in range(30):
        quick = item(f"q{number}")
        assignments.add(quick)
        assignments.note_poll("w", "rules", 0.0)
        taken = assignments.next_for("w", 0.0)
        assignments.note_answer("w", taken, 1.0)
        assignments.remove(taken)
        assignments.note_poll_ended("w", 0.0)
    for name, since in (("hopeless", 2.5), ("long", 4.0), ("in time", 8.0), ("just come", 9.0)):
        assignments.add(item(name, since))
    assert [asks(assignments, "w", 10.0) for _ in range(4)] == ["in time", "just come", "long", "hopeless"]


def test_somebody_is_there_while_a_question_is_open_or_was_a_moment_ago(assignments) -> None:
    """A service that has just begun gives workers time to come."""
    assert assignments.present(ABSENT_AFTER_S - 1)
    assert not assignments.present(ABSENT_AFTER_S + 1)
    assignments.note_poll("w", "rules-7", 100.0)
    assert assignments.present(100.0 + 10 * ABSENT_AFTER_S)
    assert assignments.rules(100.0 + 10 * ABSENT_AFTER_S) == {"rules-7"}
    assignments.note_poll_ended("w", 200.0)
    assert assignments.present(199.0 + ABSENT_AFTER_S)
    assert not assignments.present(201.0 + ABSENT_AFTER_S)
    assert assignments.rules(201.0 + ABSENT_AFTER_S) == frozenset()


def test_what_nobody_will_speak_of_any_more_is_forgotten(assignments) -> None:
    """An upload that was let down and never taken at once; one that a worker has, after a while; workers too."""
    never, taken, waiting = item("never"), item("taken"), item("waiting")
    assignments.add(taken)
    assert asks(assignments, "w", 0.0) == "taken"
    assignments.add(never)
    assignments.add(waiting)
    for one in (never, taken):
        one.job.waiting, one.job.answered_early = 0, True
    assert [one.name for one in assignments.forget(9.0)] == ["never"]
    assert [one.name for one in assignments.forget(1000.0)] == ["taken"]
    assert [one.name for one in assignments.items()] == ["waiting"]
    assert assignments.find("taken") is None
