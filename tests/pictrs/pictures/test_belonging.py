"""Whether a storage is that of a pict-rs, from what both have; the list of pictures is pretended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lemmy_safety.errors import PictrsElsewhere
from lemmy_safety.pictrs.api.answers import HashEntry, HashPage
from lemmy_safety.pictrs.hashes import StoredHash
from lemmy_safety.pictrs.pictures.belonging import check_belonging, check_same, ensure_shown


class Pages:
    """A pict-rs with these pictures, newest first; alias and original have the same name."""

    url = "http://pictrs.example"

    def __init__(self, names: list[str], *, page: int = 100) -> None:
        self.names = names
        self.page = page

    def hashes(self, *, limit: int, slug: str | None = None, older_than: datetime | None = None) -> HashPage:
        assert older_than is None
        start = int(slug or 0)
        later = start + min(limit, self.page)
        entries = [
            HashEntry(hash=StoredHash(bytes(39)), aliases=(name,), created_at=datetime(2026, 1, 1, tzinfo=UTC))
            for name in self.names[start:later]
        ]
        return HashPage(
            entries=tuple(entries), current=str(start), next=str(later) if later < len(self.names) else None
        )

    def identifier(self, alias: str) -> str | None:
        return alias


NAMES = [f"{number:03}" for number in range(60)]


def test_the_newest_pictures_are_looked_for() -> None:
    asked: list[str] = []
    assert check_belonging(Pages(NAMES), lambda key: not asked.append(key)) == (20, 20)
    assert asked == NAMES[:20]


def test_a_batch_of_new_pictures_that_were_deleted_by_hand_is_passed_over() -> None:
    assert check_belonging(Pages(NAMES), lambda key: key >= "030") == (20, 50)


def test_none_of_a_hundred_is_another_storage() -> None:
    names = [f"{number:03}" for number in range(200)]
    with pytest.raises(PictrsElsewhere, match="none of 100"):
        check_belonging(Pages(names), lambda key: key == "100")


def test_none_of_all_is_another_storage() -> None:
    with pytest.raises(PictrsElsewhere, match="none of 60"):
        check_belonging(Pages(NAMES), lambda _: False)


def test_deleted_originals_show_nothing_and_older_ones_are_looked_for() -> None:
    gone = NAMES[:30]
    assert check_belonging(Pages(NAMES, page=10), lambda key: key not in gone, known_gone=gone) == (20, 20)


def test_with_nothing_but_deleted_originals_nothing_is_shown() -> None:
    assert check_belonging(Pages(NAMES), lambda _: False, known_gone=NAMES) == (0, 0)


def test_a_large_list_is_not_read_to_its_end() -> None:
    many = [str(number) for number in range(5000)]
    assert check_belonging(Pages(many), lambda _: True, known_gone=many[:1500]) == (0, 0)


class Database:
    """Knows these aliases."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def by_alias(self, alias: str):
        return alias if alias in self.names else None


def test_before_a_removal_it_has_to_be_shown() -> None:
    """A pict-rs without a picture is perhaps a new one beside the one that is meant."""
    ensure_shown(Pages(NAMES), lambda _: True)
    with pytest.raises(PictrsElsewhere, match="no picture that shows"):
        ensure_shown(Pages([]), lambda _: True)


def test_the_database_has_to_be_that_of_the_same_pictrs() -> None:
    ensure_shown(Pages(NAMES), lambda _: True, database=Database("000"))
    check_same(Pages([]), Database())
    with pytest.raises(PictrsElsewhere, match="PICTRS_DATABASE_URL is not the database of the pict-rs"):
        ensure_shown(Pages(NAMES), lambda _: True, database=Database("030"))
