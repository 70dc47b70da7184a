"""Detectors that fail on pictures, on batches, on everything."""

from __future__ import annotations

import pytest
from support.scan.passes import keys_in, put, scanner_over
from support.scan.scanned_store import SWEEP, Recognizer, picture

from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.errors import DetectorError, WorkerDied
from lemmy_safety.records import ItemStatus


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
