"""The daemon's own logic: where passes begin, what ends it, what it waits out. The scanner is a stand-in that keeps a
diary, because outages of days and clocks that jump cannot be had for real; e2e/test_daemon_live.py runs the real one.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from lemmy_safety.daemon import OVERLAP, Daemon, DaemonOptions
from lemmy_safety.errors import (
    AccessDenied,
    DeviceError,
    HostKeyChanged,
    LedgerDamaged,
    LedgerFull,
    LedgerReplaced,
    LedgerTooNew,
    LoginRefused,
    PassRunning,
    StorageMissing,
    StorageUnreachable,
    WorkerDied,
)
from lemmy_safety.pauses import Pauses, Period
from lemmy_safety.scan import InPause, PassSummary

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PATIENCE_S = 20.0


def summary(*, acted: int = 0, complete: bool = True) -> PassSummary:
    return PassSummary(
        run_id=1,
        kind="daemon",
        dry_run=False,
        detectors=("hashes",),
        complete=complete,
        stopped=False,
        seconds=0.1,
        acted=acted,
    )


class DiaryScanner:
    """Ends each pass as the list says (an error or None), then stops the daemon."""

    broken_pass = None
    complete = True

    @property
    def cursors(self):
        return self

    engine = cursors

    def __init__(self, stop, *endings, watermark=None, listed_at=None, last_pass=None, acted=0, behind=timedelta(0)):
        self._behind = behind
        self._watching = None
        self._acted = acted
        self._last_pass = last_pass
        self._stop = stop
        self._endings = list(endings)
        self._watermark = watermark
        self._listed_at = listed_at
        self.requests = []
        self.asked_to_free = []

    def watermark(self):
        return self._watermark

    def in_storage_time(self, moment):
        return moment - self._behind

    def watching_since(self, moment):
        self._watching = self._watching or moment
        return self.in_storage_time(self._watching)

    def last_pass(self):
        return self._last_pass

    def last_full_listing(self):
        return self._listed_at

    def release_idle_models(self, ttl_s):
        self.asked_to_free.append(ttl_s)
        return True

    def run(self, request):
        self.requests.append(request)
        ending = self._endings.pop(0) if self._endings else None
        if not self._endings:
            self._stop.set()
        if ending is not None:
            raise ending
        return summary(acted=self._acted, complete=self.complete)


def daemon_with(*endings, minutes=20, clock=lambda: NOW, model_ttl_s=0, **state):
    stop = threading.Event()
    scanner = DiaryScanner(stop, *endings, **state)
    options = DaemonOptions(minutes=minutes, interval_s=0.01, full_listing_hours=24, model_ttl_s=model_ttl_s)
    return Daemon(scanner, options, stop=stop, clock=clock), scanner


def test_the_first_pass_ever_looks_back_as_far_as_was_asked_and_lists_every_key():
    """No watermark yet: --minutes back, and all keys, for nothing is known of their scheme."""
    daemon, _ = daemon_with(minutes=20)
    request = daemon.next_request()
    assert request.since == NOW - timedelta(minutes=20)
    assert request.exhaustive


def test_in_daily_life_a_pass_looks_back_the_window_and_lists_only_what_can_be_new():
    """With a recent watermark the window decides, and the cheap listing will do."""
    daemon, _ = daemon_with(watermark=NOW - timedelta(seconds=40), listed_at=NOW - timedelta(hours=2))
    request = daemon.next_request()
    assert request.since == NOW - timedelta(minutes=20)
    assert not request.exhaustive


def test_where_the_storages_clock_is_behind_the_window_is_by_that_clock():
    """An upload of this minute is dated two hours ago there."""
    daemon, _ = daemon_with(behind=timedelta(hours=2))
    assert daemon.next_request().since == NOW - timedelta(hours=2, minutes=20)
    daemon, _ = daemon_with(behind=timedelta(hours=2), watermark=NOW, listed_at=NOW)
    assert daemon.next_request().since == NOW - timedelta(hours=2, minutes=20)


def test_until_a_pass_is_complete_each_begins_where_the_first_would_have():
    """An outage at the first start, before any pass over everything: what comes meanwhile is not missed."""
    now = NOW
    daemon, scanner = daemon_with(StorageUnreachable("down"), StorageUnreachable("down"), clock=lambda: now)
    with pytest.raises(StorageUnreachable):
        daemon.pass_once()
    now += timedelta(hours=3)
    with pytest.raises(StorageUnreachable):
        daemon.pass_once()
    assert [request.since for request in scanner.requests] == [NOW - timedelta(minutes=20)] * 2


def test_after_downtime_a_pass_begins_where_the_last_complete_one_did():
    """Two days without a pass: everything since then, with an overlap, and every key once."""
    daemon, _ = daemon_with(watermark=NOW - timedelta(days=2), listed_at=NOW - timedelta(days=2))
    request = daemon.next_request()
    assert request.since == NOW - timedelta(days=2) - OVERLAP
    assert request.exhaustive


def test_a_change_of_detectors_or_prefix_across_downtime_leaves_no_gap():
    """There is no watermark for the new way of looking, so it begins where any pass over this storage last got to."""
    daemon, _ = daemon_with(last_pass=NOW - timedelta(days=2))
    assert daemon.next_request().since == NOW - timedelta(days=2) - OVERLAP


def test_the_daily_full_listing_covers_the_time_since_the_last_one():
    """Keys outside pict-rs's scheme may have come at any time since every key was last listed."""
    daemon, _ = daemon_with(watermark=NOW - timedelta(minutes=1), listed_at=NOW - timedelta(hours=25))
    request = daemon.next_request()
    assert request.since == NOW - timedelta(hours=25) - OVERLAP
    assert request.exhaustive


def run(daemon):
    """Run to the end in a thread, so that a daemon that never ends fails the test instead of hanging it."""
    caught = []

    def work():
        try:
            daemon.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            caught.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    return caught[0] if caught else None


def real_clock():
    return datetime.now(UTC)


@pytest.mark.parametrize(("acted", "said"), [(0, 0), (1, 1), (30, 1)])
def test_after_a_pass_that_deleted_the_log_says_what_pictrs_still_holds(acted, said, caplog):
    """One warning a pass that deleted something, with where to read on; none when nothing was deleted."""
    daemon, _ = daemon_with(None, clock=real_clock, acted=acted)
    assert run(daemon) is None
    warnings = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert len(warnings) == said
    assert all("docs/operations.md" in text for text in warnings)


def test_passes_follow_one_another_until_the_stop():
    """Pass, rest, pass; the stop ends it without an error."""
    daemon, scanner = daemon_with(None, None, None, clock=real_clock)
    assert run(daemon) is None
    assert len(scanner.requests) == 3


@pytest.mark.long
def test_a_pass_for_which_no_thread_could_be_started_is_tried_again(monkeypatch, caplog):
    """The machine is at its limit of processes for a moment; the scheduler forgets the job then."""
    start, refusals = threading.Thread.start, [None]

    def refusing(thread):
        if thread.name == "pass" and len(scanner.requests) == 1 and refusals:
            refusals.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    daemon, scanner = daemon_with(None, None, clock=real_clock)
    monkeypatch.setattr(threading.Thread, "start", refusing)
    assert run(daemon) is None
    assert len(scanner.requests) == 2
    assert "could not be started" in caplog.text


def test_a_full_listing_by_a_clock_that_was_ahead_holds_up_no_other():
    """What is said to have been done in the future is done again."""
    daemon, _ = daemon_with(watermark=NOW - timedelta(minutes=1), listed_at=NOW + timedelta(days=300))
    assert daemon.next_request().exhaustive


def test_a_clock_that_is_set_back_does_not_postpone_the_next_pass():
    """The wall clock jumps two hours back during an hour's rest: the next pass comes at once."""
    offset = timedelta(0)
    stop = threading.Event()

    class JumpingScanner(DiaryScanner):
        def run(self, request):
            nonlocal offset
            offset = -timedelta(hours=2)
            return super().run(request)

    scanner = JumpingScanner(stop, None, None)
    options = DaemonOptions(minutes=20, interval_s=3600, full_listing_hours=24)
    daemon = Daemon(scanner, options, stop=stop, clock=lambda: datetime.now(UTC) + offset)
    assert run(daemon) is None
    assert len(scanner.requests) == 2


@pytest.mark.long
def test_a_machine_that_slept_through_a_rest_begins_the_next_pass_at_once():
    """Suspended for two hours in an hour's rest: the wall clock goes on, the machine's own does not."""
    offset = timedelta(0)
    stop = threading.Event()

    class SleepyClock:
        def __init__(self):
            self.asked_in_rest = 0

        def __call__(self):
            nonlocal offset
            if len(scanner.requests) == 1:
                self.asked_in_rest += 1
                offset = timedelta(hours=2) if self.asked_in_rest > 5 else offset
            return datetime.now(UTC) + offset

    scanner = DiaryScanner(stop, None, None)
    options = DaemonOptions(minutes=20, interval_s=3600, full_listing_hours=24)
    assert run(Daemon(scanner, options, stop=stop, clock=SleepyClock())) is None
    assert len(scanner.requests) == 2


@pytest.mark.long
def test_a_stop_leaves_a_pass_behind_that_hangs():
    """A vendor's call that never returns holds up the end by the grace and no longer."""
    stop, hangs = threading.Event(), threading.Event()

    class HangingScanner(DiaryScanner):
        def run(self, _request):
            stop.set()
            hangs.wait(PATIENCE_S)

    options = DaemonOptions(minutes=20, interval_s=0.01, full_listing_hours=24)
    began = time.monotonic()
    try:
        assert run(Daemon(HangingScanner(stop), options, stop=stop, clock=real_clock)) is None
        assert time.monotonic() - began < 5
    finally:
        hangs.set()


def test_a_device_that_others_have_filled_meanwhile_is_waited_for(caplog):
    """The model was let go in a rest and finds no room: said, and tried again."""
    full = DeviceError("CLIP cannot be placed on device 'cuda': out of memory.")
    daemon, scanner = daemon_with(None, full, full, None, clock=real_clock, model_ttl_s=60)
    assert run(daemon) is None
    assert len(scanner.requests) == 4
    assert "pass failed (2 in a row)" in caplog.text
    assert set(scanner.asked_to_free) == {60}


def test_a_device_that_was_too_small_from_the_first_picture_on_ends_the_daemon():
    """Nothing was let go, so waiting for room is no use."""
    full = DeviceError("CLIP cannot be placed on device 'cuda': out of memory.")
    daemon, scanner = daemon_with(None, full, None, clock=real_clock)
    assert run(daemon) is full
    assert scanner.asked_to_free == []


def test_folders_that_may_not_be_listed_do_not_slow_the_daemon_down():
    """Everything else was judged, so the next pass comes after the usual rest, time after time."""
    endings = [None] + [AccessDenied("1 folder may not be read")] * 12 + [None]
    daemon, scanner = daemon_with(*endings, clock=real_clock)
    assert run(daemon) is None
    assert len(scanner.requests) == 14


def test_a_pass_that_an_error_ends_says_what_it_did(caplog):
    """Where one folder may not be read every pass ends so: its deletions are in the log with what pict-rs still holds."""
    daemon, scanner = daemon_with(None, AccessDenied("1 folder may not be read"), None, clock=real_clock)
    scanner.broken_pass = summary(acted=3)
    with caplog.at_level(logging.INFO):
        assert run(daemon) is None
    said = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("pass broken off: ") and "3 acted on" in line for line in said) == 1
    assert sum("3 objects are gone" in line for line in said) == 1


@pytest.mark.parametrize("error", [StorageUnreachable("down"), LedgerFull("full"), StorageMissing("not mounted")])
def test_an_outage_after_a_good_pass_is_waited_out(error, caplog):
    """Storage or database gone for a while: said, and tried again, and its end is said too."""
    daemon, scanner = daemon_with(None, error, error, None, clock=real_clock)
    assert run(daemon) is None
    assert len(scanner.requests) == 4
    said = [record.getMessage() for record in caplog.records]
    assert any("2 in a row" in line and error.message in line for line in said)
    assert any("are back after 2 failed passes" in line for line in said)


def test_a_storage_that_is_down_at_the_start_is_waited_for():
    """The server may boot later than we do."""
    daemon, scanner = daemon_with(StorageUnreachable("down"), None, clock=real_clock)
    assert run(daemon) is None
    assert len(scanner.requests) == 2


def test_the_daemon_stands_back_while_another_pass_runs(caplog):
    """A sweep beside it, even before the first pass of its own, is no failure: said, and tried again at the usual time."""
    running = PassRunning("A pass over local:/x is running", kind="sweep")
    daemon, scanner = daemon_with(running, running, None, running, None, clock=real_clock)
    assert run(daemon) is None
    assert len(scanner.requests) == 5
    assert caplog.text.count("A pass over local:/x is running") == 3
    assert "in a row" not in caplog.text


@pytest.mark.parametrize("error", [LoginRefused("wrong secret"), StorageMissing("no such bucket")])
def test_a_first_pass_that_fails_on_a_setting_ends_the_daemon_with_that_error(error):
    """Before anything has worked it is a person who must fix it."""
    daemon, scanner = daemon_with(error, None, None)
    assert run(daemon) is error
    assert len(scanner.requests) == 1


@pytest.mark.parametrize(
    "error",
    [HostKeyChanged("key"), LedgerTooNew("newer"), LedgerReplaced("gone"), LedgerDamaged("bad"), WorkerDied("bug")],
)
def test_what_no_waiting_mends_ends_the_daemon_also_later(error):
    """A changed host key may be an attack; a fault of ours is not hidden by trying again."""
    daemon, scanner = daemon_with(None, error, None, clock=real_clock)
    assert run(daemon) is error
    assert len(scanner.requests) == 2


def test_in_a_pause_the_listing_of_every_key_waits_and_new_uploads_do_not(caplog):
    """A night by a simulated clock, the listing due since midnight: cheap passes until seven, one line; then the listing."""
    now = NOW.replace(hour=21)
    pauses = Pauses((Period(22 * 60, 7 * 60),), UTC)
    stop = threading.Event()
    scanner = DiaryScanner(stop, watermark=now, listed_at=now - timedelta(hours=21))
    options = DaemonOptions(minutes=20, interval_s=0.01, full_listing_hours=24, pauses=pauses)
    daemon = Daemon(scanner, options, stop=stop, clock=lambda: now)
    listings = {}
    with caplog.at_level(logging.INFO):
        for _ in range(24):
            listings[now.hour] = daemon.next_request()
            now += timedelta(hours=1)
    assert [hour for hour, request in listings.items() if request.exhaustive] == [*range(7, 21)]
    assert all(listings[hour].since <= NOW.replace(hour=21) - OVERLAP for hour in (0, 6))
    assert listings[7].since == NOW - timedelta(hours=12) - OVERLAP
    assert listings[7].in_pause is InPause.END
    assert listings[0].in_pause is InPause.GO_ON
    assert [text for text in caplog.messages if "paused" in text] == [
        "paused until 07:00: new uploads are checked, listing every key waits"
    ]


def test_a_pass_that_a_pause_ended_is_told_as_such(caplog):
    """It is no failure, and no pass that is done."""
    daemon, scanner = daemon_with(None, None, clock=real_clock)
    scanner.complete = False
    with caplog.at_level(logging.INFO):
        assert run(daemon) is None
    assert any(text.startswith("pass ended by a pause: ") for text in caplog.messages)
    assert not any(text.startswith("pass done") for text in caplog.messages)
