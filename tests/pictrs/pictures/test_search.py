"""Where the search by the time in a key looks, over hours of uploads.

pict-rs's list is imitated, in the order and with the answers that ``tests/e2e/test_pictrs_pictures.py`` sees of real
servers: no real one can be made to have taken uploads for hours.
"""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from lemmy_safety.errors import PictrsError
from lemmy_safety.pictrs.api.answers import HashEntry, HashPage
from lemmy_safety.pictrs.api.walking import walk
from lemmy_safety.pictrs.hashes import StoredHash
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.pictrs.pictures.by_api import ApiFinder
from lemmy_safety.pictrs.pictures.records import Found, Unresolved

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Upload:
    """An upload whose key was drawn, file examined and row written so many seconds after noon."""

    number: int
    drawn_s: float
    examined_s: float
    written_s: float

    @property
    def key(self) -> str:
        return make_key(NOON + timedelta(seconds=self.drawn_s), self.number, ".png")

    @property
    def hash(self) -> StoredHash:
        return StoredHash(hashlib.sha256(str(self.number).encode()).digest() + bytes(6) + b"\7")

    @property
    def entry(self) -> HashEntry:
        examined = NOON + timedelta(seconds=self.examined_s)
        return HashEntry(hash=self.hash, aliases=(f"{self.number}.png",), created_at=examined)


class Listed:
    """The questions that the search asks, answered from a list. ``on_postgres``: "nothing is older" is the newest page."""

    def __init__(
        self, uploads: list[Upload], *, on_postgres: bool = False, broken: frozenset[int] = frozenset()
    ) -> None:
        self.rows = sorted(uploads, key=lambda row: (row.written_s, row.hash.raw), reverse=True)
        self.ages = [-row.written_s for row in self.rows]
        self.on_postgres = on_postgres
        self.broken = broken
        self.sent = 0

    def hashes(self, *, limit: int, slug: str | None = None, older_than: datetime | None = None) -> HashPage:
        self.sent += 1
        first = 0
        if slug is not None:
            first = next((at for at, row in enumerate(self.rows) if row.hash.slug == slug), 0)
        if older_than is not None:
            after_noon_s = (older_than - NOON).total_seconds()
            first = bisect.bisect_right(self.ages, -after_noon_s)
            if self.on_postgres and first == len(self.rows):
                first = 0
        shown, rest = self.rows[first : first + limit], self.rows[first + limit :]
        if any(row.number in self.broken for row in shown):
            raise PictrsError("pict-rs answers 500.")
        return HashPage(
            entries=tuple(row.entry for row in shown),
            current=shown[0].hash.slug if shown else None,
            next=rest[0].hash.slug if rest else None,
        )

    def identifier(self, alias: str) -> str | None:
        self.sent += 1
        return next((row.key for row in self.rows if f"{row.number}.png" == alias), None)

    def aliases(self, alias: str) -> tuple[str, ...]:
        self.sent += 1
        return (alias,)


def look_for(listed: Listed, upload: Upload) -> Found | Unresolved:
    return ApiFinder(listed).by_keys({upload.key: upload.hash.sha256})[upload.key]


def quick(number: int, drawn_s: float) -> Upload:
    return Upload(number, drawn_s, drawn_s + 0.4, drawn_s + 0.5)


@pytest.mark.parametrize("on_postgres", [False, True])
@given(data=st.data())
def test_an_upload_is_found_however_long_its_validation_took(on_postgres, data):
    """Within pict-rs's own limits, at any rate of uploads, first or last."""
    gap = data.draw(st.sampled_from([0.01, 0.3, 5.0, 900.0]), label="seconds between uploads")
    delays = data.draw(st.lists(st.floats(0, 145), min_size=1, max_size=250), label="seconds of validation")
    uploads = [
        Upload(number, number * gap, number * gap + 0.4, number * gap + 0.5 + delay)
        for number, delay in enumerate(delays)
    ]
    wanted = data.draw(st.sampled_from(uploads), label="wanted")
    found = look_for(Listed(uploads, on_postgres=on_postgres), wanted)
    assert isinstance(found, Found), found
    assert found.picture.original == wanted.key


@pytest.mark.parametrize("on_postgres", [False, True])
@pytest.mark.parametrize("every_s", [0.01, 1.0, 60.0])
def test_the_number_of_requests_does_not_grow_with_the_store(on_postgres, every_s):
    """A page or a few, and two to confirm, also for the oldest of 5,000."""
    uploads = [quick(number, number * every_s) for number in range(5_000)]
    for wanted in (uploads[0], uploads[2_500], uploads[-1]):
        listed = Listed(uploads, on_postgres=on_postgres)
        assert isinstance(look_for(listed, wanted), Found)
        assert listed.sent <= (3 if every_s >= 1 else 10)


def test_what_is_in_no_list_is_not_looked_for_without_end():
    """A thumbnail: its time is known, its bytes are not listed."""
    uploads = [quick(number, float(number)) for number in range(5_000)]
    listed = Listed(uploads)
    answer = look_for(listed, quick(9_999, 2_500.5))
    assert isinstance(answer, Unresolved)
    assert "another size of a picture" in answer.reason
    assert listed.sent <= 20


def test_more_pictures_than_users_upload_are_given_up_and_that_is_said(monkeypatch):
    monkeypatch.setattr("lemmy_safety.pictrs.pictures.by_api._MOST_PAGES", 5)
    uploads = [quick(number, number * 0.01) for number in range(5_000)]
    answer = look_for(Listed(uploads), quick(9_999, 25.0))
    assert isinstance(answer, Unresolved)
    assert "more than 500 pictures of that time" in answer.reason


@given(st.sets(st.integers(0, 29), max_size=6), st.integers(0, 29), st.booleans())
def test_broken_pictures_hide_nothing_else(broken, wanted, on_postgres):
    """Whichever pages they make fail; and the broken one itself is not called absent."""
    uploads = [quick(number, number * 2.0) for number in range(30)]
    answer = look_for(Listed(uploads, on_postgres=on_postgres, broken=frozenset(broken)), uploads[wanted])
    if wanted in broken:
        assert isinstance(answer, Unresolved)
        assert "fails to list some pictures of that time" in answer.reason
    else:
        assert isinstance(answer, Found), answer


@pytest.mark.long
@pytest.mark.parametrize("on_postgres", [False, True])
@pytest.mark.parametrize("written_s", [10.6, 12.0, 20.0, 24.7, 60.0, 140.0])
def test_a_slow_upload_among_many_is_found(on_postgres, written_s):
    """Its row lies behind thousands of others, between two looks or beyond the first."""
    wanted = Upload(99_999, 10.0, 10.4, written_s)
    uploads = [wanted, *(quick(number, number * 0.01) for number in range(20_000))]
    assert isinstance(look_for(Listed(uploads, on_postgres=on_postgres), wanted), Found)


def test_on_postgres_the_oldest_is_found_among_many():
    """Nothing is older than its key, which the newest page stands for."""
    wanted = Upload(9_999, 0.0, 0.4, 2.005)
    uploads = [wanted, *(quick(number, 0.001 + number * 0.01) for number in range(300))]
    assert isinstance(look_for(Listed(uploads, on_postgres=True), wanted), Found)


def test_what_is_in_no_list_does_not_cost_what_is_older():
    """The key's own place in the list ends the search, however many came in the minutes before."""
    listed = Listed([quick(number, number * 0.01) for number in range(20_000)])
    assert isinstance(look_for(listed, quick(99_999, 195.0)), Unresolved)
    assert listed.sent <= 20


@pytest.mark.parametrize("on_postgres", [False, True])
@pytest.mark.parametrize("broken", [{13}, {14}, {12, 13, 14}, {11, 13, 15}, {16, 29}, set(range(11, 30))])
def test_pictures_below_broken_ones_are_found(on_postgres, broken):
    """Between the moment from which it is searched and the picture, one or several in a row."""
    uploads = [quick(number, number * 2.0) for number in range(30)]
    listed = Listed(uploads, on_postgres=on_postgres, broken=frozenset(broken))
    assert isinstance(look_for(listed, uploads[10]), Found)


@pytest.mark.parametrize("on_postgres", [False, True])
@pytest.mark.parametrize("every_s", [0.7, 400.0])
@settings(max_examples=examples(20))
@given(broken=st.sets(st.integers(0, 149), min_size=1, max_size=8))
def test_a_walk_shows_all_but_the_broken_pictures_and_ends(on_postgres, every_s, broken):
    """Wherever they are in the list, first, last or several in a row."""
    now = datetime.now(UTC) - NOON
    uploads = [quick(number, now.total_seconds() - (150 - number) * every_s) for number in range(150)]
    listed = Listed(uploads, on_postgres=on_postgres, broken=frozenset(broken))
    stretches = list(walk(listed))
    shown = {int(name.partition(".")[0]) for each in stretches for entry in each.entries for name in entry.aliases}
    assert shown == set(range(150)) - broken
    assert any(each.hidden for each in stretches)
    assert listed.sent < 100 * (1 + len(broken))
