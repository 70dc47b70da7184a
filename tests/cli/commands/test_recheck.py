"""``recheck``: what is named is read and judged again, by real passes over a local store, and nothing is done about it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from support.admin import Admin, eventually, stop
from support.scan.passes import minutes_ago, put
from support.storage.sample_store import sample_pictures

from lemmy_safety.errors import LedgerError, StorageMissing
from lemmy_safety.fingerprints import sha256_of
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import ActionPlan, Assessment, Finding, ItemResult, ItemStatus, Outcome, Verdict

CANARY = "01/aa/canary.png"
PICTURE = "01/aa/0.webp"
QUICK = {"LEMMY_SAFETY_DETECTORS": "hashes"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def swept(call, store):
    """The local store after a sweep that only reports."""
    assert call("--all", "--action", "report").exit_code == 0
    return store


def recheck(call, *args):
    result = call("recheck", "--json", *args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def flagged(call):
    return {row["key"] for row in json.loads(call("flagged", "--json").stdout)}


def flag_wrongly(store, key):
    """Write that a hash list of former days knew this picture."""
    found = Finding(detector="hashes", version="hashes-0", label="pdq-list", score=0.9, threshold=0.87)
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=(found,), rules_version="former")
    storage = f"local:{store.folder}"
    with open_ledger(sqlite_url(Path("lemmy_safety.db"))) as ledger:
        obj = ledger.objects.describe(storage, key)
        assessment = Assessment(
            status=ItemStatus.CHECKED,
            verdict=verdict,
            detectors=frozenset({"hashes"}),
            sha256=sha256_of((store.folder / key).read_bytes()),
        )
        run_id = ledger.passes.start(storage, "sweep", dry_run=False, detectors={"hashes"})
        result = ItemResult(obj=obj, assessment=assessment)
        ledger.objects.record(storage, [result], run_id=run_id, dry_run=False, plan=ActionPlan(), decoder="former")


def test_a_wrong_flag_goes_when_its_detector_looks_again(call, swept):
    """By its key, although the object is unchanged and a sweep would skip it; canaries are not touched."""
    flag_wrongly(swept, PICTURE)
    assert PICTURE in flagged(call)
    assert recheck(call, PICTURE) == {
        "rechecked": 1,
        "flagged": 0,
        "newly_flagged": 0,
        "no_longer_flagged": 1,
        "unreadable": {},
        "failed": {},
        "complete": True,
    }
    assert flagged(call) == swept.canaries


def test_nothing_is_done_until_it_is_asked_for(call, swept):
    """The action is delete, the canaries are flagged again, and lie there until delete-flagged."""
    result = call("recheck", "--detector", "hashes")
    assert result.exit_code == 0, result.output
    assert "2 objects judged again: 2 flagged as possible." in result.output
    assert "lemmy-safety delete-flagged" in result.output
    assert swept.canaries <= swept.present()
    assert call("delete-flagged", "--yes").exit_code == 0
    assert swept.present() == swept.pictures


def test_an_action_that_is_due_stays_due_and_is_not_carried_out(call, swept):
    """Decided before, and still flagged: the recheck neither does it nor takes it back."""
    storage = f"local:{swept.folder}"
    with open_ledger(sqlite_url(Path("lemmy_safety.db"))) as ledger:
        (due,) = ledger.actions.intend(storage, [CANARY], ActionPlan("delete"))
    assert recheck(call, CANARY)["flagged"] == 1
    with open_ledger(sqlite_url(Path("lemmy_safety.db"))) as ledger:
        assert [pending.id for pending in ledger.actions.unfinished(storage)] == [due.id]
    assert CANARY in swept.present()


def test_what_a_new_hash_list_knows_is_found_among_what_is_known(call, swept, monkeypatch, tmp_path):
    """--since takes everything that was looked at since then, also what was clear."""
    listed = tmp_path / "hashes.txt"
    listed.write_text(f"sha256 {sha256_of((swept.folder / PICTURE).read_bytes())}\n", encoding="utf-8")
    monkeypatch.setenv("HASH_LIST", str(listed))
    said = recheck(call, "--since", "1h")
    assert (said["rechecked"], said["flagged"], said["newly_flagged"]) == (5, 3, 1)
    assert flagged(call) == {*swept.canaries, PICTURE}


def test_a_finished_recheck_begins_anew_and_a_later_since_leaves_out_what_is_older(call, swept):
    """The same command twice judges everything twice."""
    assert recheck(call, "--since", "1h")["rechecked"] == 5
    assert recheck(call, "--since", "1h")["rechecked"] == 5
    assert recheck(call, "--since", "2100-01-01")["rechecked"] == 0


def test_what_could_not_be_read_is_read_again(call, store):
    """A broken file that was mended under the same key; one that is still broken stays on the list."""
    store.put("01/cc/broken.png", b"\x89PNG\r\n\x1a\n" + bytes(40))
    store.put("01/cc/half.webp", b"RIFF")
    assert call("--all", "--action", "report").exit_code == 0
    shutil.copy2(store.folder / PICTURE, store.folder / "01/cc/half.webp")
    said = recheck(call, "--unreadable")
    assert (said["rechecked"], sum(said["unreadable"].values())) == (2, 1)
    assert {row["key"] for row in json.loads(call("unreadable", "--json").stdout)} == {"01/cc/broken.png"}


def test_what_is_gone_meanwhile_is_noted_as_gone(call, swept):
    """Not as a failure, and it is no longer listed as flagged."""
    (swept.folder / CANARY).unlink()
    said = recheck(call, CANARY)
    assert (said["rechecked"], said["unreadable"], said["no_longer_flagged"]) == (0, {"gone": 1}, 1)
    assert CANARY not in flagged(call)


def test_an_unknown_key_is_named_and_nothing_is_read(call, swept):
    """Before any model is loaded."""
    result = call("recheck", PICTURE, "01/no/such.png")
    assert result.exit_code == LedgerError.exit_code
    assert "01/no/such.png" in result.output
    with open_ledger(sqlite_url(Path("lemmy_safety.db"))) as ledger:
        assert ledger.rechecks.there(f"local:{swept.folder}", [PICTURE, "01/no/such.png"]) == {PICTURE}


@pytest.mark.parametrize(
    "arguments", [(), (PICTURE, "--since", "1h"), ("--unreadable", "--detector", "hashes"), ("--since", "soon")]
)
def test_it_has_to_be_said_what_is_meant(call, swept, arguments):
    """Nothing, both ways at once, and times that are none are refused."""
    assert call("recheck", *arguments).exit_code == 2


def test_without_its_storage_nothing_is_noted_as_gone(call, swept):
    """An unmounted folder ends it with the storage's own error."""
    swept.folder.rename(swept.folder.with_name("elsewhere"))
    assert call("recheck", "--since", "1h").exit_code == StorageMissing.exit_code
    swept.folder.with_name("elsewhere").rename(swept.folder)
    assert flagged(call) == swept.canaries


def many(tmp_path, number):
    root = tmp_path / "files"
    for key, data in sample_pictures(number, seed=41, max_side=120):
        put(root, key, data, modified_at=minutes_ago(60))
    admin = Admin(tmp_path, {"PICTRS_FILES_DIRECTORY": str(root), **QUICK})
    admin.run("--all")
    return admin, root


def passes_of(admin, kind):
    """The counts of all finished passes of a kind."""
    db = sqlite3.connect(f"file:{admin.folder / 'lemmy_safety.db'}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT counts FROM runs WHERE kind = ? AND finished_at IS NOT NULL", (kind,)).fetchall()
    finally:
        db.close()
    return [json.loads(row[0]) for row in rows]


@pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_recheck_that_was_stopped_goes_on_where_it_stopped(tmp_path, number):
    """What was judged again before the stop is not judged a third time."""
    admin, _ = many(tmp_path, 350)
    process = admin.start("recheck", "--since", "1h")
    eventually(lambda: passes_of(admin, "recheck"), "the first piece is judged", process=process)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL), admin.log()
    done = sum(each["checked"] for each in passes_of(admin, "recheck"))
    assert 100 <= done < 350
    rest = json.loads(admin.run("recheck", "--since", "1h", "--json").stdout)
    assert rest["complete"]
    # Results that were on their way when it was killed are recorded, and the pass that they belong to is not.
    assert 350 - done - 100 <= rest["rechecked"] <= 350 - done


@pytest.mark.skipif(sys.platform == "win32", reason="signals to other processes are POSIX here")
def test_a_recheck_and_the_daemon_take_turns(tmp_path):
    """An upload is judged in the middle of a long recheck; neither of the two is refused."""
    admin, root = many(tmp_path, 450)
    admin.env["LEMMY_SAFETY_INTERVAL_S"] = "0.3"
    daemon = admin.start("--minutes", "5")
    try:
        eventually(lambda: passes_of(admin, "daemon"), "the daemon works", process=daemon)
        before = len(passes_of(admin, "daemon"))
        rechecking = admin.start("recheck", "--since", "1h")
        eventually(lambda: passes_of(admin, "recheck"), "the recheck works", process=rechecking)
        put(root, "01/zz/new.png", next(iter(sample_pictures(1, seed=42)))[1], modified_at=minutes_ago(1))
        eventually(lambda: judged(admin, "01/zz/new.png"), "the upload is judged", process=rechecking)
        assert rechecking.wait(60) == 0, admin.log()
        assert len(passes_of(admin, "daemon")) > before
        assert sum(each["seen"] for each in passes_of(admin, "recheck")) >= 450
    finally:
        stop(daemon)


def judged(admin, key):
    with open_ledger(sqlite_url(admin.folder / "lemmy_safety.db"), upgrade=False) as ledger:
        return ledger.objects.describe(f"local:{admin.folder / 'files'}", key)
