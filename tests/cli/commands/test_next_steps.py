"""What each command tells a person to do next: commands in the order in which they are useful."""

from __future__ import annotations

import re

import pytest

from lemmy_safety.cli.output import next_steps
from lemmy_safety.errors import AccessDenied, LedgerReplaced, ListingIncomplete
from lemmy_safety.ledger import Actions
from lemmy_safety.storage.local import LocalStorage

DRY_RUN, SEE, KEEP = "lemmy-safety --all --dry-run", "lemmy-safety flagged", "lemmy-safety review clear KEY"
DELETE, RESUME, DOCTOR = "lemmy-safety delete-flagged", "lemmy-safety resume", "lemmy-safety doctor"
UNREADABLE, ESTIMATE, WATCH = "lemmy-safety unreadable", "lemmy-safety estimate", "lemmy-safety"

ONE_DELETION = {"LEMMY_SAFETY_MAX_FIRST_ACTIONS": "1"}


def _steps(text: str) -> list[str]:
    """The commands of the list after "Next:", which is the end of the output."""
    _, _, after = text.partition("\nNext:\n")
    lines = after.splitlines()
    steps = [re.fullmatch(r"  (\d+)\. (.+?)  +\S.*", line) for line in lines]
    assert all(steps)
    assert [int(step[1]) for step in steps if step] == list(range(1, len(lines) + 1))
    return [step[2] for step in steps if step]


def _finish_then_lose(finish):
    """The first deletion is recorded; the database goes away before the second one."""
    finished = []

    def finish_one(self, *args, **more):
        if finished:
            raise LedgerReplaced("the database was replaced")
        finished.append(args)
        return finish(self, *args, **more)

    return finish_one


def test_a_dry_run_leads_from_the_list_over_the_review_to_the_deletion_and_the_daemon(call, store):
    """The first evening in its order. What could not be judged comes after what is flagged."""
    store.put("zz/broken.png", b"this is a text and not a picture\n" * 20)
    result = call("--all", "--dry-run")
    assert _steps(result.stdout) == [SEE, KEEP, DELETE, UNREADABLE, WATCH]


def test_a_second_dry_run_still_leads_to_what_the_first_one_flagged(call, store):
    """It flags nothing itself, because nothing has changed."""
    call("--all", "--dry-run")
    assert _steps(call("--all", "--dry-run").stdout) == [SEE, WATCH]


def test_a_sweep_that_deleted_everything_leaves_nothing_to_do(call, store):
    """No list of steps where none is needed."""
    assert "Next:" not in call("--all").output


def test_reports_lead_to_the_same_steps_as_a_dry_run(call, store):
    """With --action report nothing is deleted either; the daemon is not a step of it."""
    assert _steps(call("--all", "--action", "report").stdout) == [SEE, KEEP, DELETE]


def test_a_tripped_breaker_leads_over_the_review_to_resume(call, store):
    """After a sweep, in the list, and after a deletion that it stopped; then resume leads to the deletion."""
    assert _steps(call("--all", env=ONE_DELETION).stdout) == [SEE, KEEP, RESUME]
    assert _steps(call("flagged").stdout) == [KEEP, RESUME]
    assert _steps(call("delete-flagged", "--yes").stdout) == [SEE, KEEP, RESUME, DELETE]
    refused = call("delete-flagged")
    assert re.findall(r"\d\. (.+?):", refused.stderr) == [SEE, KEEP, RESUME]
    refused = call("resume")
    assert re.findall(r"\d\. (.+?):", refused.stderr) == [SEE, KEEP, f"{RESUME} --yes"]
    assert _steps(call("resume", "--yes").stdout) == [DELETE]
    assert "Next:" not in call("delete-flagged", "--yes").stdout
    assert store.present() == store.pictures


def test_refused_deletions_lead_to_the_reason_and_to_the_doctor_before_another_try(call, store, monkeypatch):
    """After a sweep, in the list, and after delete-flagged."""

    def refuse(_self, key, _expected):
        raise AccessDenied(f"{key}: read only")

    monkeypatch.setattr(LocalStorage, "_delete", refuse)
    assert _steps(call("--all").stdout) == [SEE, DOCTOR, DELETE]
    assert _steps(call("flagged").stdout) == [DOCTOR, KEEP, DELETE]
    assert _steps(call("delete-flagged", "--yes").stdout) == [SEE, DOCTOR, DELETE]
    assert _steps(call("doctor", "--quick").stdout) == ["fix the faults above", DOCTOR]


def test_a_dry_run_that_an_error_ends_leads_to_what_it_found(call, store, monkeypatch):
    """The list holds what was judged before; the daemon is not a step of an incomplete pass."""
    listing = LocalStorage._list

    def list_then_fail(self, **how):
        yield from listing(self, **how)
        raise ListingIncomplete("some folders may not be read")

    monkeypatch.setattr(LocalStorage, "_list", list_then_fail)
    result = call("--all", "--dry-run")
    assert result.exit_code == ListingIncomplete.exit_code
    assert _steps(result.stdout) == [SEE, KEEP, DELETE]


def test_a_sweep_that_lost_its_database_names_no_command_that_needs_it(call, store, monkeypatch):
    """The numbers, and the error with its own fix."""
    monkeypatch.setattr(Actions, "finish", _finish_then_lose(Actions.finish))
    result = call("--all")
    assert result.exit_code == LedgerReplaced.exit_code
    assert "flagged as possible" in result.stdout
    assert "lemmy-safety flagged" not in result.output


def test_delete_flagged_that_lost_its_database_names_no_command_that_needs_it(call, store, monkeypatch):
    """The count of what is gone, and the error with its own fix."""
    call("--all", "--dry-run")
    monkeypatch.setattr(Actions, "finish", _finish_then_lose(Actions.finish))
    result = call("delete-flagged", "--yes")
    assert result.exit_code == LedgerReplaced.exit_code
    assert "lemmy-safety flagged" not in result.output


def test_settled_rows_need_nothing(call, store):
    """Deleted or cleared."""
    call("--all", "--dry-run")
    call("review", "clear", min(store.canaries))
    call("delete-flagged", "--yes")
    assert "Next:" not in call("flagged", "--all").stdout


def test_a_good_set_up_leads_to_the_dry_run_until_there_is_a_database(call, store):
    """Later the doctor only says that all is well."""
    assert _steps(call("doctor", "--quick").stdout) == [ESTIMATE, DRY_RUN, SEE]
    call("--all", "--dry-run")
    assert "Next:" not in call("doctor", "--quick").stdout


def test_recheck_and_unreadable_lead_on(call, store):
    """What was judged again and is flagged waits for the same steps; what cannot be read is read again or taken off."""
    store.put("zz/broken.png", b"this is a text and not a picture\n" * 20)
    call("--all", "--dry-run")
    assert _steps(call("recheck", min(store.canaries)).stdout) == [SEE, KEEP, DELETE]
    assert _steps(call("recheck", "--unreadable").stdout) == [UNREADABLE]
    assert _steps(call("unreadable").stdout) == ["lemmy-safety recheck --unreadable", KEEP]
    assert "Next:" not in call("unreadable", "--retry").stdout


@pytest.mark.parametrize(
    "command", [("--all", "--dry-run"), ("flagged",), ("unreadable",), ("delete-flagged", "--dry-run"), ("doctor",)]
)
def test_programs_get_no_steps(call, store, command):
    """JSON holds the results alone."""
    call("--all", "--dry-run")
    quick = ("--quick",) if command == ("doctor",) else ()
    assert "Next" not in call(*command, *quick, "--json").stdout


def test_the_first_evening_is_complete_and_every_command_of_it_exists(call):
    """From the settings to the daemon; each command is shown by the help."""
    listed = [step.do for step in next_steps.FIRST_EVENING]
    assert listed == ["lemmy-safety env-example -o .env", DOCTOR, ESTIMATE, DRY_RUN, SEE, KEEP, DELETE, WATCH]
    steps = [value for value in vars(next_steps).values() if isinstance(value, next_steps.Step)]
    commands = {step.do.split()[1] for step in steps if re.match(r"lemmy-safety [a-z]", step.do)}
    shown = call("--help").output
    assert all(re.search(rf"^  {command}  ", shown, re.MULTILINE) for command in commands)
