"""Before the first deletion with a database, a person at a terminal is shown what would be deleted and asked once."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def _at_a_terminal(monkeypatch):
    monkeypatch.setattr("lemmy_safety.cli.commands.run.at_a_terminal", lambda: True)
    monkeypatch.setattr("lemmy_safety.cli.commands.resume.at_a_terminal", lambda: True)


def test_everything_is_judged_before_the_question_and_deleted_after_a_yes(call, store):
    """The counts come before the question. The next sweep does not ask again."""
    result = call("--all", stdin="y\n")
    assert "2 flagged objects waiting to be deleted" in result.output
    assert "2  hashes: canary" in result.output
    assert "Delete 2 objects now?" in result.output
    assert result.exit_code == 0
    assert store.present() == store.pictures
    later = call("--all")
    assert later.exit_code == 0
    assert "Delete" not in later.output


def test_after_a_no_nothing_is_deleted_until_a_person_resumes(call, store):
    """No later pass deletes either, at a terminal or not; resume shows the same counts."""
    everything = store.present()
    assert call("--all", stdin="n\n").exit_code == 62
    assert call("--all", stdin="y\n").exit_code == 62
    assert store.present() == everything
    looked = json.loads(call("resume", "--json").stdout)
    assert (looked["reason"], looked["waiting"]) == ("a person said no before the first deletion", 2)
    assert "Approve the deletion of 2 objects?" in call("resume", stdin="y\n").output
    assert call("--all").exit_code == 0
    assert store.present() == store.pictures


@pytest.mark.parametrize("arguments", [("--yes",), ("--json",)])
def test_scripts_are_not_asked(call, store, arguments):
    """The limits hold all the same."""
    result = call("--all", *arguments, env={"LEMMY_SAFETY_MAX_FIRST_ACTIONS": "1"})
    assert "?" not in result.output.replace("ask?", "")
    assert result.exit_code == 62
    assert len(store.present()) == len(store.pictures) + 1


def test_a_dry_run_asks_nothing(call, store):
    """There is nothing to approve."""
    everything = store.present()
    assert call("--all", "--dry-run").exit_code == 0
    assert store.present() == everything


def test_resuming_with_nothing_to_resume_says_so(call, store):
    """It asks nothing and changes nothing."""
    call("--all", "--dry-run")
    result = call("resume")
    assert result.exit_code == 0
    assert "The circuit breaker is armed." in result.output
    assert "?" not in result.output
