"""Every action that was ever wanted keeps its row, whatever becomes of its object."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import select
from support.ledger.old_ledgers import insert, old_ledger
from support.ledger.results import DECODER, STORAGE, checked, failed, flagged, record, row_of, sha256_of, stored

from lemmy_safety.errors import LedgerDamaged
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.schema.tables import actions
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Review


def states(ledger) -> list[tuple[str | None, ActionState, str]]:
    """Kind, state and detail of all actions, in the order in which they were wanted."""
    with ledger.database.engine.connect() as connection:
        query = select(actions.c.kind, actions.c.state, actions.c.detail).order_by(actions.c.id)
        return [tuple(row) for row in connection.execute(query)]


def test_an_object_has_several_actions_over_time(ledger) -> None:
    """Deleted, uploaded again under the same key, flagged again, deleted again."""
    (first,) = record(ledger, [flagged("a")])
    ledger.actions.finish(first.id, ActionState.DONE, "deleted")
    (second,) = record(ledger, [flagged("a")])
    assert second.id != first.id
    assert row_of(ledger, "a").action_state is ActionState.INTENDED
    assert not ledger.actions.is_intended(first.id)
    assert ledger.actions.is_intended(second.id)
    assert states(ledger) == [("delete", ActionState.DONE, "deleted"), ("delete", ActionState.INTENDED, "")]


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (checked("a"), "judged again, not flagged"),
        (failed("a", ItemStatus.UNREADABLE, sha256=sha256_of("other")), "content or reason changed"),
        (flagged("a"), "decided again"),
    ],
)
def test_an_action_that_is_not_wanted_any_more_is_dropped(ledger, later, why) -> None:
    """It can still say that it was done, because it may have been under way; that says nothing of the new judgement."""
    (pending,) = record(ledger, [flagged("a")])
    again = record(ledger, [later])
    assert states(ledger)[0] == ("delete", ActionState.DROPPED, why)
    assert not ledger.actions.is_intended(pending.id)
    ledger.actions.finish(pending.id, ActionState.DONE, "deleted")
    assert states(ledger)[0] == ("delete", ActionState.DONE, "deleted")
    found = ledger.actions.unfinished(STORAGE)
    assert found == again
    events = [event.detail for event in ledger.reviews.history("a") if event.kind == "done"]
    assert events == [{"action": "delete", "detail": "deleted", "judged_anew_meanwhile": True}]


def test_a_failed_action_is_tried_again_as_the_same_one(ledger) -> None:
    """A daemon that tries every half a minute does not fill the table."""
    (pending,) = record(ledger, [flagged("a")])
    for _ in range(3):
        ledger.actions.finish(pending.id, ActionState.FAILED, "no permission")
        assert ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")) == [pending]
    assert states(ledger) == [("delete", ActionState.INTENDED, "")]


def test_what_a_person_cleared_is_dropped(ledger) -> None:
    """The object has no action then."""
    record(ledger, [flagged("a")])
    ledger.reviews.decide(["a"], Review.CLEARED)
    assert states(ledger) == [("delete", ActionState.DROPPED, "cleared by a human")]
    assert row_of(ledger, "a").action_state is ActionState.NONE


def test_an_approval_follows_the_bytes_and_not_the_key(ledger) -> None:
    """Judged again before it was carried out, the same bytes need no second approval; other bytes do."""
    record(ledger, [flagged("a"), flagged("b")])
    ledger.actions.approve([row_of(ledger, key).action_id for key in ("a", "b")])
    record(ledger, [flagged("a"), flagged("b", "other")])
    assert {row.key: row.action_approved for row in ledger.reviews.flagged()} == {"a": True, "b": False}


FORMER = {
    "intended": ("delete", ActionState.INTENDED),
    "done": ("delete", ActionState.DONE),
    "refused": ("delete", ActionState.REFUSED),
    "failed": ("delete", ActionState.FAILED),
    "unknown": (None, ActionState.UNKNOWN),
}


def make_former(url: str) -> None:
    """As the schema 0008 kept actions, in columns of the object: one object of each state."""
    with old_ledger(url, "0008") as connection:
        insert(connection, "storages", id=2, name=STORAGE)
        for state, (kind, _) in {**FORMER, "none": (None, None)}.items():
            obj = stored(state)
            insert(
                connection,
                "images",
                storage_id=2,
                key=state,
                size=obj.size,
                modified_at=obj.modified_at,
                etag=obj.etag,
                sha256=bytes.fromhex(sha256_of(state)),
                status="checked",
                outcome="flagged",
                findings="[]",
                detectors="clip,hashes",
                decoder=DECODER,
                rules_version="rules-1",
                origin="scan",
                review="none",
                action_wanted=kind,
                action_state=state,
                action_at=obj.modified_at,
                action_detail=f"is {state}",
            )


def test_actions_of_earlier_versions_are_kept(url) -> None:
    """Each with its state, time and detail; what was intended is carried out."""
    make_former(url)
    for _ in range(2):
        with open_ledger(url) as ledger:
            rows = {row.key: row for row in ledger.reviews.flagged(include_settled=True)}
            found = {
                key: (row.action_wanted, row.action_state, row.action_detail, row.action_at)
                for key, row in rows.items()
                if row.action_id is not None
            }
            assert found == {key: (*former, f"is {key}", stored(key).modified_at) for key, former in FORMER.items()}
            assert rows["none"].action_state is ActionState.NONE
            (pending,) = ledger.actions.unfinished(STORAGE)
            assert (pending.obj, pending.action, pending.sha256) == (
                stored("intended"),
                "delete",
                sha256_of("intended"),
            )
            assert ledger.objects.retryable(STORAGE, 10) == ["refused"]
            with ledger.database.engine.connect() as connection:
                subjects = connection.execute(select(actions.c.subject).order_by(actions.c.id)).scalars().all()
            assert sorted(subjects) == sorted(sha256_of(state) for state in FORMER)


def test_an_upgrade_that_would_lose_rows_is_not_made(tmp_path) -> None:
    """A database damaged by other hands: an object of a storage that is not there."""
    url = sqlite_url(tmp_path / "a.db")
    with old_ledger(url, "0008") as connection:
        insert(connection, "storages", id=2, name=STORAGE)
        insert(connection, "images", storage_id=2, key="a", status="checked", action_state="none")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("DELETE FROM storages WHERE id = 2")
        database.commit()
    for _ in range(2):
        with pytest.raises(LedgerDamaged, match="Rows of the table images refer to rows of storages"):
            open_ledger(url)
