"""Sweeps and the daemon in hours of rest. Only the clock that pauses are read from is simulated: storage, ledger and threads
are real. A listing that its connection does not survive is a local one that breaks when asked to.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import pytest
from support.scan.passes import LONG_AGO, WatchedStorage, keys_in, minutes_ago, put, scanner_over
from support.scan.scanned_store import picture
from support.servers.sshd import open_backend
from support.storage.backends import SwiftBackend, VersitygwBackend

from lemmy_safety.daemon import Daemon, DaemonOptions
from lemmy_safety.detectors.base import Detector
from lemmy_safety.errors import PassRunning, StorageUnreachable
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.pauses import Pauses, Period
from lemmy_safety.pictrs.keys import make_key
from lemmy_safety.scan import InPause, PassRequest
from lemmy_safety.scan.stages import list as list_stage

PATIENCE_S = 20.0
NIGHT = Pauses((Period(22 * 60, 7 * 60),), UTC)
EVENING, MIDNIGHT, MORNING = (
    datetime(2026, 11, 30, hour, tzinfo=UTC) + timedelta(days=day) for hour, day in ((20, 0), (0, 1), (7, 1))
)
SWEEP = PassRequest(kind="sweep", in_pause=InPause.WAIT)
FULL = PassRequest(kind="daemon", since=datetime(2026, 1, 1, tzinfo=UTC), in_pause=InPause.END)


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


class Watcher:
    """Knows whether a pass has told of a pause, and whether everything that it had read before is done."""

    def __init__(self, storage=None) -> None:
        self.paused = threading.Event()
        self.until: set[time] = set()
        self._storage = storage

    def update(self, counts, _outlook) -> None:
        if counts.paused_until is not None:
            self.until.add(counts.paused_until)
            if self._storage is None or counts.done == len(self._storage.reads):
                self.paused.set()


class Running:
    """A pass in a thread."""

    def __init__(self, scanner, request) -> None:
        self.summary = self.error = None
        self._thread = threading.Thread(target=self._run, args=(scanner, request), daemon=True)
        self._thread.start()

    def _run(self, scanner, request) -> None:
        try:
            self.summary = scanner.run(request)
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def end(self):
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.summary


@pytest.fixture
def many(tmp_path):
    """Sixty pictures in ten folders."""
    root = tmp_path / "many"
    for number in range(60):
        put(root, f"{number % 10:02}/{number:03}.png", picture(number))
    return root


class PausingStorage(WatchedStorage):
    """Night falls once so many objects were read."""

    def __init__(self, root, clock, *, after: int) -> None:
        super().__init__(root)
        self._clock, self._after, self._fell = clock, after, False

    def _read(self, key, max_bytes, pace):
        data = super()._read(key, max_bytes, pace)
        with self._diary:
            falls = len(self.reads) >= self._after and not self._fell
            self._fell |= falls
        if falls:
            self._clock.now = MIDNIGHT
        return data


@pytest.mark.long
def test_a_sweep_that_begins_in_a_pause_reads_nothing_until_it_is_over(many, database):
    """It says until when it waits and keeps its lease; in the morning everything is checked, and the pass is complete."""
    clock, watcher, storage = Clock(MIDNIGHT), Watcher(), WatchedStorage(many)
    with scanner_over(many, database, storage=storage, pauses=NIGHT, clock=clock, listener=watcher) as scanner:
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        assert storage.reads == []
        with open_ledger(sqlite_url(database)) as other, pytest.raises(PassRunning):
            other.passes.ensure_no_sweep_runs(storage.name)
        clock.now = MORNING
        summary = sweep.end()
    assert (summary.seen, summary.checked, summary.complete) == (60, 60, True)
    assert watcher.until == {time(7)}
    assert summary.paused_s > 0
    assert summary.paused_until is None


@pytest.mark.long
def test_a_sweep_pauses_in_the_middle_and_goes_on_where_it_was(many, database):
    """What was listed before is finished; the rest is read after the pause, each object once."""
    clock = Clock(EVENING)
    storage = PausingStorage(many, clock, after=10)
    watcher = Watcher(storage)
    with scanner_over(
        many, database, storage=storage, pauses=NIGHT, clock=clock, listener=watcher, threads=2
    ) as scanner:
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        # In the hands of two threads and in a queue of eight.
        assert 10 <= len(storage.reads) <= 10 + 2 + 8 + 1
        clock.now = MORNING
        summary = sweep.end()
    assert (summary.seen, summary.checked, summary.complete) == (60, 60, True)
    assert sorted(storage.reads) == sorted(keys_in(many))


@pytest.mark.long
def test_a_clock_that_is_set_back_lengthens_the_pause(many, database):
    """The pause is over when the clock says so, whatever it said before."""
    clock, watcher, storage = Clock(MORNING - timedelta(minutes=1)), Watcher(), WatchedStorage(many)
    with scanner_over(many, database, storage=storage, pauses=NIGHT, clock=clock, listener=watcher) as scanner:
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        clock.now = MIDNIGHT
        watcher.paused.clear()
        assert watcher.paused.wait(PATIENCE_S)
        assert storage.reads == []
        clock.now = EVENING  # far back
        assert sweep.end().complete


@pytest.mark.long
@pytest.mark.parametrize("how", ["stop", "error"])
def test_a_stop_or_an_error_ends_the_wait(many, database, how):
    """A stopped sweep is not complete, and nothing of it is left running; so is one whose lease another pass took."""
    stop, watcher, clock = threading.Event(), Watcher(), Clock(MIDNIGHT)
    with scanner_over(many, database, pauses=NIGHT, clock=clock, listener=watcher, stop=stop) as scanner:
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        if how == "stop":
            stop.set()
            summary = sweep.end()
            assert (summary.stopped, summary.complete, summary.seen) == (True, False, 0)
        else:
            clock.now = None  # a clock that fails
            with pytest.raises(Exception, match="AttributeError"):
                sweep.end()
        for thread in threading.enumerate():
            if thread.name.startswith("list"):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()


class BreakingStorage(WatchedStorage):
    """Its first listing breaks in the middle: after a pause, if ``watcher`` is given."""

    def __init__(self, root, clock=None) -> None:
        super().__init__(root)
        self.listings, self._clock = 0, clock

    def _list(self, **how):
        self.listings += 1
        first = self.listings == 1
        for number, obj in enumerate(sorted(super()._list(**how), key=lambda obj: obj.key)):
            if first and number == 30 and self._clock:
                self._clock.now = MIDNIGHT
            if first and number == 40:
                raise StorageUnreachable("the line was cut")
            yield obj


@pytest.mark.long
def test_a_listing_that_did_not_survive_the_pause_begins_again(many, database, monkeypatch):
    """A router that reconnects at night: no outage, no object twice in the counts, none left out."""
    monkeypatch.setattr(list_stage, "_LOOKUP_BATCH", 7)
    clock, watcher = Clock(EVENING), Watcher()
    storage = BreakingStorage(many, clock)
    with scanner_over(many, database, storage=storage, pauses=NIGHT, clock=clock, listener=watcher) as scanner:
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        clock.now = MORNING
        summary = sweep.end()
    assert storage.listings >= 2
    assert (summary.seen, summary.checked, summary.skipped, summary.complete) == (60, 60, 0, True)
    assert sorted(storage.reads) == sorted(keys_in(many))


def test_a_listing_that_breaks_without_a_pause_is_an_outage(many, database, monkeypatch):
    """Nothing is listed again by itself then."""
    monkeypatch.setattr(list_stage, "_LOOKUP_BATCH", 7)
    storage = BreakingStorage(many)
    clock = Clock(EVENING)
    with (
        scanner_over(many, database, storage=storage, pauses=NIGHT, clock=clock) as scanner,
        pytest.raises(StorageUnreachable),
    ):
        scanner.run(SWEEP)
    assert storage.listings == 1


@pytest.fixture(params=["ssh", "swift", "versitygw"])
def place(request):
    """A real server with sixty pictures."""
    with ExitStack() as stack:
        if request.param == "ssh":
            backend = stack.enter_context(open_backend("ssh"))
        else:
            server = request.getfixturevalue(request.param)
            backend = {"swift": SwiftBackend, "versitygw": VersitygwBackend}[request.param](server, server.new_bucket())
        for number in range(60):
            backend.put(f"{number % 10:02}/{number:03}.png", picture(number), LONG_AGO if backend.keeps_mtime else None)
        yield backend


@pytest.mark.external_service
def test_connections_that_were_lost_in_a_pause_are_made_again(place, tmp_path, database):
    """The server is killed and started again meanwhile: the sweep goes on, and nothing counts as failed."""
    clock, watcher = Clock(EVENING), Watcher()

    class NightFalls(Detector):
        """Flags nothing; at its first picture, night falls."""

        name = "hashes"
        batch_size = 4
        version = "1"

        def open(self): ...

        def detect(self, batch):
            if not watcher.until:
                clock.now = MIDNIGHT
            return [[] for _ in batch]

        def close(self): ...

    with (
        place.storage() as storage,
        scanner_over(
            tmp_path,
            database,
            storage=storage,
            detectors=[NightFalls()],
            pauses=NIGHT,
            clock=clock,
            listener=watcher,
            threads=2,
        ) as scanner,
    ):
        sweep = Running(scanner, SWEEP)
        assert watcher.paused.wait(PATIENCE_S)
        place.break_off()
        place.come_back()
        clock.now = MORNING
        summary = sweep.end()
    assert (summary.seen, summary.checked, summary.failed, summary.complete) == (60, 60, {}, True)


@pytest.mark.long
def test_what_a_person_named_is_checked_in_a_pause_too(many, database):
    """A recheck, and the daemon's passes over what is new."""
    storage = WatchedStorage(many)
    with scanner_over(many, database, storage=storage, pauses=NIGHT, clock=Clock(MIDNIGHT)) as scanner:
        summary = scanner.run(PassRequest(kind="recheck", keys=("00/000.png",), exhaustive=False))
        assert summary.checked == 1
        since = datetime(2025, 1, 1, tzinfo=UTC)
        assert scanner.run(PassRequest(kind="daemon", since=since, exhaustive=False)).complete


@pytest.mark.long
def test_the_daemons_listing_of_every_key_ends_when_a_pause_begins(many, database):
    """What was read by then is recorded, nothing counts as covered, and after the pause the rest is read."""
    clock = Clock(EVENING)
    storage = PausingStorage(many, clock, after=10)
    with scanner_over(many, database, storage=storage, pauses=NIGHT, clock=clock, threads=2) as scanner:
        first = scanner.run(FULL)
        assert (first.complete, first.stopped) == (False, False)
        assert 10 <= first.checked == len(storage.reads) <= 10 + 2 + 8 + 1
        assert scanner.cursors.watermark() is None
        assert scanner.cursors.last_full_listing() is None
        clock.now = MORNING
        second = scanner.run(FULL)
    assert second.complete
    assert first.checked + second.checked == 60
    assert sorted(storage.reads) == sorted(keys_in(many))


class LargeStorage(WatchedStorage):
    """Never small enough for a whole listing, so that cheap listings leave out what its keys prove to be old."""

    whole_listing_up_to = 0


class ByClock(Pauses):
    """By the simulated clock, whatever time it is: the window of time is by the real clock, which dates the files."""

    def __init__(self, clock) -> None:
        object.__setattr__(self, "periods", clock)

    def until(self, _moment):
        return NIGHT.until(self.periods())


def test_a_daemon_that_begins_in_a_pause_leaves_no_gap(tmp_path, database):
    """Its cheap passes see keys in pict-rs's order; a file outside that order, stored meanwhile, is found after the pause."""
    root = tmp_path / "files"
    put(root, make_key(datetime(2026, 1, 1, tzinfo=UTC), 1, ".png"), picture(1))
    put(root, "by-hand/picture.png", picture(2), modified_at=minutes_ago(90))
    put(root, make_key(minutes_ago(1), 2, ".png"), picture(3), modified_at=minutes_ago(1))
    clock = Clock(MIDNIGHT)
    storage = LargeStorage(root)

    def daemon(scanner, minutes):
        options = DaemonOptions(minutes=minutes, interval_s=1, full_listing_hours=24, pauses=ByClock(clock))
        return Daemon(scanner, options, stop=threading.Event())

    with scanner_over(root, database, storage=storage, pauses=NIGHT, clock=clock) as scanner:
        in_pause = daemon(scanner, minutes=120)
        assert not in_pause.next_request().exhaustive
        summary = in_pause.pass_once()
        assert (summary.checked, summary.complete) == (1, True)
        assert in_pause.pass_once().skipped == 1
        clock.now = MORNING
        after = daemon(scanner, minutes=20)
        assert after.next_request().exhaustive
        assert after.pass_once().checked == 1
        assert "by-hand/picture.png" in storage.reads
        assert not after.next_request().exhaustive
