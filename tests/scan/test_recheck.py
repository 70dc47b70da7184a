"""Passes over named objects: judged by the detectors themselves, acted on by none, and of no matter to other passes."""

from __future__ import annotations

import threading

import pytest
from support.scan.passes import keys_in, put, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP, Recognizer, picture

from lemmy_safety.ledger import RECHECK
from lemmy_safety.records import ActionPlan
from lemmy_safety.scan import PassRequest


def again(*keys):
    return PassRequest(kind=RECHECK, exhaustive=False, keys=keys)


def test_the_same_bytes_under_two_keys_are_both_shown_to_the_detector(tmp_path, database):
    """A sweep judges them once; anyone who asks for another look does not want an older answer."""
    root = tmp_path / "files"
    put(root, "a.png", picture(1))
    put(root, "b.png", picture(1))
    detector = Recognizer()
    with scanner_over(root, database, detectors=[detector], threads=1) as scanner:
        scanner.run(SWEEP)
        seen = len(detector.looked_at)
        summary = scanner.run(again("a.png", "b.png"))
        assert len(detector.looked_at) == seen + 2
    assert (summary.checked, summary.reused) == (2, 0)


@pytest.mark.long
def test_nothing_is_deleted_whatever_the_settings_say(store, database):
    """Neither what is flagged now nor what an earlier pass has left to do."""
    with scanner_over(store, database, action=None) as reporting:
        reporting.run(SWEEP)
        (due, _) = reporting.ledger.actions.intend(reporting.storage.name, sorted(CANARIES), ActionPlan("delete"))
    with scanner_over(store, database, action="delete", unreadable_action="delete") as scanner:
        summary = scanner.run(again(*sorted(CANARIES)))
        assert (summary.flagged, summary.acted) == (2, 0)
        assert scanner.storage.deletes == []
        assert due.id in {pending.id for pending in scanner.ledger.actions.unfinished(scanner.storage.name)}
    assert keys_in(store) >= CANARIES


def test_other_passes_begin_where_they_would_have(store, database):
    """It moves no watermark: what it was not asked for, it has not seen."""
    with scanner_over(store, database, action=None) as scanner:
        scanner.run(again(*sorted(CANARIES)))
        assert scanner.cursors.watermark() is None
        scanner.run(SWEEP)
        before = (scanner.cursors.watermark(), scanner.cursors.last_full_listing())
        scanner.run(again(*sorted(CANARIES)))
        assert (scanner.cursors.watermark(), scanner.cursors.last_full_listing()) == before


def test_what_is_being_written_is_left_to_a_pass(store, database):
    """Half a file would be judged."""
    with scanner_over(store, database, action=None) as scanner:
        scanner.run(SWEEP)
        scanner.storage.settle_s = 3600
        key = min(CANARIES)
        (store / key).touch()
        scanner.storage.reads.clear()
        assert scanner.run(again(key)).waiting == 1
        assert scanner.storage.reads == []


def test_a_stopped_one_says_so(store, database):
    """The rest of its keys is judged by the next one."""
    stop = threading.Event()
    with scanner_over(store, database, stop=stop, action=None) as scanner:
        scanner.run(SWEEP)
        stop.set()
        summary = scanner.run(again(*sorted(CANARIES)))
    assert summary.stopped
    assert not summary.complete
