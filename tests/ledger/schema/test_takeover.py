"""An ancestor's database becomes ours in place: nothing is lost, nothing is claimed that it did not say."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from support.ledger.legacy import FIRST_SEEN, write_ancestor_database
from support.ledger.results import RULES, STORAGE, checked, failed, flagged, record, row_of, stored

from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import LEGACY, EventKind, Known, open_ledger, sqlite_url
from lemmy_safety.records import ActionPlan, ActionState, ItemStatus, Outcome, Review

ROWS = [
    ("01/clear.webp", None, False),
    ("01/nude.webp", True, False),
    ("01/flagged.webp", None, True),
    ("01/failed.webp", None, None),
    ("01/ü \N{CAT FACE}'.webp", False, True),
]


@pytest.fixture
def taken_over(tmp_path):
    path = write_ancestor_database(tmp_path / "lemmy_safety.db", ROWS)
    with open_ledger(sqlite_url(path)) as opened:
        yield opened


def look_up(ledger, *keys):
    return ledger.objects.known(STORAGE, [stored(key) for key in keys], RULES)


def test_its_rows_still_dedup_by_key(taken_over) -> None:
    """In any storage, for any detectors; only what it recorded for failed downloads is read."""
    assert look_up(taken_over, *(row[0] for row in ROWS), "01/new.webp") == {
        row[0]: Known.SETTLED for row in ROWS if row[0] != "01/failed.webp"
    }


def test_its_flagged_rows_are_listed_as_acted_on_unknown(taken_over) -> None:
    """With the time it noted, and with nothing that it did not know."""
    rows = list(taken_over.reviews.flagged(storage=STORAGE))
    assert [row.key for row in rows] == ["01/flagged.webp", "01/ü \N{CAT FACE}'.webp"]
    assert (rows[0].storage, rows[0].origin, rows[0].obj) == (LEGACY, "ancestor", None)
    assert (rows[0].assessment.outcome, rows[0].action_state) == (Outcome.FLAGGED, ActionState.UNKNOWN)
    assert (rows[0].assessment.verdict.nsfw, rows[1].assessment.verdict.nsfw) == (None, False)
    assert rows[0].checked_at == FIRST_SEEN + timedelta(seconds=2)
    assert (rows[0].assessment.findings, rows[0].assessment.sha256, rows[0].assessment.info) == ((), None, None)


def test_stats_speak_of_its_rows_too(taken_over) -> None:
    """What it never checked counts as failed."""
    stats = taken_over.maintenance.stats()
    assert stats.by_outcome == {Outcome.CLEAR: 2, Outcome.FLAGGED: 2}
    assert stats.by_status == {ItemStatus.CHECKED: 4, ItemStatus.FETCH_FAILED: 1}
    assert (stats.flagged_open, stats.acted) == (2, 0)


def test_its_table_is_kept(taken_over, tmp_path) -> None:
    """Under another name, row for row."""
    with closing(sqlite3.connect(tmp_path / "lemmy_safety.db")) as connection:
        kept = connection.execute("SELECT filename, nsfw, csam FROM images_before_takeover ORDER BY id").fetchall()
    assert kept == ROWS


def test_opening_again_changes_nothing(taken_over, tmp_path) -> None:
    """The take-over happens once."""
    with open_ledger(sqlite_url(tmp_path / "lemmy_safety.db")) as again:
        assert again.maintenance.stats() == dataclasses.replace(
            taken_over.maintenance.stats(), bytes_on_disk=again.maintenance.stats().bytes_on_disk
        )


def test_a_scan_supersedes_its_row(taken_over) -> None:
    """The key is listed once, as ours, with a real action behind it."""
    (pending,) = record(taken_over, [flagged("01/flagged.webp")])
    row = row_of(taken_over, "01/flagged.webp")
    assert (row.storage, row.origin, row.action_state) == (STORAGE, "scan", ActionState.INTENDED)
    assert taken_over.actions.unfinished(STORAGE) == [pending]
    assert taken_over.maintenance.stats().objects == len(ROWS)


def test_what_it_could_not_read_is_judged_by_us(taken_over) -> None:
    """And a failed attempt of ours is one of the storage's, so that the next pass retries it."""
    assert taken_over.objects.retryable(STORAGE, 10) == []
    record(taken_over, [failed("01/failed.webp")])
    assert taken_over.objects.retryable(STORAGE, 10) == ["01/failed.webp"]
    record(taken_over, [checked("01/failed.webp")])
    assert look_up(taken_over, "01/failed.webp") == {"01/failed.webp": Known.SETTLED}
    assert taken_over.maintenance.stats().objects == len(ROWS)


def test_a_failed_attempt_does_not_erase_its_verdict(taken_over) -> None:
    """Nor does the object's end; it is only no longer open."""
    record(taken_over, [failed("01/flagged.webp")])
    assert row_of(taken_over, "01/flagged.webp").assessment.outcome is Outcome.FLAGGED
    record(taken_over, [failed("01/flagged.webp", ItemStatus.GONE)])
    assert row_of(taken_over, "01/flagged.webp").assessment.outcome is Outcome.FLAGGED
    assert len(list(taken_over.reviews.flagged())) == 1
    assert look_up(taken_over, "01/flagged.webp") == {}


@pytest.mark.long
def test_a_decision_on_its_row_stays_when_the_object_is_judged(taken_over) -> None:
    """It knew no hash, but pict-rs gives a key to one object only."""
    taken_over.reviews.decide(["01/flagged.webp"], Review.CLEARED, note="my cat")
    assert record(taken_over, [flagged("01/flagged.webp")]) == []
    assert row_of(taken_over, "01/flagged.webp").review_note == "my cat"


def test_intend_leaves_its_rows_alone(taken_over) -> None:
    """No one said which object they are about."""
    assert taken_over.actions.intend(STORAGE, ["01/flagged.webp"], ActionPlan("delete")) == []
    assert taken_over.actions.unfinished(STORAGE) == []


def test_adopting_a_row_says_which_object_it_is_about(taken_over) -> None:
    """From then on it is acted on like a row of ours."""
    row = row_of(taken_over, "01/flagged.webp")
    obj = stored("01/flagged.webp")
    pending = taken_over.actions.adopt(row.id, STORAGE, obj, "delete")
    assert (pending.obj, pending.action, pending.sha256) == (obj, "delete", None)
    assert taken_over.actions.unfinished(STORAGE) == [pending]
    assert taken_over.actions.adopt(row.id, STORAGE, obj, "delete") == pending
    assert look_up(taken_over, "01/flagged.webp") == {"01/flagged.webp": Known.SETTLED}
    taken_over.actions.finish(pending.id, ActionState.FAILED, "no permission")
    assert look_up(taken_over, "01/flagged.webp") == {"01/flagged.webp": Known.PENDING}
    (again,) = taken_over.actions.intend(STORAGE, ["01/flagged.webp"], ActionPlan("delete"))
    taken_over.actions.finish(again.id, ActionState.DONE)
    assert [open_row.key for open_row in taken_over.reviews.flagged()] == ["01/ü \N{CAT FACE}'.webp"]
    assert taken_over.actions.adopt(row.id, STORAGE, obj, "delete") is None
    kinds = [event.kind for event in taken_over.reviews.history("01/flagged.webp")]
    assert kinds == [EventKind.INTENDED, EventKind.FAILED, EventKind.INTENDED, EventKind.DONE]


def test_only_its_rows_can_be_adopted(taken_over) -> None:
    """By their own key, and not once a human cleared them."""
    row = row_of(taken_over, "01/flagged.webp")
    record(taken_over, [flagged("ours")], dry_run=True)
    with pytest.raises(LedgerError, match="earlier tool"):
        taken_over.actions.adopt(row_of(taken_over, "ours").id, STORAGE, stored("ours"), "delete")
    with pytest.raises(LedgerError, match="earlier tool"):
        taken_over.actions.adopt(row.id, STORAGE, stored("01/other.webp"), "delete")
    taken_over.reviews.decide(["01/flagged.webp"], Review.CLEARED)
    assert taken_over.actions.adopt(row.id, STORAGE, stored("01/flagged.webp"), "delete") is None


@pytest.mark.parametrize("state", [ActionState.DONE, ActionState.REFUSED])
def test_what_became_of_its_action_can_be_told_by_the_actions_id(taken_over, state) -> None:
    """Gone already, or changed since: then a listed object is judged again."""
    row = row_of(taken_over, "01/flagged.webp")
    taken_over.actions.finish(row.action_id, state, "was already gone")
    assert row_of(taken_over, "01/flagged.webp").action_state is state
    assert look_up(taken_over, "01/flagged.webp") == {}


def test_keys_of_an_ancestor_on_windows_get_slashes(tmp_path) -> None:
    """It wrote them with backslashes; where both spellings are there, the flagged one wins."""
    rows = [("a\\b\\c.webp", None, False), ("a/b/c.webp", None, True), ("d\\e.webp", None, True), ("f", None, False)]
    path = write_ancestor_database(tmp_path / "lemmy_safety.db", rows)
    with open_ledger(sqlite_url(path)) as ledger:
        assert [row.key for row in ledger.reviews.flagged()] == ["a/b/c.webp", "d/e.webp"]
        assert ledger.maintenance.stats().objects == 3


def test_odd_rows_do_not_stop_the_take_over(tmp_path) -> None:
    """SQLite lets anything into a table: a time that is none, an empty name."""
    path = write_ancestor_database(tmp_path / "lemmy_safety.db", [("a", None, True), ("", None, True)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE images SET created = 'yesterday'")
        connection.execute("INSERT INTO images (filename, csam, created) VALUES ('b', 1, '2024-05-06')")
        connection.commit()
    with open_ledger(sqlite_url(path)) as ledger:
        assert [(row.key, row.checked_at.year) for row in ledger.reviews.flagged()] == [("a", 1970), ("b", 2024)]


def test_an_empty_ancestor_database_is_taken_over(tmp_path) -> None:
    """It was installed and never run."""
    path = write_ancestor_database(tmp_path / "lemmy_safety.db", [])
    with open_ledger(sqlite_url(path)) as ledger:
        assert ledger.maintenance.stats().objects == 0
