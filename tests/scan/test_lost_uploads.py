"""What was let in unchecked stays on the list until its bytes are judged, or are proved to be gone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.ledger.uploads import upload
from support.scan.passes import WatchedStorage, minutes_ago, put, scanner_over
from support.scan.scanned_store import SWEEP, Recognizer, picture

from lemmy_safety.errors import AccessDenied, StorageError
from lemmy_safety.ledger import UNSAID, UploadAnswer, UploadResult
from lemmy_safety.records import ItemStatus
from lemmy_safety.scan import PassRequest

HOURS = 60.0


def of_bytes(data: bytes, answer=UploadAnswer.UNCHECKED, **more) -> UploadResult:
    return upload(
        "",
        answer,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        **more,
    )


LOST = picture(99)


def let_in(ledger, data=LOST, *, stored_in=None, minutes=5 * HOURS, **more) -> None:
    ledger.uploads.stored_in = stored_in
    ledger.uploads.record([of_bytes(data, at=minutes_ago(minutes), **more)])
    ledger.uploads.stored_in = None


def open_after(scanner, request=SWEEP) -> int:
    scanner.run(request)
    return scanner.ledger.uploads.count_unchecked()


def test_what_is_not_in_its_storage_any_more_comes_off_the_list(store, database):
    """The hook's settings name the storage, and all of it was read."""
    with scanner_over(store, database, dry_run=True) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        assert open_after(scanner) == 0
        row = scanner.ledger.uploads.get(hashlib.sha256(LOST).hexdigest())
        assert row.assessment.status is ItemStatus.GONE


def break_a_read(scanner, store):
    scanner.storage.failures_left["2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"] = 9


def deny_a_read(scanner, store):
    scanner.storage.refused["2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"] = AccessDenied("no")


def refuse_a_read(scanner, store):
    scanner.storage.refused["2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"] = StorageError("451")


def make_the_very_file_too_large(scanner, store):
    """Its size is that of the upload: it may be it."""
    put(store, "big", LOST)
    scanner.engine.limits = replace(scanner.engine.limits, max_bytes=len(LOST) - 1)


class Growing(WatchedStorage):
    """A file named ``young`` is written to whenever it is described."""

    def __init__(self, root):
        super().__init__(root)
        self.files = root

    def _stat(self, key):
        if key == "young":
            put(self.files, "young", picture(6), modified_at=minutes_ago(-2))
        return super()._stat(key)


def go_on_writing_to_a_file(scanner, store):
    put(store, "young", picture(5), modified_at=minutes_ago(-1))


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [break_a_read, deny_a_read, refuse_a_read, make_the_very_file_too_large, go_on_writing_to_a_file],
    ids=lambda how: how.__name__,
)
def test_a_pass_that_could_not_read_everything_proves_nothing(store, database, how):
    """What it could not read may be what is looked for."""
    with scanner_over(store, database, dry_run=True, storage=Growing(store)) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        how(scanner, store)
        assert open_after(scanner) == 1


def test_a_detector_that_fails_proves_nothing(store, database):
    """Not judged is not looked at."""
    broken = Recognizer(fails_on={64})
    with scanner_over(store, database, dry_run=True, detectors=[broken]) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        assert open_after(scanner) == 1


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({"prefix": "2/"}, SWEEP),
        ({}, PassRequest(kind="daemon", since=minutes_ago(60 * HOURS))),
        ({}, PassRequest(kind="daemon", since=minutes_ago(60 * HOURS), exhaustive=False)),
    ],
    ids=["a part of the storage", "since a time", "only what is new"],
)
def test_a_pass_over_a_part_proves_nothing(store, database, options, request_):
    """It may lie in the rest."""
    with scanner_over(store, database, dry_run=True, **options) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        assert open_after(scanner, request_) == 1


def test_a_folder_that_may_not_be_listed_proves_nothing(store, database):
    """The pass ends with an error that says so."""

    class PartlyClosed(WatchedStorage):
        def _list(self, **how):
            yield from super()._list(**how)
            raise AccessDenied("one folder may not be read")

    with scanner_over(store, database, dry_run=True, storage=PartlyClosed(store)) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        with pytest.raises(AccessDenied):
            scanner.run(SWEEP)
        assert scanner.ledger.uploads.count_unchecked() == 1


def test_what_was_let_in_during_the_pass_stays(store, database):
    """By its own clock, which is hours behind, it came long before."""

    class Meanwhile(Recognizer):
        def detect(self, batch):
            let_in(scanner.ledger, stored_in=scanner.storage.name)
            return super().detect(batch)

    with scanner_over(store, database, dry_run=True, detectors=[Meanwhile()]) as scanner:
        assert open_after(scanner) == 1
        scanner.engine.detectors = (Recognizer(),)
        assert open_after(scanner) == 0


def test_another_folder_proves_nothing(store, database, tmp_path):
    """A sweep of something else with the same database, whether the hook knows its storage or not."""
    other = tmp_path / "other"
    put(other, "a", picture(40))
    for stored_in in ("local:/the real one", UNSAID):
        with scanner_over(other, database, dry_run=True) as scanner:
            let_in(scanner.ledger, stored_in=stored_in)
            assert open_after(scanner) == 1


def received(ledger, store, data, *, minutes, key):
    """A later upload of the door that was judged, in the storage."""
    put(store, key, data, modified_at=minutes_ago(minutes))
    ledger.uploads.record([of_bytes(data, UploadAnswer.ACCEPTED, at=minutes_ago(minutes))])


def test_without_settings_a_storage_that_receives_later_uploads_is_the_doors(store, database):
    """And it alone: it would have received this one too."""
    with scanner_over(store, database, dry_run=True) as scanner:
        let_in(scanner.ledger, stored_in=UNSAID)
        assert open_after(scanner) == 1
        received(scanner.ledger, store, picture(70), minutes=4 * HOURS, key="later")
        assert open_after(scanner) == 0


@pytest.mark.long
def test_uploads_of_which_no_hook_said_anything_belong_to_the_only_storage(store, database, tmp_path):
    """Rows of earlier versions; with two storages on record they may belong to either."""
    other = tmp_path / "other"
    put(other, "a", picture(40))
    with scanner_over(store, database, dry_run=True) as scanner:
        let_in(scanner.ledger)
        assert open_after(scanner) == 0
        with scanner_over(other, database, dry_run=True) as second:
            second.run(SWEEP)
            let_in(scanner.ledger, picture(98))
            assert open_after(second) == 1
        assert open_after(scanner) == 1


def test_a_copy_from_before_the_upload_proves_nothing(store, database):
    """A backup holds earlier uploads of the door, and never those after it was made."""
    with scanner_over(store, database, dry_run=True) as scanner:
        received(scanner.ledger, store, picture(70), minutes=9 * HOURS, key="earlier")
        let_in(scanner.ledger, stored_in=UNSAID)
        assert open_after(scanner) == 1
        # The same bytes come again later, but to another place than this copy.
        scanner.ledger.uploads.record([of_bytes(picture(70), UploadAnswer.ACCEPTED, at=minutes_ago(2 * HOURS))])
        assert open_after(scanner) == 1


def test_of_two_storages_that_receive_uploads_neither_proves_anything(store, database, tmp_path):
    """One hook for two pict-rs: it may have gone to either."""
    second = tmp_path / "second"
    with scanner_over(store, database, dry_run=True) as scanner:
        received(scanner.ledger, second, picture(71), minutes=9 * HOURS, key="earlier")
        with scanner_over(second, database, dry_run=True) as other:
            other.run(SWEEP)
        let_in(scanner.ledger)
        received(scanner.ledger, store, picture(70), minutes=4 * HOURS, key="later")
        assert open_after(scanner) == 1


def test_what_is_still_there_is_judged(store, database):
    """And is off the list for that reason."""
    put(store, "here", LOST)
    with scanner_over(store, database, dry_run=True) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        assert open_after(scanner) == 0
        row = scanner.ledger.uploads.get(hashlib.sha256(LOST).hexdigest())
        assert (row.assessment.status, row.found_key) == (ItemStatus.CHECKED, "here")


def test_an_empty_folder_proves_nothing(database, tmp_path):
    """Its file system may not be mounted."""
    root = Path(tmp_path, "empty")
    root.mkdir()
    with scanner_over(root, database, dry_run=True, storage=WatchedStorage(root)) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name)
        assert open_after(scanner) == 1


def test_a_recent_upload_stays(store, database):
    """pict-rs may not have stored it when the pass listed."""
    with scanner_over(store, database, dry_run=True) as scanner:
        let_in(scanner.ledger, stored_in=scanner.storage.name, minutes=timedelta(minutes=30) / timedelta(minutes=1))
        assert open_after(scanner) == 1
