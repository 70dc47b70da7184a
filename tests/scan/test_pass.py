"""A pass as a whole: its account of itself, its watermark, its bounds and its end."""

from __future__ import annotations

import threading

import pytest
from support.scan.passes import LONG_AGO, WatchedStorage, minutes_ago, put, scanner_over
from support.scan.scanned_store import SWEEP, Recognizer, picture

from lemmy_safety.detectors.base import DetectorReport
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.records import ScreenStatistics, StageStatistics
from lemmy_safety.scan import PassRequest


class ScreeningRecognizer(Recognizer):
    """A recognizer that counts as if all it was shown had been cleared by a screen but the first of each batch."""

    confirmed = 0

    def report(self):
        screened = len(self.looked_at)
        counts = {"screened": screened, "cleared": screened - self.confirmed}
        stage = StageStatistics(
            name="fast", error_bound=0.01, largest_error=0.003, widenings=0, exceeded=0, in_use=True, **counts
        )
        return DetectorReport(screen=ScreenStatistics(confirmed=self.confirmed, watched=0, stages=(stage,), **counts))

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


@pytest.mark.long
def test_the_listener_sees_the_pass_grow(store, database):
    """Anyone who shows progress gets snapshots that never shrink."""
    shown = []

    class Listener:
        def update(self, counts, _outlook):
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
        first = scanner.cursors.watermark()
        put(store, "x/new.png", picture(99), modified_at=minutes_ago(1))
        scanner.run(PassRequest(kind="daemon", since=minutes_ago(10)))
        assert scanner.cursors.watermark() == first
        scanner.run(PassRequest(kind="daemon", since=LONG_AGO))
        assert scanner.cursors.watermark() > first


def test_the_watermark_is_in_the_stores_own_time(store, database):
    """A server whose clock is an hour behind dates new objects an hour back; they must not fall behind the watermark."""
    put(store, "x/new.png", picture(99), modified_at=minutes_ago(60))
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        assert scanner.cursors.watermark() <= minutes_ago(59)
        assert scanner.cursors.last_pass() == scanner.cursors.watermark()


def test_a_pass_by_other_detectors_or_over_a_part_has_its_own_watermark(store, database):
    """What was swept with hashes alone says nothing of a daemon with clip."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        assert scanner.cursors.watermark() is not None
    with scanner_over(store, database, detectors=[Recognizer()]) as scanner:
        assert scanner.cursors.watermark() is None
    with scanner_over(store, database, prefix="2/") as scanner:
        assert scanner.cursors.watermark() is None


def test_a_pass_over_a_part_proves_nothing_of_the_rest(store, database):
    """A daemon that begins again with other detectors looks back to the last pass over everything, not over a part."""
    with scanner_over(store, database) as scanner:
        scanner.run(SWEEP)
        reached = scanner.cursors.last_pass()
    put(store, "x/new.png", picture(99), modified_at=minutes_ago(1))
    with scanner_over(store, database, prefix="x/") as scanner:
        assert scanner.run(SWEEP).checked == 1
        assert scanner.cursors.watermark() > reached
        assert scanner.cursors.last_pass() == reached


@pytest.mark.long
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


def test_a_stop_is_heard_while_everything_listed_is_known(store, database):
    """Nothing is handed on then, so the listing itself has to look."""
    stop = threading.Event()

    class Endless(WatchedStorage):
        pages = 0

        def _list(self, **how):
            objects = list(super()._list(**how))
            yield from objects
            while self.pages < 1000 and self.reads:  # from the second pass on, in pages of 500
                self.pages += 1
                if self.pages == 3:
                    stop.set()
                yield from objects * 50

    storage = Endless(store)
    with scanner_over(store, database, storage=storage, stop=stop, action=None) as scanner:
        storage.pages = 1000
        scanner.run(SWEEP)
        storage.pages = 0
        assert not scanner.run(SWEEP).complete
    assert storage.pages < 10


@pytest.mark.long
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
        assert scanner.cursors.watermark() is None
    assert 20 < summary.checked < 200
    with scanner_over(root, database, detectors=[Recognizer()]) as scanner:
        rest = scanner.run(SWEEP)
    assert rest.skipped >= 20
    assert rest.skipped + rest.checked == 200
