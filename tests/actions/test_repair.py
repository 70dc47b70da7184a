"""Pictures of pict-rs without an original: which are found, what is never touched, what is finished after a fault.

The files and the ledger are real; pict-rs is pretended, since it would take minutes to bring a real one into these
states. tests/e2e/test_repair.py has real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.ledger.created import new_ledger
from support.ledger.results import flagged, record, sha256_of
from support.pretended_pictrs import PretendedPictrs
from support.scan.passes import put

from lemmy_safety.actions import ActionLimits, CircuitBreaker, Wait
from lemmy_safety.actions.missing_originals import MissingOriginals
from lemmy_safety.actions.purging import Purger
from lemmy_safety.actions.repair import Repairer
from lemmy_safety.errors import (
    ActionRefused,
    PictrsElsewhere,
    PictrsError,
    PictrsReadOnly,
    PictrsUnreachable,
    StorageUnreachable,
)
from lemmy_safety.pictrs.api.answers import HashEntry, HashPage
from lemmy_safety.pictrs.hashes import StoredHash
from lemmy_safety.pictrs.pictures.originals import Listed, Originals
from lemmy_safety.records import ActionState, PurgeState
from lemmy_safety.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lemmy_safety.actions.missing_originals import Survey


class Killed(BaseException):
    """The process ends here."""


@dataclass
class World:
    """A store with its pict-rs, and a ledger that says what earlier sweeps deleted as files."""

    folder: Path
    first: int = 100
    knows_all_keys: bool = False

    def __post_init__(self) -> None:
        self.files = self.folder / "files"
        put(self.files, "bystander", b"not ours")
        self.pictrs = PretendedPictrs(self.files)
        self.pages: list[list[str]] = []
        self.hidden = False
        self.elsewhere = self.unmounted = False
        self.known_gone: set[str] = set()
        self.ahead = timedelta()
        self.ledger = new_ledger(self.folder / "ledger.db", clock=lambda: datetime.now(UTC) + self.ahead)
        self.storage = LocalStorage(self.files)

    @property
    def repairer(self) -> Repairer:
        """As in a new process."""
        purger = Purger(api=self.pictrs, finder=self.pictrs, ledger=self.ledger, max_aliases=5)
        return Repairer(
            storage=self.storage,
            ledger=self.ledger,
            purger=purger,
            guard=CircuitBreaker(self.ledger, ActionLimits(first=self.first, per_day=100)),
            missing=MissingOriginals(
                storage=self.storage,
                ledger=self.ledger,
                api=self,
                finder=self.pictrs,
                all_originals=self._originals,
                check_belonging=self._check_belonging,
                purger=purger,
                knows_all_keys=self.knows_all_keys,
            ),
        )

    def _check_belonging(self, is_stored, *, known_gone) -> None:
        assert is_stored("bystander") or self.unmounted
        self.known_gone = set(known_gone)
        if self.elsewhere:
            raise PictrsElsewhere("none of 20")

    def _originals(self) -> Originals:
        listed = {key: Listed(one.aliases[0].name, one.sha256) for key, one in self.pictrs.pictures.items()}
        return Originals(by_key=listed, hidden=self.hidden)

    def hashes(self, *, limit: int, slug: str | None = None, older_than: datetime | None = None) -> HashPage:
        """pict-rs's list: originals by page, each a day older than the one before."""
        assert limit == 100
        first = 0 if older_than is None else next(n for n in range(99) if self.page_at(n) < older_than)
        number = first if slug is None else int(slug)
        entries = [
            HashEntry(
                hash=StoredHash(bytes.fromhex(picture.sha256) + b"\0" * 7),
                aliases=tuple(alias.name for alias in picture.aliases),
                created_at=self.page_at(number),
            )
            for picture in (self.pictrs.pictures[key] for key in self.pages[number])
        ]
        later = str(number + 1) if number + 1 < len(self.pages) else None
        return HashPage(entries=tuple(entries), current=str(number), next=later)

    def page_at(self, number: int) -> datetime:
        return datetime(2026, 6, 30, tzinfo=UTC) - timedelta(days=number)

    def swept(self, *keys: str) -> None:
        """Deleted as files by an earlier sweep."""
        for key in keys:
            put(self.files, key, key.encode())
            (pending,) = record(self.ledger, [flagged(key, obj=self.storage.stat(key))], storage=self.storage.name)
            (self.files / key).unlink()
            self.ledger.actions.finish(pending.id, ActionState.DONE, "deleted")

    def has(self, original: str, *aliases: str, sizes: tuple[str, ...] = ()) -> None:
        """A picture in pict-rs, whether its files are there or not."""
        self.pictrs.add(original, *aliases, sizes=sizes)
        self.pictrs.pictures[original] = replace(self.pictrs.pictures[original], sha256=sha256_of(original))

    def find(self, **more) -> Survey:
        return self.repairer.missing.of_deleted(**more)

    def repair(self, survey: Survey | None = None, *, approved: bool = False) -> dict[str, Wait | ActionState]:
        found = (survey or self.find()).broken
        reports = self.repairer.carry_out(found, approved=approved, wait=lambda _: False)
        return {report.key: report.result.wait or report.state for report in reports}

    def purges(self, original: str):
        return self.ledger.purges.open_for(self.storage.name, original)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def originals(survey: Survey) -> list[str]:
    return [one.picture.original for one in survey.broken]


def test_a_picture_whose_file_an_earlier_sweep_deleted_is_purged_once(world) -> None:
    world.swept("o")
    world.has("o", "a.png", "b.png")
    assert world.repair() == {"o": ActionState.DONE}
    assert (world.pictrs.pictures, world.pictrs.purged) == ({}, ["a.png"])
    assert originals(world.find()) == []
    assert world.repair() == {}


def test_what_goes_is_on_record_before_pictrs_is_asked(world) -> None:
    world.swept("o")
    world.has("o", "a.png", "b.png")
    seen = []
    world.pictrs.before_purge = lambda: seen.append(world.purges("o"))
    world.repair()
    (purge,) = seen
    assert (purge.state, [alias.name for alias in purge.aliases]) == (PurgeState.PLANNED, ["a.png", "b.png"])
    assert purge.repair_at is not None


def test_a_look_changes_nothing(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    assert originals(world.find()) == ["o"]
    assert world.pictrs.purged == []
    assert world.purges("o") is None


def test_what_a_person_deleted_is_left_to_a_look_at_everything(world) -> None:
    world.has("by hand", "a.png")
    assert originals(world.find()) == []


def test_a_picture_whose_original_is_there_again_is_left_alone(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    put(world.files, "o", b"moved back")
    survey = world.find()
    assert (originals(survey), survey.present) == ([], 1)


def test_an_original_that_comes_back_after_the_look_keeps_its_picture(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    survey = world.find()
    put(world.files, "o", b"moved back")
    assert world.repair(survey) == {"o": ActionState.REFUSED}
    assert world.pictrs.purged == []


def test_an_original_that_comes_back_after_the_request_is_not_deleted(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    world.pictrs.removes = False
    assert world.repair() == {"o": Wait.REMOVAL}
    put(world.files, "o", b"moved back")
    assert world.repair() == {"o": ActionState.REFUSED}
    world.pictrs.forget("o", files=False)
    world.ahead = timedelta(hours=1)
    assert world.repair() == {"o": ActionState.DONE}
    assert (world.files / "o").exists()


def test_a_deleted_size_needs_no_repair(world) -> None:
    world.swept("size")
    put(world.files, "o", b"original")
    world.has("o", "a.png", sizes=("size",))
    survey = world.find()
    assert (originals(survey), survey.sizes) == ([], 1)


@pytest.mark.parametrize("knows_all_keys", [True, False])
def test_a_key_that_pictrs_does_not_tell_is_reported_and_never_guessed(world, knows_all_keys) -> None:
    world.knows_all_keys = knows_all_keys
    world.swept("o")
    survey = world.find()
    assert originals(survey) == []
    if knows_all_keys:
        assert (survey.forgotten, survey.unresolved) == (1, {})
    else:
        assert (survey.forgotten, survey.unresolved) == (0, {"o": "no such picture"})


def test_what_was_deleted_says_nothing_about_which_storage_this_is(world) -> None:
    world.swept("o", "another")
    world.find()
    assert world.known_gone == {"o", "another"}


@pytest.mark.parametrize("look", ["of_deleted", "of_all"])
def test_nothing_is_found_in_another_storage(world, look) -> None:
    world.swept("o")
    world.has("o", "a.png")
    world.elsewhere = True
    with pytest.raises(PictrsElsewhere):
        getattr(world.repairer.missing, look)()


def test_nothing_is_found_while_the_storage_is_not_mounted(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    (world.files / "bystander").unlink()
    world.unmounted = True
    with pytest.raises(StorageUnreachable, match="is empty"):
        world.find()


def test_repairs_without_a_person_stay_within_the_limits_and_do_not_trip_the_breaker(tmp_path, caplog) -> None:
    world = World(tmp_path, first=4)
    with world.ledger:
        for number in range(6):
            world.swept(f"o{number}")
            world.has(f"o{number}", f"{number}.png")
        ended = list(world.repair().values())
        assert sorted(ended) == sorted([ActionState.DONE] * 4 + [Wait.BREAKER] * 2)
        assert not world.ledger.breaker.state().is_tripped
        assert world.repairer.guard.room() == 0
        assert list(world.repair().values()) == [Wait.BREAKER] * 2
        assert caplog.text == ""  # the command says it once


def test_repairs_that_a_person_approved_are_not_counted(tmp_path) -> None:
    world = World(tmp_path, first=2)
    with world.ledger:
        for number in range(3):
            world.swept(f"o{number}")
            world.has(f"o{number}", f"{number}.png")
        assert set(world.repair(approved=True).values()) == {ActionState.DONE}
        assert world.repairer.guard.room() == 2


def test_a_tripped_breaker_holds_repairs_without_a_person(world) -> None:
    world.swept("o")
    world.has("o", "a.png")
    world.ledger.breaker.trip("person", "no")
    assert world.repair() == {"o": Wait.BREAKER}
    assert world.pictrs.purged == []
    assert world.repair(approved=True) == {"o": ActionState.DONE}


def test_a_picture_with_many_names_waits_for_a_person(world) -> None:
    world.swept("o")
    world.has("o", *(f"{number}.png" for number in range(6)))
    assert world.repair() == {"o": Wait.PERSON}
    assert world.pictrs.purged == []
    assert world.purges("o").repair_at is None  # it is not counted
    assert world.repair(approved=True) == {"o": ActionState.DONE}


@pytest.mark.parametrize("error", [PictrsUnreachable("down"), PictrsReadOnly("read-only")])
def test_what_pictrs_did_not_do_is_done_by_the_next_repair(world, error) -> None:
    for key in ("o1", "o2", "o3"):
        world.swept(key)
        world.has(key, f"{key}.png")
    survey = world.find()

    def fail_later() -> None:
        if world.pictrs.purged:
            world.pictrs.error = error

    world.pictrs.before_purge = fail_later
    with pytest.raises(type(error)):
        world.repair(survey)
    assert len(world.pictrs.purged) == 1
    world.pictrs.before_purge = lambda: None
    world.pictrs.error = None
    assert world.repair() == dict.fromkeys(("o1", "o2", "o3"), ActionState.DONE)
    assert world.pictrs.pictures == {}


def test_an_error_about_one_picture_leaves_the_others_their_turn(world) -> None:
    for key in ("o1", "o2"):
        world.swept(key)
        world.has(key, f"{key}.png")

    def fail_once() -> None:
        world.pictrs.before_purge = lambda: None
        raise PictrsError("pict-rs answers 500.")

    world.pictrs.before_purge = fail_once
    assert sorted(world.repair().values()) == sorted([ActionState.INTENDED, ActionState.DONE])
    assert ActionState.DONE in world.repair().values()
    assert world.pictrs.pictures == {}


@pytest.mark.parametrize("moment", ["before the request", "after the request"])
def test_a_repair_that_was_killed_is_finished_by_the_next(world, moment) -> None:
    world.swept("o")
    world.has("o", "a.png")

    def kill() -> None:
        if moment == "after the request":
            world.pictrs.forget("o")
        raise Killed

    world.pictrs.before_purge = kill
    with pytest.raises(Killed):
        world.repair()
    world.pictrs.before_purge = lambda: None
    survey = world.find()
    assert survey.broken[0].begun is not None
    assert world.repair(survey) == {"o": ActionState.DONE}
    assert (world.purges("o"), originals(world.find())) == (None, [])


def test_a_stop_leaves_the_rest_untouched(world) -> None:
    for key in ("o1", "o2"):
        world.swept(key)
        world.has(key, f"{key}.png")
    stops = iter([False, True])
    reports = world.repairer.carry_out(world.find().broken, approved=True, wait=lambda _: next(stops, True))
    assert [report.result.wait for report in reports] == [Wait.REMOVAL]
    assert len(world.pictrs.pictures) == 1


def whole_store(world: World, present: int, *, missing: int = 0, swept: int = 0) -> None:
    for number in range(present):
        world.has(f"p{number}", f"p{number}.png")
        put(world.files, f"p{number}", b"x")
    for number in range(missing):
        world.has(f"m{number}", f"m{number}.png")
    for number in range(swept):
        world.swept(f"s{number}")
        world.has(f"s{number}", f"s{number}.png")


def test_a_look_at_everything_finds_what_others_deleted_and_what_we_did(world) -> None:
    whole_store(world, 198, missing=2, swept=30)
    survey = world.repairer.missing.of_all()
    assert len(survey.broken) == 32
    assert survey.by_hand == 2
    assert set(world.repair(survey).values()) == {ActionState.DONE}
    assert len(world.pictrs.pictures) == 198


@pytest.mark.parametrize(
    ("present", "missing", "said"),
    [(19, 0, "Only 19 of the 19"), (98, 1, "1 of the 99 originals"), (100, 100, "100 of the 200 originals")],
)
def test_much_that_is_missing_is_another_storage_or_half_of_one(world, present, missing, said) -> None:
    whole_store(world, present, missing=missing)
    with pytest.raises(ActionRefused, match=said) as refused:
        world.repairer.missing.of_all()
    assert "mounted and whole" in refused.value.hint


def test_a_list_that_pictrs_cannot_show_whole_is_reported(world) -> None:
    whole_store(world, 20)
    world.hidden = True
    assert world.repairer.missing.of_all().hidden


def legacy(world: World, *keys: str) -> None:
    """Pictures that only the whole list leads to, each on a page of its own."""
    for key in keys:
        world.swept(key)
        world.has(f"new {key}", f"{key}.png")
        moved = world.pictrs.pictures[f"new {key}"]
        world.pictrs.pictures[f"new {key}"] = replace(moved, sha256=sha256_of(key))
        world.pages.append([f"new {key}"])


def test_keys_that_were_moved_are_found_in_the_whole_list(world) -> None:
    legacy(world, "o1", "o2")
    assert originals(world.find()) == []
    told: list[str] = []
    survey = world.find(whole_list=True, tell=told.append)
    assert sorted(originals(survey)) == ["new o1", "new o2"]
    assert survey.unresolved == {}
    assert "can load the server for hours" in told[0]
    assert set(world.repair(survey).values()) == {ActionState.DONE}
    assert world.find(whole_list=True).unresolved == {}


def test_a_moved_picture_whose_original_is_there_is_left_alone(world) -> None:
    legacy(world, "o1")
    put(world.files, "new o1", b"uploaded again")
    survey = world.find(whole_list=True)
    assert (originals(survey), survey.present) == ([], 1)


def test_a_walk_over_the_whole_list_goes_on_where_it_was_interrupted(world) -> None:
    legacy(world, "o1", "o2", "o3")
    pages, list_page = [], world.hashes

    def interrupted(**question) -> HashPage:
        page = list_page(**question)
        if len(pages) == 2:
            raise Killed
        pages.append(page.current)
        return page

    world.hashes = interrupted
    with pytest.raises(Killed):
        world.find(whole_list=True)
    pages.clear()
    told: list[str] = []
    survey = world.find(whole_list=True, tell=told.append)
    assert sorted(originals(survey)) == ["new o1", "new o2", "new o3"]
    assert pages[0] != "0"
    assert "goes on where the last run stopped" in told[0]
