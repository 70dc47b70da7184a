"""Objects and storages that fail in the middle of a pass: what they cost, and what they do not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from support.scan.passes import WatchedStorage, keys_in, minutes_ago, put, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP, picture

from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import AccessDenied, StorageError, StorageUnreachable
from lemmy_safety.records import ActionState, ItemStatus, Outcome
from lemmy_safety.scan import PassRequest


@pytest.mark.long
def test_one_bad_object_never_stops_a_run(store, database):
    """Text, emptiness, a truncated header, a giant canvas: each gets its status and its reason."""
    put(store, "bad/text.jpg", b"this is no picture at all\n" * 10)
    put(store, "bad/empty.png", b"")
    put(store, "bad/cut.png", picture(1)[:40])
    huge = bytearray(picture(1))
    huge[16:24] = (50_000).to_bytes(4, "big") * 2
    put(store, "bad/huge.png", bytes(huge))
    put(store, "bad/heavy.png", bytes(30_000_000))
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.checked == 12
    assert sum(summary.unreadable.values()) == 5
    assert summary.unreadable["too_large"] >= 1
    assert {"bad/text.jpg", "bad/empty.png", "bad/cut.png", "bad/huge.png", "bad/heavy.png"} <= keys_in(store)
    assert summary.complete


def test_a_listed_file_is_flagged_although_no_picture_can_be_decoded(store, database, tmp_path):
    """A known video or damaged file is known by its bytes; its neighbour is left alone as unreadable."""
    video = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200)
    put(store, "v/listed.mp4", video)
    put(store, "v/other.mp4", video + b"x")
    hashes = tmp_path / "hashes.txt"
    hashes.write_text(f"sha256 {hashlib.sha256(video).hexdigest()} case 7\n")
    with scanner_over(store, database, detectors=[HashesDetector(hashes)], prefix="v/") as scanner:
        summary = scanner.run(SWEEP)
        row = next(scanner.ledger.reviews.flagged(include_settled=True))
    assert (summary.checked, summary.flagged, summary.acted) == (1, 1, 1)
    assert summary.unreadable == {"unreadable": 1}
    assert (row.key, row.assessment.findings[0].label) == ("v/listed.mp4", "sha256-list")
    assert "v/other.mp4" in keys_in(store)


def test_an_object_that_may_not_be_read_is_recorded_as_denied_and_tried_again(store, database):
    """Denied is neither checked nor flagged, and the next pass asks again."""
    key = "2/13/99/canary"

    class Refusing(WatchedStorage):
        refuses = True

        def _read(self, key_asked, max_bytes, pace):
            if key_asked == key and self.refuses:
                raise AccessDenied("no permission")
            return super()._read(key_asked, max_bytes, pace)

    storage = Refusing(store)
    with scanner_over(store, database, storage=storage) as scanner:
        summary = scanner.run(SWEEP)
        assert summary.failed == {ItemStatus.DENIED.value: 1}
        storage.refuses = False
        assert scanner.run(SWEEP).flagged == 1


def test_a_read_that_fails_once_is_retried_in_the_same_pass(store, database):
    """A passing failure costs a second try, not the object."""
    storage = WatchedStorage(store)
    storage.failures_left = dict.fromkeys(sorted(keys_in(store))[:3], 1)
    with scanner_over(store, database, storage=storage) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.checked == 12
    assert not summary.failed


def test_a_read_that_keeps_failing_is_recorded_as_such_and_tried_in_the_next_pass(store, database):
    """Not checked, not flagged, not forgotten (the ancestor recorded it as checked)."""
    storage = WatchedStorage(store)
    key = min(keys_in(store))
    storage.failures_left = {key: 99}
    with scanner_over(store, database, storage=storage) as scanner:
        summary = scanner.run(SWEEP)
        assert summary.failed == {ItemStatus.FETCH_FAILED.value: 1}
        assert summary.checked == 11
        storage.failures_left = {}
        again = scanner.run(PassRequest(kind="daemon", since=minutes_ago(1)))
    assert (again.seen, again.checked) == (1, 1)


@pytest.mark.long
def test_a_storage_that_is_down_ends_the_pass_and_records_nothing_as_checked(tmp_path, database):
    """400,000 single failures help no one: the pass says that the storage is down."""
    root = tmp_path / "many"
    for number in range(100):
        put(root, f"x/{number}.png", picture(number))
    storage = WatchedStorage(root)
    storage.down = True
    with scanner_over(root, database, storage=storage) as scanner:
        with pytest.raises(StorageUnreachable, match="line is cut"):
            scanner.run(SWEEP)
        assert scanner.ledger.maintenance.stats().by_outcome == {}
        storage.down = False
        assert scanner.run(SWEEP).checked == 100


@pytest.mark.long
def test_many_objects_that_cannot_be_read_do_not_stop_the_others(tmp_path, database):
    """When reads fail in a row the storage is asked; if it answers, it is those objects that are broken, not the store."""
    root = tmp_path / "many"
    for number in range(100):
        put(root, f"x/{number:03}.png", picture(number))
    storage = WatchedStorage(root)
    storage.failures_left = {f"x/{number:03}.png": 99 for number in range(30, 75)}
    with scanner_over(root, database, storage=storage) as scanner:
        for _ in range(2):
            summary = scanner.run(SWEEP)
            assert summary.failed == {ItemStatus.FETCH_FAILED.value: 45}
        assert scanner.ledger.maintenance.stats().by_outcome == {Outcome.CLEAR: 55}


def test_an_answer_that_fits_no_class_costs_only_its_object(store, database):
    """A storage that says 451 for one object is not down: the others are judged, and its deletion counts as failed."""
    storage = WatchedStorage(store)
    unreadable, undeletable = "2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00", "2/13/99/canary"
    storage.refused = {unreadable: StorageError("answered 451")}
    with scanner_over(store, database, storage=storage, prefix="2/13/5") as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.checked, summary.failed) == (4, {ItemStatus.FETCH_FAILED.value: 1})

    class Undeletable(WatchedStorage):
        def _delete(self, key, expected):  # noqa: ARG002
            raise StorageError(f"answered 451 for {key}")

    with scanner_over(store, database, storage=Undeletable(store), prefix="2/13/99/") as scanner:
        for _ in range(2):
            summary = scanner.run(SWEEP)
            assert (summary.acted, summary.refused, summary.action_failed) == (0, 0, 1)
        assert [row.action_state for row in scanner.ledger.reviews.flagged()] == [ActionState.FAILED]
    assert undeletable in keys_in(store)


@pytest.mark.long
def test_what_cannot_be_read_is_not_acted_on_while_somebody_may_still_be_writing_it(store, database):
    """A telephone that pauses leaves half a picture for a while; what rests is dealt with by a later pass, if it is the same."""
    for key in ("half.png", "broken.png"):
        put(store, key, picture(1)[:40], modified_at=minutes_ago(3))
    with scanner_over(store, database, unreadable_action="delete") as scanner:
        first = scanner.run(SWEEP)
        assert (first.unreadable, first.acted) == ({"unreadable": 2}, 2)  # the two canaries
        assert {"half.png", "broken.png"} <= keys_in(store)
        put(store, "half.png", picture(2), modified_at=minutes_ago(0))
    later = datetime.now(UTC) + timedelta(minutes=20)
    with pytest.MonkeyPatch.context() as patch, scanner_over(store, database, unreadable_action="delete") as scanner:
        patch.setattr("lemmy_safety.actions.runner.datetime", type("Later", (datetime,), {"now": lambda _zone: later}))
        scanner.run(SWEEP)
    assert "half.png" in keys_in(store)
    assert "broken.png" not in keys_in(store)


def test_a_folder_that_may_not_be_listed_ends_the_pass_only_when_all_else_is_done(store, database):
    """The error is raised, nothing counts as covered, but everything that could be listed was judged and acted on."""

    class PartlyClosed(WatchedStorage):
        def _list(self, **how):
            yield from super()._list(**how)
            raise AccessDenied("1 folder may not be read")

    with scanner_over(store, database, storage=PartlyClosed(store)) as scanner:
        with pytest.raises(AccessDenied):
            scanner.run(SWEEP)
        assert scanner.ledger.maintenance.stats().objects == 12
        assert scanner.cursors.watermark() is None
    assert not CANARIES & keys_in(store)


@pytest.mark.long
def test_a_file_that_is_still_being_written_waits_for_the_next_pass(store, database):
    """pict-rs writes straight to the final path: half a file is not judged."""

    class Growing(WatchedStorage):
        def _stat(self, key):
            if key == "new/half.png" and not self.whole:
                with (store / key).open("ab") as file:
                    file.write(b"more")
            return super()._stat(key)

        whole = False

    storage = Growing(store)
    put(store, "new/half.png", picture(77)[:60], modified_at=minutes_ago(-1))
    put(store, "new/fresh.png", picture(78), modified_at=minutes_ago(0))
    with scanner_over(store, database, storage=storage, prefix="new/") as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.checked, summary.waiting) == (1, 1)
        assert "new/half.png" not in storage.reads
        put(store, "new/half.png", picture(77))
        storage.whole = True
        assert scanner.run(SWEEP).checked == 1
