"""Removals through pict-rs on record: what goes with a picture, and how far each has got."""

from __future__ import annotations

import pytest
from support.ledger.results import STORAGE

from lemmy_safety.ledger import PurgeAlias
from lemmy_safety.records import PurgeState

_SHA256 = "ab" * 32


def plan(ledger, original="o", *, aliases=("a.png",), keys=(), sha256=_SHA256):
    return ledger.purges.plan(
        STORAGE, sha256=sha256, original=original, aliases=[PurgeAlias(name) for name in aliases], keys=keys
    )


def test_what_goes_is_on_record_before_anything_is_asked(ledger) -> None:
    planned = plan(ledger, aliases=("b.png", "a.png"), keys=("size", "still"))
    assert planned.state is PurgeState.PLANNED
    assert (planned.original, planned.keys) == ("o", ("o", "size", "still"))
    assert [alias.name for alias in planned.aliases] == ["a.png", "b.png"]
    assert (planned.sent_at, planned.tries) == (None, 0)


@pytest.mark.parametrize("key", ["o", "size"])
def test_every_object_of_a_picture_belongs_to_its_one_removal(ledger, key) -> None:
    planned = plan(ledger, keys=("size",))
    assert ledger.purges.open_for(STORAGE, key) == planned
    assert ledger.purges.open_for(STORAGE, "another") is None
    assert ledger.purges.open_for("file:///elsewhere", key) is None


def test_a_picture_planned_again_keeps_its_removal_and_gets_the_new_names(ledger) -> None:
    first = plan(ledger, aliases=("a.png",), keys=("size",))
    again = plan(ledger, aliases=("a.png", "b.png"), keys=("still",))
    assert again.id == first.id
    assert [alias.name for alias in again.aliases] == ["a.png", "b.png"]
    assert again.keys == ("o", "size", "still")


def test_the_origin_of_a_proxied_picture_is_kept(ledger) -> None:
    aliases = [PurgeAlias("a.png", "https://example.org/\0x.png")]
    planned = ledger.purges.plan(STORAGE, sha256=None, original="o", aliases=aliases, keys=[])
    again = ledger.purges.add_aliases(planned.id, ["b.png", "a.png"])
    assert again.aliases == (PurgeAlias("a.png", "https://example.org/�x.png"), PurgeAlias("b.png"))


def test_each_accepted_request_counts(ledger) -> None:
    planned = plan(ledger)
    once = ledger.purges.sent(planned.id)
    twice = ledger.purges.sent(planned.id)
    assert (once.state, once.tries, twice.tries) == (PurgeState.SENT, 1, 2)
    assert once.sent_at is not None
    assert twice.sent_at >= once.sent_at
    assert ledger.purges.open_for(STORAGE, "o") == twice


@pytest.mark.parametrize("state", [PurgeState.GONE, PurgeState.FAILED])
def test_an_ended_removal_is_over_and_the_same_picture_can_be_removed_again(ledger, state) -> None:
    first = plan(ledger)
    ledger.purges.end(first.id, state)
    assert ledger.purges.open_for(STORAGE, "o") is None
    assert plan(ledger).id != first.id


@pytest.mark.parametrize("state", [PurgeState.PLANNED, PurgeState.SENT])
def test_a_removal_ends_as_gone_or_failed(ledger, state) -> None:
    planned = plan(ledger)
    with pytest.raises(ValueError, match="cannot end as"):
        ledger.purges.end(planned.id, state)


def test_bytes_that_come_back_are_counted(ledger) -> None:
    """A proxied picture is fetched again at the next view; its key is a new one each time."""
    for turn, key in enumerate(["first", "second", "third"]):
        planned = plan(ledger, key)
        assert ledger.purges.earlier(planned) == turn
        ledger.purges.end(planned.id, PurgeState.GONE)
    other = plan(ledger, "other", sha256="cd" * 32)
    assert ledger.purges.earlier(other) == 0
    unnamed = plan(ledger, "unnamed", sha256=None)
    assert ledger.purges.earlier(unnamed) == 0


def test_names_of_any_number_and_shape_are_kept(ledger) -> None:
    names = [f"{number}.png" for number in range(1200)] + ["%2e'\"", "x" * 1000, "ü \N{FIRE}"]
    planned = plan(ledger, aliases=names)
    assert {alias.name for alias in planned.aliases} == set(names)
