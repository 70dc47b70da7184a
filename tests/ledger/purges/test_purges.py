"""Removals through pict-rs on record: what goes with a picture, and how far each has got."""

from __future__ import annotations

import pytest
from support.ledger.results import NOON, STORAGE, flagged, record, sha256_of

from lemmy_safety.ledger import PurgeAlias
from lemmy_safety.records import ActionState, PurgeState

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


def acted(ledger, key, action="delete", state=ActionState.DONE, storage=STORAGE) -> None:
    (pending,) = record(ledger, [flagged(key)], action=action, storage=storage)
    if state is not ActionState.INTENDED:
        ledger.actions.finish(pending.id, state)


def test_files_that_were_deleted_without_pictrs_are_known(ledger) -> None:
    """Not those that are only to be deleted, were moved aside, or lie in another storage."""
    acted(ledger, "deleted")
    acted(ledger, "moved", "quarantine")
    acted(ledger, "waits", state=ActionState.INTENDED)
    acted(ledger, "refused", state=ActionState.REFUSED)
    acted(ledger, "elsewhere", storage="file:///elsewhere")
    assert ledger.purges.deleted_files(STORAGE) == {"deleted": sha256_of("deleted")}


@pytest.mark.parametrize("state", [PurgeState.GONE, PurgeState.FAILED])
def test_a_deleted_file_stays_on_that_list_until_its_picture_is_gone(ledger, state) -> None:
    acted(ledger, "deleted")
    planned = plan(ledger, keys=("deleted",))
    assert list(ledger.purges.deleted_files(STORAGE)) == ["deleted"]
    ledger.purges.end(planned.id, state)
    assert list(ledger.purges.deleted_files(STORAGE)) == ([] if state is PurgeState.GONE else ["deleted"])


@pytest.mark.parametrize("approved", [True, False])
def test_repairs_count_like_actions_unless_a_person_approved_them(ledger, approved) -> None:
    plan(ledger, "an action's")
    planned = plan(ledger, "o")
    for _ in range(2):
        with ledger.breaker.repair_turn(planned.id) as turn:
            turn.start(approved=approved)
    assert ledger.breaker.started(NOON) == ((0, 0) if approved else (1, 1))
    assert ledger.breaker.started(ledger.database.now())[0] == 0
    (begun,) = ledger.purges.repairs(STORAGE)
    assert (begun.id, begun.approved, begun.repair_at is not None) == (planned.id, approved, True)
    ledger.purges.end(planned.id, PurgeState.GONE)
    assert ledger.purges.repairs(STORAGE) == []
    assert ledger.breaker.started(NOON) == ((0, 0) if approved else (1, 1))


def test_repairs_leave_less_room_for_actions(ledger) -> None:
    planned = plan(ledger)
    with ledger.breaker.repair_turn(planned.id) as turn:
        turn.start(approved=False)
    (pending,) = record(ledger, [flagged("another")])
    with ledger.breaker.turn(pending.id) as turn:
        assert (turn.started_since(NOON), turn.started_in_all()) == (1, 1)
