"""The empty object that pict-rs writes into its bucket at each health check: no upload, and never deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.scan.passes import WatchedStorage, keys_in, put, scanner_over
from support.scan.scanned_store import SWEEP

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.records import ActionPlan, Assessment, ItemResult, ItemStatus

LATER = datetime(2026, 2, 1, tzinfo=UTC)
MARKER = "health-check"


@pytest.mark.parametrize("dry_run", [False, True])
def test_it_is_neither_counted_nor_deleted(store, database, dry_run):
    """Not where unreadable files are deleted, and not when pict-rs has written it again meanwhile."""
    put(store, MARKER, b"")
    with scanner_over(store, database, unreadable_action="delete", dry_run=dry_run) as scanner:
        first = scanner.run(SWEEP)
        put(store, MARKER, b"", modified_at=LATER)
        second = scanner.run(SWEEP)
    assert (first.seen, first.checked, first.unreadable, first.failed) == (12, 12, {}, {})
    assert (second.unreadable, second.failed, second.complete) == ({}, {}, True)
    assert MARKER in keys_in(store)
    assert MARKER not in scanner.storage.reads


@pytest.mark.parametrize(
    ("key", "data"),
    [(MARKER, b"\0"), (MARKER, b"no picture"), (f"01/{MARKER}", b""), (f"{MARKER}.png", b""), ("Health-Check", b"")],
)
def test_whatever_only_looks_like_it_is_judged(store, database, key, data):
    """With bytes in it, in a folder, with an ending, in other letters: unreadable like any such file."""
    put(store, key, data)
    with scanner_over(store, database, unreadable_action="delete") as scanner:
        summary = scanner.run(SWEEP)
    assert summary.unreadable == {"unreadable": 1}
    assert key not in keys_in(store)


def test_a_picture_under_its_name_is_flagged(store, database):
    """The name alone hides nothing."""
    put(store, MARKER, canary_png())
    with scanner_over(store, database) as scanner:
        assert scanner.run(SWEEP).flagged == 3
    assert MARKER not in keys_in(store)


@pytest.mark.parametrize("status", [ItemStatus.UNREADABLE, ItemStatus.DENIED])
def test_what_an_earlier_version_decided_about_it_is_not_done(store, database, status):
    """A deletion that was due is refused, and after the passes nothing of it is left to be done or listed."""
    put(store, MARKER, b"")
    with scanner_over(store, database, unreadable_action="delete", storage=WatchedStorage(store)) as scanner:
        obj = scanner.storage.stat(MARKER)
        run_id = scanner.ledger.passes.start(scanner.storage.name, "sweep", dry_run=False, detectors={"hashes"})
        assessment = Assessment(status=status, reason="empty", sha256="e3" * 32)
        result = ItemResult(obj=obj, assessment=assessment)
        scanner.ledger.objects.record(
            scanner.storage.name, [result], run_id=run_id, dry_run=False, plan=ActionPlan("delete", "delete"), decoder="an earlier one",
        )  # fmt: skip
        scanner.run(SWEEP)
        assert [row.key for row in scanner.ledger.reviews.unjudged()] == []
        assert scanner.ledger.objects.retryable(scanner.storage.name, 10) == []
        later = scanner.run(SWEEP)
        stuck = scanner.ledger.actions.stuck(due_before=datetime.now(UTC) + timedelta(hours=2))
    assert (later.unreadable, later.failed, later.refused) == ({}, {}, 0)
    assert (stuck.failed, stuck.refused_again, stuck.overdue) == (0, 0, 0)
    assert MARKER in keys_in(store)
