"""Caches are told of each removed name at least once, and of nothing else. A real ledger; the cache is pretended."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.ledger.created import new_ledger
from support.ledger.results import STORAGE

from lemmy_safety.actions.caches import Caches
from lemmy_safety.ledger import PurgeAlias
from lemmy_safety.records import PurgeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class World:
    def __init__(self, folder: Path) -> None:
        self.ahead = timedelta()
        self.ledger = new_ledger(folder / "ledger.db", clock=lambda: datetime.now(UTC) + self.ahead)
        self.told: list[str] = []
        self.failing: set[str] = set()
        self.is_stopped = False
        self.caches = Caches(ledger=self.ledger, storage=STORAGE, hook=self)

    def tell(self, alias: str, stopped: Callable[[], bool]) -> str | None:
        self.told.append(alias)
        if alias == "stops":
            self.is_stopped = True
        return "the answer is 500" if alias in self.failing or stopped() else None

    def news(self) -> list[str]:
        self.told.clear()
        self.caches.tell(lambda _: self.is_stopped)
        return list(self.told)

    def removed(self, *aliases: str, state: PurgeState = PurgeState.GONE, storage: str = STORAGE) -> None:
        names = [PurgeAlias(name) for name in aliases]
        planned = self.ledger.purges.plan(storage, sha256=None, original=f"of {aliases}", aliases=names, keys=[])
        if state in {PurgeState.GONE, PurgeState.FAILED}:
            self.ledger.purges.end(planned.id, state)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def test_each_removed_name_is_told_once(world) -> None:
    world.removed("a.png", "b.png")
    assert world.news() == ["a.png", "b.png"]
    assert world.news() == []


def test_nothing_is_told_of_what_is_still_there_or_elsewhere(world) -> None:
    world.removed("planned.png", state=PurgeState.PLANNED)
    world.removed("failed.png", state=PurgeState.FAILED)
    world.removed("elsewhere.png", storage="file:///elsewhere")
    assert world.news() == []


def test_what_failed_is_told_again_the_next_time(world, caplog) -> None:
    world.removed("a.png", "b.png")
    world.failing = {"a.png"}
    with caplog.at_level(logging.WARNING):
        assert world.news() == ["a.png", "b.png"]
    assert "REMOVED_HOOK failed alias='a.png': the answer is 500" in caplog.text
    world.failing.clear()
    assert world.news() == ["a.png"]


def test_a_cache_that_is_down_does_not_hold_up_a_pass(world, caplog) -> None:
    names = [f"{number}.png" for number in range(9)]
    world.removed(*names)
    world.failing = set(names)
    with caplog.at_level(logging.WARNING):
        assert world.news() == names[:3]
    assert "6 more wait for the next pass" in caplog.text
    world.failing.clear()
    assert sorted(world.news()) == names


def test_names_that_always_fail_do_not_hold_up_the_others(world) -> None:
    world.removed("healthy-but-old.png")
    world.removed("1.png", "2.png", "3.png")
    world.failing = {"1.png", "2.png", "3.png"}
    assert world.news() == ["1.png", "2.png", "3.png"]
    assert world.news() == ["healthy-but-old.png", "1.png", "2.png", "3.png"]
    world.removed("new.png")
    assert world.news()[0] == "new.png"


def test_what_was_removed_more_than_a_week_ago_is_in_no_cache(world) -> None:
    world.removed("a.png")
    world.ahead = timedelta(days=7, minutes=1)
    world.removed("b.png")
    assert world.news() == ["b.png"]


def test_a_stop_leaves_the_rest_for_the_next_time(world, caplog) -> None:
    world.removed("a.png", "stops", "z.png")
    with caplog.at_level(logging.WARNING):
        assert world.news() == ["a.png", "stops"]
    assert caplog.text == ""
    world.is_stopped = False
    world.told.clear()
    assert world.news() == ["stops"]
    assert world.is_stopped
