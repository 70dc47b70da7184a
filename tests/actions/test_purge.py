"""Flagged pictures go through pict-rs: what is written first, what waits, what is finished after a fault.

The files and the ledger are real; pict-rs is pretended, since it would take minutes to bring a real one into these
states. tests/e2e/test_purge.py has real ones.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.ledger.created import new_ledger
from support.ledger.results import checked, failed, flagged, record, row_of
from support.pretended_pictrs import PretendedPictrs
from support.scan.passes import keys_in, put

from lemmy_safety.actions import ActionLimits, ActionRunner, CircuitBreaker, Wait
from lemmy_safety.actions.purge import PurgeAction
from lemmy_safety.actions.purging import Purger
from lemmy_safety.actions.whole_pictures import WholePictures
from lemmy_safety.errors import PictrsElsewhere, PictrsReadOnly, PictrsTooOld, PictrsUnreachable
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Pdq, PurgeState, Review
from lemmy_safety.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN = ActionPlan("delete")


class World:
    """A store with its pict-rs, its ledger, and a clock that a test can move."""

    def __init__(self, folder: Path, *, first: int = 100) -> None:
        self.folder, self.first = folder, first
        self.files = folder / "files"
        self.files.mkdir(exist_ok=True)
        put(self.files, "bystander", b"not ours")
        self.pictrs = PretendedPictrs(self.files)
        self.ahead = timedelta()
        self.ledger = new_ledger(folder / "ledger.db", clock=lambda: datetime.now(UTC) + self.ahead)
        self.storage = LocalStorage(self.files)
        self.belongs = 0
        self.start()

    def start(self) -> None:
        """As in a new process."""
        limits = ActionLimits(first=self.first, per_day=100, share=100.0)
        self.action = PurgeAction(
            purger=Purger(api=self.pictrs, finder=self.pictrs, ledger=self.ledger, max_aliases=5),
            pictures=WholePictures(finder=self.pictrs, ledger=self.ledger),
            ledger=self.ledger,
            check_belonging=self._check_belonging,
        )
        self.runner = ActionRunner(
            storage=self.storage,
            ledger=self.ledger,
            actions={self.action.name: self.action},
            guard=CircuitBreaker(self.ledger, limits),
        )

    def _check_belonging(self, is_stored) -> None:
        assert not is_stored("nothing/of/that/name")
        self.belongs += 1

    def write(self, *keys: str) -> None:
        for key in keys:
            put(self.files, key, key.encode())

    def judge(self, *keys: str, judged=flagged, **more) -> None:
        """Record objects as they are in the folder; flagged ones with the intent to delete them."""
        results = [judged(key, obj=self.storage.stat(key), **more) for key in keys]
        record(self.ledger, results, storage=self.storage.name)

    def act(self) -> dict[str, Wait | ActionState]:
        """Carry out everything that is intended, and wait for pict-rs; how each ended, or what it waits for."""
        reports = [*self.runner.finish_unfinished(PLAN), *self.runner.settle(lambda _: False)]
        return {report.key: report.result.wait or report.state for report in reports}

    def left(self) -> set[str]:
        return keys_in(self.files) - {"bystander"}

    def detail(self, key: str) -> str:
        return row_of(self.ledger, key).action_detail

    def open_purge(self, key: str):
        return self.ledger.purges.open_for(self.storage.name, key)

    def pass_by(self, minutes: float) -> None:
        self.ahead += timedelta(minutes=minutes)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def picture(world: World, original: str, *aliases: str, sizes: tuple[str, ...] = (), **more) -> None:
    world.write(original, *sizes)
    world.pictrs.add(original, *aliases, sizes=sizes, **more)


def test_a_flagged_original_goes_with_all_its_sizes_and_names(world) -> None:
    picture(world, "o", "a.png", "b.png", sizes=("s1", "s2"))
    world.judge("o")
    assert world.act() == {"o": ActionState.DONE}
    assert world.left() == set()
    assert world.pictrs.pictures == {}
    assert world.detail("o") == "purged from pict-rs: 2 aliases (a.png, b.png)"
    assert world.open_purge("o") is None


def test_what_goes_is_on_record_before_pictrs_is_asked(world) -> None:
    picture(world, "o", "a.png", "b.png", sizes=("s1",), origin="https://example.org/x.png")
    world.judge("o")
    seen = []
    world.pictrs.before_purge = lambda: seen.append(world.open_purge("o"))
    world.act()
    (before,) = seen
    assert before.state is PurgeState.PLANNED
    assert before.keys == ("o", "s1")
    assert [tuple(alias) for alias in before.aliases] == [
        ("a.png", "https://example.org/x.png"),
        ("b.png", "https://example.org/x.png"),
    ]


def test_names_that_the_picture_got_meanwhile_are_recorded_before_the_request(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    admits = world.runner.guard.admits

    class Later:
        holds = world.runner.guard.holds

        def admits(self, action_id, so_far):
            world.pictrs.also("o", "late.png")
            return admits(action_id, so_far)

    world.runner.guard = Later()
    seen = []
    world.pictrs.before_purge = lambda: seen.append([alias.name for alias in world.open_purge("o").aliases])
    world.act()
    assert seen == [["a.png", "late.png"]]


def test_a_picture_with_many_names_waits_for_a_person(world) -> None:
    """Others uploaded the same bytes. Approving all actions together is not enough, confirming this very one is."""
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    for _ in range(2):
        assert world.act() == {"o": Wait.PERSON}
    assert world.detail("o") == "6 aliases would go (0.png, 1.png, 2.png, ...), and PICTRS_MAX_ALIASES is 5"
    (pending,) = world.ledger.actions.unfinished(world.storage.name)
    assert world.ledger.actions.approve([pending.id]) == 1
    assert world.act() == {"o": Wait.PERSON}
    assert (world.left(), world.pictrs.purged) == ({"o"}, [])
    world.ledger.reviews.decide(["o"], Review.CONFIRMED)
    assert world.act() == {"o": ActionState.DONE}


def test_a_confirmation_before_it_asked_does_not_count(world) -> None:
    """Many flags can be confirmed together; no one knew then what would go with this one."""
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    world.ledger.reviews.decide(["o"], Review.CONFIRMED)
    assert world.act() == {"o": Wait.PERSON}
    assert row_of(world.ledger, "o").asks
    world.ledger.reviews.decide(["o"], Review.CONFIRMED)
    assert not row_of(world.ledger, "o").asks
    assert world.act() == {"o": ActionState.DONE}


def test_names_that_come_at_the_last_moment_make_it_wait_too(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    admits = world.runner.guard.admits

    class Later:
        holds = world.runner.guard.holds

        def admits(self, action_id, so_far):
            world.pictrs.also("o", *(f"{number}.png" for number in range(9)))
            return admits(action_id, so_far)

    world.runner.guard = Later()
    assert world.act() == {"o": Wait.PERSON}
    assert world.pictrs.purged == []


def test_what_waits_for_a_person_is_told_apart_from_what_is_overdue(world) -> None:
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    before = world.ledger.actions.stuck(due_before=datetime.now(UTC) + timedelta(hours=1))
    world.act()
    after = world.ledger.actions.stuck(due_before=datetime.now(UTC) + timedelta(hours=1))
    assert (before.overdue, before.asks) == (1, 0)
    assert (after.overdue, after.asks) == (0, 1)
    world.ledger.reviews.decide(["o"], Review.CONFIRMED)
    assert world.ledger.actions.stuck(due_before=datetime.now(UTC)).asks == 0


def test_what_waits_for_a_person_is_not_counted_by_the_breaker(world) -> None:
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    world.act()
    assert world.ledger.breaker.is_untouched()


def test_a_cleared_picture_is_left_alone(world) -> None:
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    world.act()
    world.ledger.reviews.decide(["o"], Review.CLEARED)
    world.act()
    assert (world.left(), world.pictrs.purged) == ({"o"}, [])


def test_a_clearing_before_the_request_is_heeded(world) -> None:
    """The look-ups before it can take long when pict-rs hangs."""
    picture(world, "o", "a.png")
    world.judge("o")
    identifier = world.pictrs.identifier

    def slow(alias: str) -> str | None:
        world.ledger.reviews.decide(["o"], Review.CLEARED)
        return identifier(alias)

    world.pictrs.identifier = slow
    assert world.act() == {"o": ActionState.NONE}
    assert (world.left(), world.pictrs.purged) == ({"o"}, [])


def test_an_old_plan_never_takes_along_what_a_person_cleared(world) -> None:
    """pict-rs forgot the size since it was planned, so its picture is not known any more."""
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o")
    world.ledger.reviews.decide(["o"], Review.CLEARED)
    world.judge("s")
    world.act()
    world.ledger.reviews.decide(["s"], Review.CONFIRMED)
    world.act()
    world.pictrs.pictures.clear()
    world.pictrs.add("o", "a.png")
    world.pass_by(5)
    world.start()
    assert world.act() == {"s": Wait.PERSON}
    assert (world.left(), world.pictrs.purged) == ({"o", "s"}, [])


@pytest.mark.parametrize("cleared", ["o", "s"])
def test_a_lost_request_is_not_repeated_once_any_part_is_cleared(world, cleared) -> None:
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o", "s")
    world.pictrs.removes = False
    world.act()
    world.ledger.reviews.decide([cleared], Review.CLEARED)
    world.pictrs.removes = True
    world.pass_by(2)
    world.start()
    world.act()
    assert (world.left(), world.pictrs.purged) == ({"o", "s"}, ["a.png"])


def test_files_left_behind_are_kept_once_any_part_is_cleared(world) -> None:
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o")
    world.pictrs.removes = False
    world.act()
    world.pictrs.forget("o", files=False)
    world.judge("s")
    world.ledger.reviews.decide(["s"], Review.CLEARED)
    world.pass_by(16)
    assert world.act() == {"o": Wait.PERSON}
    assert world.left() == {"o", "s"}


@pytest.mark.parametrize("cleared", ["o", "s"])
def test_a_clearing_of_any_part_before_the_request_is_heeded(world, cleared) -> None:
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o", "s")
    identifier = world.pictrs.identifier

    def slow(alias: str) -> str | None:
        world.ledger.reviews.decide([cleared], Review.CLEARED)
        return identifier(alias)

    world.pictrs.identifier = slow
    world.act()
    assert (world.left(), world.pictrs.purged) == ({"o", "s"}, [])


def test_what_another_command_did_meanwhile_is_done_and_not_counted_again(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    (queued,) = world.ledger.actions.unfinished(world.storage.name)
    world.act()
    report = world.runner.carry_out(queued)
    assert (report.state, report.result.elsewhere) == (ActionState.DONE, True)


def test_a_removal_that_takes_its_time_is_followed_up_by_the_next_pass(world) -> None:
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o")
    world.pictrs.removes = False
    assert world.act() == {"o": Wait.REMOVAL}
    assert world.runner.still_removing == 1
    world.pictrs.forget("o")
    world.start()
    assert world.act() == {"o": ActionState.DONE}
    assert world.pictrs.purged == ["a.png"]


def test_a_request_that_pictrs_lost_is_repeated_after_a_minute(world) -> None:
    """sled loses what it was told in the last half second when pict-rs is killed."""
    picture(world, "o", "a.png")
    world.judge("o")
    world.pictrs.removes = False
    world.act()
    world.act()
    assert world.pictrs.purged == ["a.png"]
    world.pass_by(2)
    world.pictrs.removes = True
    assert world.act() == {"o": ActionState.DONE}
    assert world.pictrs.purged == ["a.png", "a.png"]


@pytest.mark.long
def test_a_picture_that_pictrs_never_removes_is_said_to_have_failed(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    world.pictrs.removes = False
    for _ in range(20):
        assert world.act() == {"o": Wait.REMOVAL}
        world.pass_by(2)
    assert world.act() == {"o": ActionState.FAILED}
    assert world.detail("o") == "pict-rs accepted its removal 20 times, and still has 1 alias (a.png): see its log"
    assert world.left() == {"o"}


def test_files_that_pictrs_leaves_behind_are_deleted_after_a_quarter_of_an_hour(world) -> None:
    picture(world, "o", "a.png", sizes=("s",))
    world.judge("o")
    world.pictrs.removes = False
    world.act()
    world.pictrs.forget("o", files=False)
    assert world.act() == {"o": Wait.REMOVAL}
    assert world.left() == {"o", "s"}
    world.pass_by(16)
    assert world.act() == {"o": ActionState.DONE}
    assert world.left() == set()
    assert world.detail("o").endswith("; deleted 2 files that pict-rs left behind")


def test_an_upload_that_joins_a_picture_while_it_is_removed_goes_too(world) -> None:
    """pict-rs removes the names that it found at first; the later one keeps the files, and their row."""
    picture(world, "o", "a.png", "b.png")
    world.judge("o")
    world.pictrs.removes = False
    world.act()
    world.pictrs.pictures.clear()
    world.pictrs.add("o", "late.png")
    assert world.act() == {"o": Wait.REMOVAL}
    world.pass_by(2)
    world.pictrs.removes = True
    assert world.act() == {"o": ActionState.DONE}
    assert (world.left(), world.pictrs.pictures, world.pictrs.purged[-1]) == (set(), {}, "late.png")
    assert "3 aliases" in world.detail("o")


def test_a_name_that_stands_for_other_bytes_by_now_is_not_purged(world) -> None:
    """The alias was deleted, and imported again with another picture."""
    picture(world, "o", *(f"{number}.png" for number in range(6)))
    world.judge("o")
    world.act()  # planned
    world.pictrs.forget("o")
    picture(world, "other", "0.png")
    world.ledger.reviews.decide(["o"], Review.CONFIRMED)
    assert world.act() == {"o": ActionState.DONE}
    assert (world.left(), world.pictrs.purged) == ({"other"}, [])


@pytest.mark.parametrize("gone", ["file", "picture", "both"])
def test_what_is_gone_already_is_done(world, gone) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    if gone != "file":
        world.pictrs.forget("o", files=gone == "both")
    else:
        (world.files / "o").unlink()
    assert world.act() == {"o": ActionState.DONE}
    assert world.left() == set()
    assert world.pictrs.pictures == {}


def test_a_file_that_changed_since_it_was_judged_is_left_alone(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    put(world.files, "o", b"another picture")
    assert world.act() == {"o": ActionState.REFUSED}
    assert (world.left(), world.pictrs.purged) == ({"o"}, [])


class TestSizes:
    """Another size of a picture is flagged, and pict-rs's database tells the original."""

    def test_of_a_flagged_original_takes_the_whole_picture_along(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1", "s2"))
        world.judge("s1", "o")
        assert world.act() == {"s1": ActionState.DONE, "o": ActionState.DONE}
        assert world.left() == set()
        assert world.pictrs.purged == ["a.png"]

    def test_of_a_clear_original_waits_for_a_person(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1")
        world.judge("o", judged=checked)
        assert world.act() == {"s1": Wait.PERSON}
        assert (
            world.detail("s1") == "only this size of o is flagged (thumbnail/0/webp); confirmed, the whole picture goes"
        )
        assert world.left() == {"o", "s1"}
        world.ledger.reviews.decide(["s1"], Review.CONFIRMED)
        assert world.act() == {"s1": ActionState.DONE}
        assert world.left() == set()

    def test_of_an_original_that_a_person_cleared_waits_too(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1", "o")
        world.ledger.reviews.decide(["o"], Review.CLEARED)
        assert world.act() == {"s1": Wait.PERSON}

    def test_that_is_confirmed_never_takes_along_an_original_that_a_person_cleared(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1", "o")
        world.ledger.reviews.decide(["o"], Review.CLEARED)
        world.act()
        world.ledger.reviews.decide(["s1"], Review.CONFIRMED)
        assert world.act() == {"s1": Wait.PERSON}
        assert world.detail("s1").startswith("it would take o along, which a person cleared")
        assert (world.left(), world.pictrs.purged) == ({"o", "s1"}, [])

    def test_that_a_person_cleared_are_not_taken_along_by_their_original(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1", "o")
        world.ledger.reviews.decide(["s1"], Review.CLEARED)
        assert world.act() == {"o": Wait.PERSON}
        assert (world.left(), world.pictrs.purged) == ({"o", "s1"}, [])

    @pytest.mark.parametrize("known", [False, True])
    def test_of_an_original_without_a_verdict_waits_for_that(self, world, known) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1")
        if known:
            world.judge("o", judged=failed, status=ItemStatus.DETECTOR_FAILED)
        list(world.runner.finish_unfinished(PLAN))
        assert world.runner.awaited == ("o",)
        world.judge("o")
        assert world.act()["s1"] is ActionState.DONE

    def test_of_an_unreadable_original_waits_for_a_person(self, world) -> None:
        picture(world, "o", "a.png", sizes=("s1",))
        world.judge("s1")
        world.judge("o", judged=failed, status=ItemStatus.UNREADABLE)
        assert world.act() == {"s1": Wait.PERSON}


class TestUnknownPictures:
    """pict-rs does not say which picture an object is of: without its database, that of every other size."""

    def test_a_young_one_is_looked_up_again_later(self, world) -> None:
        """Its row is written when pict-rs has validated the upload."""
        put(world.files, "x", b"x", modified_at=datetime.now(UTC) - timedelta(minutes=9))
        world.judge("x")
        assert world.act() == {"x": Wait.REST}
        assert world.left() == {"x"}

    def test_a_young_one_that_goes_with_its_original_is_done_in_the_same_pass(self, world) -> None:
        """With the HTTP interface alone, a size that was made a minute ago is as unknown as a new upload."""
        picture(world, "o", "a.png")
        put(world.files, "a-size", b"x", modified_at=datetime.now(UTC) - timedelta(minutes=1))
        world.pictrs.before_purge = (world.files / "a-size").unlink
        world.judge("a-size", "o")
        assert world.act() == {"a-size": ActionState.DONE, "o": ActionState.DONE}

    def test_one_that_looks_like_a_clear_object_waits_for_a_person(self, world) -> None:
        world.write("x", "alike")
        world.judge("x", pdq=Pdq(hex="0f" * 32, quality=90))
        world.judge("alike", judged=checked, pdq=Pdq(hex="0e" + "0f" * 31, quality=90))
        assert world.act() == {"x": Wait.PERSON}
        assert "it looks like alike" in world.detail("x")
        assert world.left() == {"x", "alike"}

    @pytest.mark.parametrize("other", [Pdq(hex="f0" * 32, quality=90), None])
    def test_others_are_deleted_as_files_and_counted(self, world, other) -> None:
        world.write("x", "different")
        world.judge("x", pdq=Pdq(hex="0f" * 32, quality=90))
        world.judge("different", judged=checked, pdq=other)
        reports = [*world.runner.finish_unfinished(PLAN), *world.runner.settle(lambda _: False)]
        assert [(report.result.wait, report.result.as_file) for report in reports] == [
            (Wait.ORIGINAL, False),
            (None, True),
        ]
        assert world.left() == {"different"}

    def test_they_go_last_because_a_flagged_original_takes_them_along(self, world) -> None:
        picture(world, "o", "a.png")
        world.write("a-size")
        world.pictrs.before_purge = (world.files / "a-size").unlink
        world.judge("a-size", "o")
        reports = [*world.runner.finish_unfinished(PLAN), *world.runner.settle(lambda _: False)]
        assert world.detail("a-size") == "was already gone"
        assert not any(report.result.as_file for report in reports)

    def test_before_pictrs_05_files_are_deleted(self, world) -> None:
        picture(world, "o", "a.png")
        world.judge("o")
        world.pictrs.by_keys = lambda _: raise_(PictrsTooOld("too old"))
        assert world.act() == {"o": ActionState.DONE}
        assert (world.left(), world.pictrs.purged) == (set(), [])


def raise_(error: Exception):
    raise error


@pytest.mark.parametrize("error", [PictrsUnreachable("no answer"), PictrsReadOnly("read-only")])
def test_while_pictrs_cannot_do_it_everything_stays_intended(world, error, caplog) -> None:
    """It is asked once and not for each object, and the log has one line. Nothing is deleted as a file instead."""
    for number in range(5):
        picture(world, f"o{number}", f"{number}.png")
    world.judge(*(f"o{number}" for number in range(5)))
    world.pictrs.error = error
    with caplog.at_level(logging.INFO):
        assert set(world.act().values()) == {ActionState.INTENDED}
    assert len(world.pictrs.asked) == 1
    assert [line.levelname for line in caplog.records if "postponed" in line.message] == ["WARNING"]
    assert len(world.left()) == 5
    assert world.detail("o3") == error.message
    world.pictrs.error = None
    world.start()
    assert set(world.act().values()) == {ActionState.DONE}


def test_nothing_is_sent_to_a_pictrs_of_another_store(world) -> None:
    picture(world, "o", "a.png")
    world.judge("o")
    world.action._check_belonging = lambda _: raise_(PictrsElsewhere("another store"))
    assert world.act() == {"o": ActionState.INTENDED}
    assert (world.left(), world.pictrs.purged) == ({"o"}, [])


def test_that_they_belong_together_is_shown_once(world) -> None:
    for number in range(3):
        picture(world, f"o{number}", f"{number}.png")
    world.judge("o0", "o1", "o2")
    world.act()
    assert world.belongs == 1


def test_a_tripped_breaker_asks_nothing_and_still_follows_up_what_was_sent(tmp_path) -> None:
    world = World(tmp_path, first=1)
    for number in range(3):
        picture(world, f"o{number}", f"{number}.png")
    world.judge("o0", "o1", "o2")
    world.pictrs.removes = False
    assert set(world.act().values()) == {Wait.REMOVAL, Wait.BREAKER}
    assert len(world.pictrs.purged) == 1
    (alias,) = world.pictrs.purged
    world.pictrs.forget(f"o{alias[0]}")
    world.pictrs.asked.clear()
    world.start()
    assert sorted(str(state) for state in world.act().values()) == ["breaker", "breaker", "done"]
    assert set(world.pictrs.asked) == {alias}
    world.ledger.close()


def test_bytes_that_come_back_are_said_to_come_back_with_their_origin(world) -> None:
    """As a proxied picture does, each time that a user opens it."""
    picture(world, "first", "a.png", origin="https://far.example/x.png")
    world.judge("first")
    world.act()
    picture(world, "second", "b.png", origin="https://far.example/x.png")
    world.judge("second")
    *_, last = [*world.runner.finish_unfinished(PLAN), *world.runner.settle(lambda _: False)]
    assert (last.result.came_back, last.result.origins) == (True, ("far.example",))


@pytest.mark.long
def test_killed_at_any_write_it_is_finished_by_the_next_start(tmp_path) -> None:
    """Each write to the ledger is the last one of a process; then a new one begins. Every action ends once."""
    for fatal in range(40):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        world = World(folder)
        picture(world, "o", "a.png", "b.png", sizes=("s",))
        picture(world, "clear", "c.png")
        world.judge("o", "s")
        writes = kill_at(world, fatal)
        died = False
        try:
            world.act()
        except Killed:
            died = True
        revive(world)
        world.pass_by(2)
        world.start()
        ended = world.act()
        assert world.left() == {"clear"}
        assert set(world.pictrs.pictures) == {"clear"}
        assert all(state is ActionState.DONE for state in ended.values())
        for key in ("o", "s"):
            kinds = [event.kind.value for event in world.ledger.reviews.history(key)]
            assert kinds.count("done") == 1, (fatal, key, kinds)
        world.ledger.close()
        if not died:
            break
    else:
        pytest.fail("it was still being killed")
    assert writes() > 5


class Killed(BaseException):
    """Not an error that anything handles."""


def kill_at(world: World, fatal: int):
    database, number = world.ledger.database, 0
    writing = database.writing

    def counted():
        nonlocal number
        number += 1
        if number > fatal:
            raise Killed
        return writing()

    database.writing = counted
    return lambda: number


def revive(world: World) -> None:
    del world.ledger.database.writing
