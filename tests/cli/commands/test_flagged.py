"""``flagged``, ``delete-flagged`` and ``review``: the list, the deletion, and a person's decision."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from lemmy_safety.errors import ActionRefused, LedgerError, StorageMissing

CANARY = "01/aa/canary.png"
THUMBNAIL = "01/bb/canary thumbnail.webp"

ROW = {
    "id", "storage", "key", "checked_at", "status", "outcome", "outcomes", "nsfw", "why", "findings", "detectors", "rules_version",
    "reason", "decoder_broke", "to_be_read", "failed_passes", "sha256", "size", "modified_at", "media_type", "width", "height", "frame_count",
    "duration_s", "anomalies", "reused_from", "dry_run", "action_wanted",
    "action_state", "action_at", "action_detail", "action_refusals", "review", "review_note", "review_at", "origin",
}  # fmt: skip


@pytest.fixture
def swept(call, store):
    """The local store after a dry run."""
    assert call("--all", "--dry-run").exit_code == 0
    return store


def _rows(call, *args):
    return {row["key"]: row for row in json.loads(call("flagged", "--json", *args).stdout)}


def test_the_json_list_has_a_stable_shape(call, swept):
    """Each row has the documented fields, times in UTC ISO 8601, and the findings that explain it."""
    rows = _rows(call)
    assert set(rows) == swept.canaries
    row = rows[CANARY]
    assert set(row) == ROW
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["checked_at"])
    assert (row["outcome"], row["action_state"], row["review"], row["dry_run"]) == ("flagged", "none", "none", True)
    assert (row["media_type"], row["width"], row["height"]) == ("image/png", 1024, 768)
    assert {finding["detector"] for finding in row["findings"] if finding["hit"]} == {"hashes"}


def test_the_table_says_possible_and_never_more(call, swept):
    """The words a person sees claim nothing that is not proven."""
    shown = call("flagged").output
    assert "possible" in shown
    assert "2 objects flagged as possible." in shown
    assert "csam" not in shown.lower()
    assert all(key in shown for key in swept.canaries)


def test_the_csv_has_a_row_for_each_object(call, swept):
    """CSV is for spreadsheets: a header, one row an object, keys as they are."""
    rows = list(csv.DictReader(io.StringIO(call("flagged", "--csv").stdout)))
    assert {row["key"] for row in rows} == swept.canaries
    assert {row["action_state"] for row in rows} == {"none"}


def test_the_list_can_be_cut_and_narrowed(call, swept, monkeypatch, tmp_path):
    """--limit cuts it; --storage shows what was found in that storage only."""
    assert len(_rows(call, "--limit", "1")) == 1
    assert set(_rows(call, "--storage", "local")) == swept.canaries
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(tmp_path))
    assert _rows(call, "--storage", "local") == {}


def test_settled_objects_are_listed_when_asked_for(call, swept):
    """What was deleted leaves the list, and comes back with --all."""
    call("delete-flagged", "--yes")
    assert "Nothing is flagged" in call("flagged").output
    rows = _rows(call, "--all")
    assert {row["action_state"] for row in rows.values()} == {"done"}


@pytest.mark.parametrize("command", ["flagged", "unreadable"])
def test_one_form_is_chosen(call, swept, command):
    """Neither wins silently, in whichever order."""
    for forms in (("--json", "--csv"), ("--csv", "--json")):
        result = call(command, *forms)
        assert result.exit_code == 2
        assert "Choose one of --json and --csv" in result.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("review", "clear", "--yes", "--score-below", "nan"), "'nan' is not a score"),
        (("review", "confirm", "--yes", "--label", ""), "it is empty"),
        (("review", "clear", "--yes", "--label", "canary", "--detector", " "), "it is empty"),
        (("recheck", "--detector", ""), "it is empty"),
    ],
)
def test_a_filter_that_can_match_nothing_is_a_usage_error(call, swept, command, said):
    """It is a slip, and "No open flag matches" would hide it."""
    result = call(*command)
    assert result.exit_code == 2
    assert said in result.output


def test_looking_makes_no_database(call, tmp_path):
    """A command that only looks does not leave an empty database behind in the wrong folder."""
    for command in (["flagged"], ["review", "clear", "x"], ["db", "stats"], ["db", "version"]):
        assert call(*command).exit_code == LedgerError.exit_code
    assert not list(tmp_path.iterdir())


def test_deleting_is_refused_when_nobody_can_be_asked(call, swept):
    """Without a terminal and without --yes nothing is deleted; the message says how many and what to add."""
    result = call("delete-flagged", stdin="y\n")
    assert result.exit_code == ActionRefused.exit_code
    assert "2 objects would be deleted" in result.output
    assert "--yes" in result.output
    assert swept.canaries <= swept.present()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("", 130)])
def test_on_a_terminal_deleting_asks_first(call, swept, monkeypatch, answer, code):
    """The question shows the rows and their number; only yes deletes."""
    monkeypatch.setattr("lemmy_safety.cli.commands.delete_flagged.at_a_terminal", lambda: True)
    result = call("delete-flagged", stdin=answer)
    assert "Delete 2 objects for good?" in result.output
    assert CANARY in result.output
    assert result.exit_code == code
    assert swept.present() == swept.pictures | (swept.canaries if code else set())


@pytest.mark.parametrize(("answer", "code"), [("2\n", 0), ("1\n", 60), ("y\n", 60), ("\n", 60)])
def test_beyond_the_limits_the_number_is_typed(call, swept, monkeypatch, answer, code):
    """The counts are shown first. Only the right number deletes, and it is a person's decision about these objects."""
    monkeypatch.setattr("lemmy_safety.cli.commands.delete_flagged.at_a_terminal", lambda: True)
    monkeypatch.setenv("LEMMY_SAFETY_MAX_FIRST_ACTIONS", "1")
    result = call("delete-flagged", stdin=answer)
    assert "2  hashes: canary" in result.output
    assert "The limits allow 1 deletion without a person" in result.output
    assert result.exit_code == code
    assert swept.present() == swept.pictures | (swept.canaries if code else set())


def test_deleting_takes_exactly_what_is_flagged(call, swept):
    """With --yes the flagged objects go, each with its line, and a second call finds nothing left."""
    result = call("delete-flagged", "-y")
    assert result.exit_code == 0
    assert "2 objects deleted." in result.output
    assert "pict-rs does not know that 2 objects are gone" in result.output
    assert swept.present() == swept.pictures
    assert "Nothing is left to delete" in call("delete-flagged").output


def test_a_dry_run_of_deleting_only_shows(call, swept):
    """--dry-run lists what would go and opens no storage for it."""
    result = call("delete-flagged", "--dry-run")
    assert result.exit_code == 0
    assert "2 objects would be deleted" in result.output
    assert (
        json.loads(call("delete-flagged", "--dry_run", "--json").stdout)
        == {
            "dry_run": True,
            "would_delete": sorted(swept.canaries),
        }
        or swept.canaries <= swept.present()
    )
    assert swept.canaries <= swept.present()


def test_only_the_named_keys_are_deleted(call, swept):
    """Keys as arguments narrow the action; one that is not flagged stops it before anything happens."""
    assert call("delete-flagged", "--yes", CANARY, "2/0/legacy").exit_code == LedgerError.exit_code
    assert swept.canaries <= swept.present()
    assert call("delete-flagged", "--yes", CANARY).exit_code == 0
    assert swept.present() == swept.pictures | {THUMBNAIL}


def test_keys_are_read_from_stdin(call, swept):
    """A dash stands for the lines of stdin."""
    result = call("delete-flagged", "--yes", "--json", "-", stdin=f"{CANARY}\n{THUMBNAIL}\n")
    outcome = json.loads(result.stdout)
    assert (outcome["done"], outcome["left"], outcome["stopped"]) == (2, 0, False)
    assert {entry["key"] for entry in outcome["results"]} == swept.canaries
    assert {entry["state"] for entry in outcome["results"]} == {"done"}


def test_an_object_that_changed_is_left_alone_and_says_so(call, swept):
    """Something was written under the key since it was judged: it stays, and the exit code tells."""
    swept.put(CANARY, b"another picture entirely")
    result = call("delete-flagged", "--yes")
    assert result.exit_code == ActionRefused.exit_code
    assert "1 object deleted, 1 left" in result.output
    assert swept.present() == swept.pictures | {CANARY}


def test_a_storage_that_is_gone_is_said_before_anything(call, swept, tmp_path):
    """When the storage cannot be opened, nothing is marked as done."""
    swept.folder.rename(tmp_path / "elsewhere")
    assert call("delete-flagged", "--yes").exit_code == StorageMissing.exit_code
    assert set(_rows(call)) == swept.canaries


def test_a_cleared_object_is_never_deleted(call, swept):
    """What a reviewer cleared leaves the list and survives delete-flagged and further sweeps."""
    result = call("review", "clear", CANARY, "--note", "our own test")
    assert result.exit_code == 0
    assert "1 object cleared." in result.output
    assert set(_rows(call)) == {THUMBNAIL}
    assert _rows(call, "--all")[CANARY]["review_note"] == "our own test"
    assert "2 objects flagged as possible, 1 of them cleared." in call("flagged", "--all").output
    assert "1 object flagged as possible." in call("flagged").output
    call("delete-flagged", "--yes")
    call("--all")
    assert swept.present() == swept.pictures | {CANARY}


def test_a_confirmed_object_stays_on_the_list(call, swept):
    """Confirming records the decision and changes nothing else."""
    assert call("review", "confirm", "-", stdin=f"{CANARY}\n").exit_code == 0
    assert _rows(call)[CANARY]["review"] == "confirmed"
    assert "confirmed" in call("flagged").output


def test_reviewing_an_unknown_key_is_an_error_that_names_it(call, swept):
    """A mistyped key is not silently ignored."""
    result = call("review", "clear", "no/such/key", CANARY)
    assert result.exit_code == LedgerError.exit_code
    assert "no/such/key" in result.output


def test_keys_cannot_play_with_the_terminal(call, store):
    """Control characters in a key are shown as escapes."""
    odd = "01/\x1b[2Jodd\nname.png"
    try:
        store.put(odd, (store.folder / CANARY).read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    call("--all", "--dry-run")
    shown = call("flagged").output
    assert "\x1b" not in shown
    assert "\\x1b[2Jodd\\nname.png" in shown.replace("\n", "")
    assert odd in _rows(call)
