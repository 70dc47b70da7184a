"""``unreadable``: what could not be judged, why, and another try on request."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import UNKNOWN_TIME, ActionPlan, Assessment, ItemResult, ItemStatus, StoredObject

#: Files that no decoder makes a picture of.
BROKEN = {"01/cc/broken.png": b"\x89PNG\r\n\x1a\n" + bytes(40), "01/cc/notes.txt": b"just some text, no picture"}


@pytest.fixture
def swept(call, store):
    """The local store with two broken files, after a dry run."""
    for key, data in BROKEN.items():
        store.put(key, data)
    assert call("--all", "--dry-run").exit_code == 0
    return store


def _rows(call, *args):
    return {row["key"]: row for row in json.loads(call("unreadable", "--json", *args).stdout)}


def _record(*results):
    """Write results that no real file brings about at will into the database of the sweep."""
    with open_ledger(sqlite_url(Path("lemmy_safety.db"))) as ledger:
        run_id = ledger.passes.start("s3:elsewhere", "sweep", dry_run=True, detectors={"hashes"})
        ledger.objects.record(
            "s3:elsewhere", results, run_id=run_id, dry_run=True, plan=ActionPlan(), decoder="decoder-1"
        )


def _result(key, status, reason, **more):
    obj = StoredObject(key=key, size=10, modified_at=UNKNOWN_TIME)
    return ItemResult(obj=obj, assessment=Assessment(status=status, reason=reason, **more))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_object_is_listed_with_its_reason_in_each_form(call, swept):
    """Table, JSON and CSV name the same keys and the same reasons; flagged and clear objects are not among them."""
    rows = _rows(call)
    assert rows.keys() == BROKEN.keys()
    assert all(row["why"] == row["reason"] != "" for row in rows.values())
    assert {row["outcome"] for row in rows.values()} == {None}
    table = call("unreadable").stdout
    assert all(key in table and row["reason"][:30] in table for key, row in rows.items())
    assert "2 objects without a verdict" in table
    cells = {row["key"]: row for row in csv.DictReader(io.StringIO(call("unreadable", "--csv").stdout))}
    assert {key: row["why"] for key, row in cells.items()} == {key: row["reason"] for key, row in rows.items()}
    assert {row["to_be_read"] for row in cells.values()} == {"no"}


def test_the_json_has_every_field_of_the_flagged_list(call, swept):
    """A program that reads one list reads the other."""
    (flagged, *_) = json.loads(call("flagged", "--json").stdout)
    assert all(row.keys() == flagged.keys() for row in _rows(call).values())


def test_the_whole_list_of_flagged_objects_says_that_there_are_such(call, swept):
    """An empty list is not all clear. ``--json`` and ``--csv`` stay what scripts know."""
    reasons = {row["reason"] for row in _rows(call).values()}
    shown = call("flagged", "--all").stdout
    assert "2 objects could not be judged; to list them: lemmy-safety unreadable" in shown
    assert all(f"  1: {reason}" in shown for reason in reasons)
    assert "could not be judged" not in call("flagged").stdout
    assert {row["key"] for row in json.loads(call("flagged", "--all", "--json").stdout)}.isdisjoint(BROKEN)


@pytest.mark.parametrize(
    ("status", "reason", "more", "what_happens"),
    [
        (ItemStatus.UNREADABLE, "took longer than 30 s", {"decoder_broke": True}, "left alone"),
        (ItemStatus.UNREADABLE, "the decoder crashed", {"decoder_broke": True}, "left alone"),
        (ItemStatus.TOO_LARGE, "80.0 MiB is over the limit of 40 MiB", {}, "left alone"),
        (ItemStatus.UNSUPPORTED, "JPEG XL needs an extra", {}, "left alone"),
        (ItemStatus.FETCH_FAILED, "could not be read: it timed out", {}, "read again by the next pass"),
        (ItemStatus.DENIED, "403", {}, "read again by the next pass"),
    ],
)
@pytest.mark.usefixtures("swept")
def test_whatever_kept_an_object_from_being_judged_is_said(call, status, reason, more, what_happens):
    """A decoder that hung, a limit, a missing extra, a storage that failed: the key, the reason, and what happens now."""
    _record(_result("k/odd", status, reason, **more))
    row = _rows(call)["k/odd"]
    assert (row["status"], row["why"], row["decoder_broke"]) == (status.value, reason, "decoder_broke" in more)
    (line,) = [line for line in call("unreadable").stdout.splitlines() if "k/odd" in line]
    assert reason in line
    assert what_happens in line


def test_retry_lets_the_next_pass_read_them_again(call, swept):
    """The next pass reads them although they are unchanged; the one after that leaves them alone."""
    shown = call("unreadable", "--retry")
    assert shown.exit_code == 0
    assert "2 objects will be read again by the next pass." in shown.stdout
    assert all(row["to_be_read"] for row in _rows(call).values())
    summary = json.loads(call("--all", "--dry-run", "--json").stdout)
    assert (sum(summary["unreadable"].values()), summary["skipped"]) == (2, 5)
    assert not any(row["to_be_read"] for row in _rows(call).values())
    assert json.loads(call("--all", "--dry-run", "--json").stdout)["unreadable"] == {}


def test_retry_of_one_key_leaves_the_others(call, swept):
    """Keys are named as for the other commands; with --json the sentence goes to stderr."""
    key = "01/cc/notes.txt"
    result = call("unreadable", "--retry", "--json", key)
    assert [(row["key"], row["to_be_read"]) for row in json.loads(result.stdout)] == [(key, True)]
    assert "1 object will be read again" in result.stderr
    assert {row["key"] for row in _rows(call).values() if row["to_be_read"]} == {key}
    summary = json.loads(call("--all", "--dry-run", "--json").stdout)
    assert sum(summary["unreadable"].values()) == 1


def test_a_key_that_is_not_listed_is_an_error(call, swept):
    """Nothing is asked for when a key is mistyped."""
    result = call("unreadable", "--retry", "01/cc/notes.txt", "01/aa/0.webp")
    assert result.exit_code == 50
    assert "01/aa/0.webp" in result.stderr
    assert "lemmy-safety unreadable --all --json" in result.stderr
    assert not any(row["to_be_read"] for row in _rows(call).values())


def test_the_list_can_be_cut_and_narrowed(call, swept):
    """--limit and --storage as for the flagged list."""
    _record(_result("k/odd", ItemStatus.TOO_LARGE, "too large"))
    assert len(_rows(call, "--limit", "1")) == 1
    assert _rows(call, "--storage", "local").keys() == BROKEN.keys()
    assert _rows(call).keys() == {*BROKEN, "k/odd"}
    assert "s3:elsewhere" in call("unreadable").stdout


def test_nothing_unreadable_is_said_so(call, store):
    """A clean store has an empty list in each form."""
    call("--all", "--dry-run")
    assert call("unreadable").stdout == "Nothing is unreadable.\n"
    assert _rows(call) == {}
    assert len(call("unreadable", "--csv").stdout.splitlines()) == 1
