"""A disk that is not mounted, or not any more, must not look like objects that were deleted."""

from __future__ import annotations

import pytest
from support.ledger.uploads import upload
from support.scan.passes import WatchedStorage, minutes_ago, put, scanner_over
from support.scan.scanned_store import SWEEP

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.errors import StorageUnreachable
from lemmy_safety.records import ItemStatus
from lemmy_safety.scan import PassRequest

KEY = "2/13/99/canary"


def cycle(minutes: float = 5) -> PassRequest:
    return PassRequest(kind="cycle", since=minutes_ago(minutes))


def test_what_failed_is_not_noted_as_gone_in_an_empty_folder(store, database):
    """It could not be read, then the disk was away for a pass; back again, it is judged."""
    storage = WatchedStorage(store)
    storage.failures_left = {KEY: 2}
    with scanner_over(store, database, storage=storage, action=None) as scanner:
        assert scanner.run(SWEEP).failed == {ItemStatus.FETCH_FAILED.value: 1}
        away = store.rename(store.with_name("away"))
        store.mkdir()
        scanner.run(cycle())
        assert scanner.ledger.objects.retryable(storage.name, 10) == [KEY]
        store.rmdir()
        away.rename(store)
        assert scanner.run(cycle()).flagged == 1


def test_another_folder_in_the_middle_of_a_pass_ends_it(store, database):
    """Unmounted while objects are read: nothing is noted as gone, and no later pass takes this one for complete."""
    other = store.with_name("other")
    put(other, "stray.txt", b"somebody put this into the mount point")

    class Unmounted(WatchedStorage):
        def _read(self, key, max_bytes, pace):
            if other.exists():
                store.rename(store.with_name("away"))
                other.rename(store)
            return super()._read(key, max_bytes, pace)

    storage = Unmounted(store)
    with scanner_over(store, database, storage=storage, threads=1) as scanner:
        with pytest.raises(StorageUnreachable, match="no longer the folder"):
            scanner.run(SWEEP)
        assert scanner.cursors.watermark() is None
        recorded = {key for key in storage.reads if scanner.ledger.objects.describe(storage.name, key)}
        assert recorded <= set(scanner.ledger.objects.retryable(storage.name, 100))


def test_uploads_that_wait_are_not_given_up_for_an_empty_folder(tmp_path, database):
    """A sweep that met nothing at all proves nothing about what was let in unchecked."""
    store = tmp_path / "files"
    store.mkdir()
    with scanner_over(store, database) as scanner:
        scanner.ledger.uploads.record([upload("waits", at=minutes_ago(600))])
        scanner.run(SWEEP)
        assert scanner.ledger.uploads.count_unchecked() == 1
        put(store, "another", canary_png())
        scanner.run(SWEEP)
        assert scanner.ledger.uploads.count_unchecked() == 0
