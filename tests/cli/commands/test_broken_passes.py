"""What was done before an error ended a command is said all the same: what is deleted is deleted."""

from __future__ import annotations

import json
import re

import pytest

from lemmy_safety.errors import AccessDenied, LedgerReplaced, ListingIncomplete
from lemmy_safety.ledger import Actions
from lemmy_safety.storage.local import LocalStorage

UNKNOWN_TO_PICTRS = "pict-rs does not know that"


@pytest.fixture(params=[AccessDenied, ListingIncomplete])
def partly_listed(request, monkeypatch, store):
    """The error that ends the listing of the store after all of its objects were named."""
    listing = LocalStorage._list

    def list_then_fail(self, **how):
        yield from listing(self, **how)
        raise request.param("some folders may not be read")

    monkeypatch.setattr(LocalStorage, "_list", list_then_fail)
    return request.param


def test_a_sweep_that_an_error_ends_says_what_it_did(call, store, partly_listed):
    """The counts, that the pass is incomplete, and what pict-rs still holds; then the error and its own code."""
    result = call("--all")
    assert result.exit_code == partly_listed.exit_code
    assert "incomplete" in result.stdout
    assert "some folders may not be read" in result.stderr
    assert re.search(r"acted on +2\n", result.stdout)
    assert f"{UNKNOWN_TO_PICTRS} 2 objects are gone" in result.stdout
    assert store.present() == store.pictures


def test_a_dry_run_that_an_error_ends_says_what_it_found(call, store, partly_listed):
    """Whether two objects are flagged is not to be looked for in the log."""
    result = call("--all", "--dry-run", "--json")
    assert result.exit_code == partly_listed.exit_code
    summary = json.loads(result.stdout)
    assert (summary["complete"], summary["dry_run"], summary["seen"]) == (False, True, 5)
    assert store.present() == store.canaries | store.pictures


def test_a_sweep_that_did_nothing_yet_shows_the_error_alone(call, store, monkeypatch):
    """A table of noughts would only hide it."""

    def refuse(_self, **_how):
        raise AccessDenied("nothing may be listed")
        yield

    monkeypatch.setattr(LocalStorage, "_list", refuse)
    result = call("--all")
    assert result.exit_code == AccessDenied.exit_code
    assert result.stdout == ""


def test_delete_flagged_that_an_error_ends_says_how_many_are_gone(call, store, monkeypatch):
    """The database goes away after the first deletion: one object is gone, and pict-rs does not know it."""
    assert call("--all", "--dry-run").exit_code == 0
    finish = Actions.finish

    def finish_then_fail(self, *args, **more):
        finish(self, *args, **more)
        monkeypatch.setattr(Actions, "intend", fail)

    def fail(*_args, **_more):
        raise LedgerReplaced("the database was replaced")

    monkeypatch.setattr(Actions, "finish", finish_then_fail)
    result = call("delete-flagged", "--yes")
    assert result.exit_code == LedgerReplaced.exit_code
    assert len(store.canaries & store.present()) == 1
    assert "1 object deleted." in result.stdout
    assert UNKNOWN_TO_PICTRS in result.stdout
