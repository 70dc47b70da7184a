"""Whole passes over a real folder and a real database: what is read, recorded, deleted, and what is left alone."""

from __future__ import annotations

import hashlib
import io
import threading

import pytest
from PIL import Image
from support.ancestor import write_ancestor_database
from support.passes import LONG_AGO, WatchedStorage, keys_in, minutes_ago, put, scanner_over

from lemmy_safety.detectors.base import Detector
from lemmy_safety.detectors.canary import canary_image, canary_png
from lemmy_safety.detectors.hashes import HashesDetector
from lemmy_safety.errors import (
    AccessDenied,
    DetectorError,
    LedgerFull,
    ObjectGone,
    StorageError,
    StorageUnreachable,
    WorkerDied,
)
from lemmy_safety.records import (
    ActionState,
    Finding,
    ItemStatus,
    Outcome,
    Review,
    ScreenStatistics,
    StageStatistics,
)
from lemmy_safety.scan import PassRequest

SWEEP = PassRequest(kind="sweep")


def picture(number: int) -> bytes:
    """A small harmless PNG; each number gives other bytes."""
    image = Image.linear_gradient("L").resize((64 + number, 48)).convert("RGB")
    image.putpixel((0, 0), (number % 256, number // 256, 7))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def canary_thumbnail() -> bytes:
    """The canary as pict-rs would cache it: 256 px, WebP."""
    image = canary_image().convert("RGB")
    image.thumbnail((256, 256))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=50)
    return out.getvalue()


@pytest.fixture
def store(tmp_path):
    """Ten harmless pictures, two canaries (one re-encoded), in both of pict-rs's key layouts."""
    root = tmp_path / "files"
    for number in range(5):
        put(root, f"01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789a{number}.png", picture(number))
        put(root, f"2/13/5{number}/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c0{number}", picture(10 + number))
    put(root, "01/a1/96/fb/16/00/7a/bc/9d/ef/canary000001.png", canary_png())
    put(root, "2/13/99/canary", canary_thumbnail())
    return root


@pytest.fixture
def database(tmp_path):
    return tmp_path / "lemmy_safety.db"


CANARIES = {"01/a1/96/fb/16/00/7a/bc/9d/ef/canary000001.png", "2/13/99/canary"}


class Recognizer(Detector):
    """A detector for faults: says nothing of anything, except what a test has planted by sha256.

    Stands in for detectors whose failures cannot be provoked with harmless pictures.
    """

    name = "clip"
    batch_size = 4

    def __init__(self, *, fails_on=(), breaks_whole_batches=False, error=None):
        self.fails_on = set(fails_on)
        self.breaks_whole_batches = breaks_whole_batches
        self.error = error or DetectorError("planted")
        self.looked_at = []

    @property
    def version(self):
        return "recognizer-1"

    def open(self): ...

    def detect(self, batch):
        if self.breaks_whole_batches and len(batch) > 1:
            raise self.error
        for sample in batch:
            if sample.info.width in self.fails_on:
                raise self.error
        self.looked_at.extend(sample.sha256 for sample in batch)
        return [
            [Finding(detector=self.name, version=self.version, label="nsfw", score=0.0, threshold=1.0)] for _ in batch
        ]

    def close(self): ...


class ScreeningRecognizer(Recognizer):
    """A recognizer that counts as if all it was shown had been cleared by a screen but the first of each batch."""

    confirmed = 0

    @property
    def screen_statistics(self):
        screened = len(self.looked_at)
        counts = {"screened": screened, "cleared": screened - self.confirmed}
        stage = StageStatistics(
            name="fast", error_bound=0.01, largest_error=0.003, widenings=0, exceeded=0, in_use=True, **counts
        )
        return ScreenStatistics(confirmed=self.confirmed, watched=0, stages=(stage,), **counts)

    def detect(self, batch):
        self.confirmed += 1
        return super().detect(batch)


def test_the_summary_says_what_the_screen_did_in_this_pass(store, database):
    """A pass counts its own frames only, and a pass that showed the screen nothing says nothing of it."""
    with scanner_over(store, database, detectors=[HashesDetector(), ScreeningRecognizer()]) as scanner:
        first = scanner.run(SWEEP)
        put(store, "2/13/98/later", picture(40))
        second = scanner.run(SWEEP)
        third = scanner.run(SWEEP)
    assert first.screen.screened == first.checked > second.screen.screened
    assert (second.screen.screened, second.screen.cleared, second.screen.confirmed) == (1, 0, 1)
    assert second.as_dict()["screen"]["stages"][0]["error_bound"] == 0.01
    assert third.screen is None
    assert third.as_dict()["screen"] is None


def test_a_sweep_judges_everything_and_deletes_exactly_the_flagged(store, database):
    """Twelve objects, two canaries: two gone, ten left, and the summary says so."""
    before = keys_in(store)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
    assert keys_in(store) == before - CANARIES
    assert (summary.seen, summary.checked, summary.flagged, summary.acted) == (12, 12, 2, 2)
    assert summary.complete
    assert not summary.failed
    assert summary.images_per_s > 0


def test_a_second_sweep_reads_nothing(store, database):
    """What is known and unchanged costs a look-up, not a download."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert (summary.seen, summary.skipped, summary.checked) == (10, 10, 0)


def test_an_object_that_changed_is_judged_again(store, database):
    """The same key with other bytes is another picture."""
    key = "2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00"
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    put(store, key, canary_png(), modified_at=minutes_ago(5))
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == [key]
    assert summary.acted == 1
    assert key not in keys_in(store)


def test_a_dry_run_marks_and_touches_nothing_and_a_live_sweep_acts_without_reading_again(store, database):
    """The finds of a dry run are not lost to the sweep that follows it (the ancestor skipped them for ever)."""
    before = keys_in(store)
    with scanner_over(store, database, dry_run=True) as scanner:
        summary = scanner.run(SWEEP)
        rows = list(scanner.ledger.flagged())
    assert keys_in(store) == before
    assert (summary.flagged, summary.acted) == (2, 0)
    assert {row.key for row in rows} == CANARIES
    assert all(row.dry_run and row.action_state is ActionState.NONE for row in rows)
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert summary.acted == 2
    assert keys_in(store) == before - CANARIES


def test_report_only_records_and_never_deletes(store, database):
    """ACTION=report leaves every object where it is, run after run."""
    before = keys_in(store)
    for _ in range(2):
        with scanner_over(store, database, action=None) as scanner:
            scanner.run(SWEEP)
    assert keys_in(store) == before


def test_what_a_reviewer_cleared_is_left_alone_also_under_another_key(store, database):
    """A false positive that was cleared stays, and so does the same picture uploaded again."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        scanner.ledger.review(sorted(CANARIES), Review.CLEARED)
    put(store, "2/14/0/again", canary_png())
    with scanner_over(store, database) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.acted == 0
    assert keys_in(store) >= {*CANARIES, "2/14/0/again"}


def test_the_same_bytes_under_another_key_reuse_the_verdict(store, database):
    """A copy is read, recognised by its digest, and never reaches a detector."""
    detector = Recognizer()
    with scanner_over(store, database, detectors=[detector]) as scanner:
        scanner.run(SWEEP)
        seen_before = len(detector.looked_at)
        put(store, "2/99/1/copy", picture(3))
        summary = scanner.run(SWEEP)
    assert summary.reused == 1
    assert len(detector.looked_at) == seen_before


def test_objects_judged_by_fewer_detectors_are_judged_again_when_one_is_added(store, database):
    """A store that was only swept with hashes does not count as checked once clip is on."""
    with scanner_over(store, database, action=None) as scanner:
        scanner.run(SWEEP)
    detector = Recognizer()
    with scanner_over(store, database, action=None, detectors=[detector]) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.checked == 12
    assert len(detector.looked_at) == 12


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
        row = next(scanner.ledger.flagged(include_settled=True))
    assert (summary.checked, summary.flagged, summary.acted) == (1, 1, 1)
    assert summary.unreadable == {"unreadable": 1}
    assert (row.key, row.findings[0].label) == ("v/listed.mp4", "sha256-list")
    assert "v/other.mp4" in keys_in(store)


def test_an_object_that_may_not_be_read_is_recorded_as_denied_and_tried_again(store, database):
    """Denied is neither checked nor flagged, and the next pass asks again."""
    key = "2/13/99/canary"

    class Refusing(WatchedStorage):
        refuses = True

        def _read(self, key_asked, max_bytes):
            if key_asked == key and self.refuses:
                raise AccessDenied("no permission")
            return super()._read(key_asked, max_bytes)

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


def test_a_storage_that_is_down_ends_the_pass_and_records_nothing_as_checked(tmp_path, database):
    """400,000 single failures help nobody: the pass says that the storage is down."""
    root = tmp_path / "many"
    for number in range(100):
        put(root, f"x/{number}.png", picture(number))
    storage = WatchedStorage(root)
    storage.down = True
    with scanner_over(root, database, storage=storage) as scanner:
        with pytest.raises(StorageUnreachable, match="line is cut"):
            scanner.run(SWEEP)
        assert scanner.ledger.stats().by_outcome == {}
        storage.down = False
        assert scanner.run(SWEEP).checked == 100


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
        assert scanner.ledger.stats().by_outcome == {Outcome.CLEAR: 55}


def test_an_answer_that_fits_no_class_costs_only_its_object(store, database):
    """A storage that says 451 for one object is not down: the others are judged, and its deletion counts as failed."""
    storage = WatchedStorage(store)
    unreadable, undeletable = "2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00", "2/13/99/canary"
    storage.refused = {unreadable: StorageError("answered 451")}
    with scanner_over(store, database, storage=storage, prefix="2/13/5") as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.checked, summary.failed) == (4, {ItemStatus.FETCH_FAILED.value: 1})

    class Undeletable(WatchedStorage):
        def _delete(self, key):
            raise StorageError(f"answered 451 for {key}")

    with scanner_over(store, database, storage=Undeletable(store), prefix="2/13/99/") as scanner:
        for _ in range(2):
            summary = scanner.run(SWEEP)
            assert (summary.acted, summary.refused) == (0, 1)
        assert [row.action_state for row in scanner.ledger.flagged()] == [ActionState.FAILED]
    assert undeletable in keys_in(store)


def test_a_store_that_is_not_mounted_finishes_no_deletion(store, database):
    """In an empty folder nothing can be told to be gone: the intent stays until the store is back."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
    away = store.rename(store.with_name("away"))
    store.mkdir()
    with scanner_over(store, database) as scanner:
        rows = list(scanner.ledger.flagged())
        reports = list(scanner._runner.act_on_flagged(rows, "delete"))
        assert [report.state for report in reports] == [ActionState.INTENDED] * 2
    store.rmdir()
    away.rename(store)
    with scanner_over(store, database) as scanner:
        assert scanner.run(SWEEP).acted == 2
    assert not CANARIES & keys_in(store)


def test_an_ancestors_object_that_comes_back_is_not_deleted_unseen(store, database):
    """Gone when it was described, there a moment later: whether it is the judged one was never compared."""
    write_ancestor_database(database, [("2/13/50/7d9c1f2e-58a1-4f0e-9a47-1d1f8a3b6c00", True, True)])

    class ComingBack(WatchedStorage):
        def _stat(self, key):
            raise ObjectGone(f"{key} is not there yet")

    before = keys_in(store)
    with scanner_over(store, database, storage=ComingBack(store)) as scanner:
        rows = list(scanner.ledger.flagged())
        reports = list(scanner._runner.act_on_flagged(rows, "delete"))
    assert [report.detail for report in reports] == ["was already gone"]
    assert scanner.storage.deletes == []
    assert keys_in(store) == before


def test_what_a_reviewer_clears_while_its_deletion_is_queued_is_left_alone(store, database):
    """A human's word counts until the very deed."""
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        queued = scanner.ledger.intend(scanner.storage.name, sorted(CANARIES), "delete")
        scanner.ledger.review(["2/13/99/canary"], Review.CLEARED)
        reports = {report.key: report.state for report in map(scanner._runner.carry_out, queued)}
    assert reports["2/13/99/canary"] is ActionState.NONE
    assert CANARIES & keys_in(store) == {"2/13/99/canary"}


def test_an_object_that_changed_before_its_deletion_is_reported_and_judged_anew(store, database):
    """Not skipped in silence: each delete-flagged says so, and a daemon's next pass looks at it whatever its date."""
    key = "2/13/99/canary"
    with scanner_over(store, database, dry_run=True) as scanner:
        scanner.run(SWEEP)
        put(store, key, canary_thumbnail() + b"x", modified_at=minutes_ago(90))
        for _ in range(2):
            rows = [row for row in scanner.ledger.flagged() if row.key == key]
            assert [report.state for report in scanner._runner.act_on_flagged(rows, "delete")] == [ActionState.REFUSED]
    with scanner_over(store, database, prefix="2/") as scanner:
        summary = scanner.run(PassRequest(kind="daemon", since=minutes_ago(5)))
    assert (summary.checked, summary.flagged, summary.acted) == (1, 1, 1)


def test_a_verdict_is_not_reused_after_the_hash_list_changed(store, database, tmp_path):
    """The same bytes under a new key, listed meanwhile: judged by the list of today, not by yesterday's verdict."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
    put(store, "x/again.png", picture(3))
    hashes = tmp_path / "hashes.txt"
    hashes.write_text(f"sha256 {hashlib.sha256(picture(3)).hexdigest()}\n")
    with scanner_over(store, database, detectors=[HashesDetector(hashes)]) as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.checked, summary.reused, summary.flagged) == (1, 0, 1)


def test_a_folder_that_may_not_be_listed_ends_the_pass_only_when_all_else_is_done(store, database):
    """The error is raised, nothing counts as covered, but everything that could be listed was judged and acted on."""

    class PartlyClosed(WatchedStorage):
        def _list(self, **how):
            yield from super()._list(**how)
            raise AccessDenied("1 folder may not be read")

    with scanner_over(store, database, storage=PartlyClosed(store)) as scanner:
        with pytest.raises(AccessDenied):
            scanner.run(SWEEP)
        assert scanner.ledger.stats().objects == 12
        assert scanner.watermark() is None
    assert not CANARIES & keys_in(store)


def test_a_detector_that_breaks_on_a_picture_does_not_hide_what_another_found_in_it(store, database):
    """A picture made to crash one detector is still known to the hash list."""
    detectors = [HashesDetector(), Recognizer(fails_on={1024, 256})]
    with scanner_over(store, database, detectors=detectors) as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.flagged, summary.acted, summary.checked) == (2, 2, 12)


def test_pictures_that_break_a_detector_cost_themselves_however_many_they_are(tmp_path, database):
    """After ten in a row the detector is tried on a picture of ours; it works, so the pictures are to blame."""
    root = tmp_path / "files"
    for number in range(25):
        put(root, f"x/{number}.png", picture(number))
    put(root, "y/fine.png", picture(190))
    detector = Recognizer(fails_on=set(range(64, 64 + 25)))
    with scanner_over(root, database, detectors=[detector]) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.failed == {ItemStatus.DETECTOR_FAILED.value: 25}
    assert summary.checked == 1


def test_decoded_pictures_are_bounded_too(tmp_path, database):
    """Frames wait for the model within the memory limit, however small their files are."""
    root = tmp_path / "files"
    for number in range(40):
        put(root, f"x/{number}.png", picture(number))
    most = 0

    class Watching(Recognizer):
        batch_size = 64

        def detect(self, batch):
            nonlocal most
            most = max(most, sum(frame.pixels.nbytes for sample in batch for frame in sample.frames))
            return super().detect(batch)

    with scanner_over(root, database, detectors=[Watching()], memory_bytes=50_000) as scanner:
        assert scanner.run(SWEEP).checked == 40
    assert 0 < most <= 50_000


def test_a_delete_that_cannot_be_done_now_is_finished_at_the_next_start(store, database):
    """The intent is on disk before the deed; the next pass carries it out first."""
    storage = WatchedStorage(store)

    class CutBeforeDeleting(Recognizer):
        def detect(self, batch):
            storage.down = True
            return [
                [Finding(detector="clip", version="1", label="csam", score=1.0, threshold=1.0)]
                if sample.info.width > 800
                else []
                for sample in batch
            ]

    put(store, "only/one.png", canary_png())
    with scanner_over(store, database, storage=storage, detectors=[CutBeforeDeleting()], prefix="only/") as scanner:
        summary = scanner.run(SWEEP)
        assert (summary.flagged, summary.acted) == (1, 0)
        assert [row.action_state for row in scanner.ledger.flagged()] == [ActionState.INTENDED]
    with scanner_over(store, database, prefix="nothing-new/") as scanner:
        summary = scanner.run(SWEEP)
        assert scanner.storage.reads == []
    assert summary.acted == 1
    assert "only/one.png" not in keys_in(store)


def test_an_object_replaced_between_judgement_and_deletion_is_left_alone(store, database):
    """What was judged is not what is there now: refused, and judged anew by the next pass."""
    key = "2/13/99/canary"

    class Replacing(Recognizer):
        def detect(self, batch):
            put(store, key, picture(42), modified_at=minutes_ago(1))
            return [[Finding(detector="clip", version="1", label="csam", score=1.0, threshold=1.0)] for _ in batch]

    with scanner_over(store, database, detectors=[Replacing()], prefix="2/13/99/") as scanner:
        summary = scanner.run(SWEEP)
    assert (summary.flagged, summary.acted, summary.refused) == (1, 0, 1)
    assert key in keys_in(store)
    with scanner_over(store, database, prefix="2/13/99/") as scanner:
        again = scanner.run(SWEEP)
    assert (again.checked, again.flagged) == (1, 0)
    assert key in keys_in(store)


def test_a_sample_that_breaks_a_detector_costs_only_itself(store, database):
    """The batch is split: its neighbours are judged, the culprit is recorded as failed and tried again later."""
    detector = Recognizer(fails_on={64 + 3}, breaks_whole_batches=True)
    with scanner_over(store, database, detectors=[detector]) as scanner:
        summary = scanner.run(SWEEP)
    assert summary.failed == {ItemStatus.DETECTOR_FAILED.value: 1}
    assert summary.checked == 11


@pytest.mark.parametrize(
    ("error", "expected"), [(DetectorError("no memory"), DetectorError), (ValueError("bug"), WorkerDied)]
)
def test_a_detector_that_fails_on_everything_ends_the_run_with_its_own_error(tmp_path, database, error, expected):
    """A broken model is the run's failure, not that of 400,000 objects."""
    root = tmp_path / "files"
    for number in range(40):
        put(root, f"x/{number}.png", picture(number))

    class Broken(Recognizer):
        def detect(self, _batch):
            raise self.error

    with scanner_over(root, database, detectors=[Broken(error=error)]) as scanner, pytest.raises(expected) as caught:
        scanner.run(SWEEP)
    assert caught.value is error or caught.value.__cause__ is error
    assert len(keys_in(root)) == 40


def test_nothing_is_deleted_when_nothing_can_be_recorded(store, database):
    """A full disk under the ledger ends the run before the first deed."""
    before = keys_in(store)
    with scanner_over(store, database) as scanner:
        ledger = scanner.ledger

        class Full:
            """The real ledger, on a disk that is full."""

            def __getattr__(self, name):
                return getattr(ledger, name)

            def record(self, *_args, **_more):
                raise LedgerFull("the disk is full")

        with (
            scanner_over(store, database, ledger=Full(), storage=WatchedStorage(store)) as full,
            pytest.raises(LedgerFull),
        ):
            full.run(SWEEP)
    assert keys_in(store) == before


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


def test_a_stop_ends_the_pass_soon_and_keeps_what_was_judged(tmp_path, database):
    """The stop signal in the middle: not complete, no watermark, and the next sweep does only the rest."""
    root = tmp_path / "files"
    for number in range(200):
        put(root, f"x/{number:03}.png", picture(number))
    stop = threading.Event()

    class StopAfterSome(Recognizer):
        def detect(self, batch):
            findings = super().detect(batch)
            if len(self.looked_at) > 20:
                stop.set()
            return findings

    with scanner_over(root, database, detectors=[StopAfterSome()], stop=stop) as scanner:
        summary = scanner.run(SWEEP)
        assert summary.stopped
        assert not summary.complete
        assert scanner.watermark() is None
    assert 20 < summary.checked < 200
    with scanner_over(root, database, detectors=[Recognizer()]) as scanner:
        rest = scanner.run(SWEEP)
    assert rest.skipped >= 20
    assert rest.skipped + rest.checked == 200


def test_the_listener_sees_the_pass_grow(store, database):
    """Whoever shows progress gets snapshots that never shrink."""
    shown = []

    class Listener:
        def update(self, counts):
            shown.append(counts)

    class Slow(Recognizer):
        def detect(self, batch):
            threading.Event().wait(0.15)
            return super().detect(batch)

    with scanner_over(store, database, detectors=[Slow()], listener=Listener()) as scanner:
        scanner.run(SWEEP)
    assert shown
    assert [counts.checked for counts in shown] == sorted(counts.checked for counts in shown)


def test_the_watermark_never_jumps_over_a_gap(store, database):
    """A pass that looked back less far than the last complete one reached proves nothing of the time between."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        first = scanner.watermark()
        put(store, "x/new.png", picture(99), modified_at=minutes_ago(1))
        scanner.run(PassRequest(kind="daemon", since=minutes_ago(10)))
        assert scanner.watermark() == first
        scanner.run(PassRequest(kind="daemon", since=LONG_AGO))
        assert scanner.watermark() > first


def test_the_watermark_is_in_the_stores_own_time(store, database):
    """A server whose clock is an hour behind dates new objects an hour back; they must not fall behind the watermark."""
    put(store, "x/new.png", picture(99), modified_at=minutes_ago(60))
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        assert scanner.watermark() <= minutes_ago(59)
        assert scanner.last_pass() == scanner.watermark()


def test_a_pass_by_other_detectors_or_over_a_part_has_its_own_watermark(store, database):
    """What was swept with hashes alone says nothing of a daemon with clip."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        assert scanner.watermark() is not None
    with scanner_over(store, database, detectors=[Recognizer()]) as scanner:
        assert scanner.watermark() is None
    with scanner_over(store, database, prefix="2/") as scanner:
        assert scanner.watermark() is None


def test_every_object_has_exactly_one_row_with_its_verdict(store, database):
    """The ledger after a sweep: as many verdicts as objects, flagged ones done."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        stats = scanner.ledger.stats()
        done = [row.action_state for row in scanner.ledger.flagged(include_settled=True)]
    assert stats.objects == 12
    assert stats.by_outcome == {Outcome.CLEAR: 10, Outcome.FLAGGED: 2}
    assert done == [ActionState.DONE, ActionState.DONE]
