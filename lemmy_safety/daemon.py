"""The door for time: a pass, a rest, a pass, for as long as nobody says stop.

Without gaps: a pass looks back ``--minutes``, and after downtime or an outage to where the last complete pass began.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler

from lemmy_safety.errors import (
    AccessDenied,
    HostKeyChanged,
    HostKeyUnknown,
    LedgerDamaged,
    LedgerError,
    LedgerLocked,
    LedgerNoLocks,
    LedgerReplaced,
    LedgerTooNew,
    LemmySafetyError,
    ListingIncomplete,
    PassRunning,
    PrivateKeyError,
    StorageError,
    StorageUnreachable,
)
from lemmy_safety.ledger import DAEMON
from lemmy_safety.pictrs.deletions import what_remains
from lemmy_safety.scan import PassRequest
from lemmy_safety.wiring import open_scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apscheduler.events import JobExecutionEvent
    from apscheduler.job import Job

    from lemmy_safety.scan import PassSummary, ProgressListener, Scanner
    from lemmy_safety.settings import Settings

log = logging.getLogger(__name__)

#: A pass looks back this much further than the last complete one began: objects of one store appear late (an upload
#: is dated when its first chunk arrives) and clocks differ. What is found twice is known and costs one look-up.
OVERLAP = timedelta(minutes=10)

#: The rest after a failed pass doubles up to this.
_LONGEST_REST_S = 900.0

#: Faults that do not pass by themselves, or that nobody should get used to.
_FATAL = (
    HostKeyChanged,
    HostKeyUnknown,
    PrivateKeyError,
    LedgerTooNew,
    LedgerDamaged,
    LedgerReplaced,
    LedgerNoLocks,
)


_JOB = "next-pass"

#: Windows does not let Ctrl-C interrupt a wait without an end.
_WAKE_S = 0.5

#: A clock that is this much behind itself was set back by somebody, not slowed down by time synchronisation.
_CLOCK_STEP_S = 5.0

#: A pass ends itself within 4 s of a stop unless a vendor's call (a connect, say) holds it up; nobody waits for that.
_STOP_GRACE_S = 4.2


class _DaemonThreadExecutor(BaseExecutor):  # type: ignore[misc]
    """Runs each job in a daemon thread: APScheduler's own pools are joined at exit, however long a call hangs."""

    def _do_submit_job(self, job: Job, run_times: Sequence[datetime]) -> None:
        def run() -> None:
            events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001
            self._run_job_success(job.id, events)

        threading.Thread(target=run, name="pass", daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonOptions:
    """Times in their own units: ``minutes`` back, ``interval_s`` of rest, hours between exhaustive listings."""

    minutes: int
    interval_s: float
    full_listing_hours: float


class Daemon:
    """Runs passes until the stop event is set; outages are waited out, faults of ours are not."""

    def __init__(
        self,
        scanner: Scanner,
        options: DaemonOptions,
        *,
        stop: threading.Event,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._scanner = scanner
        self._options = options
        self._stop = stop
        self._clock = clock
        self._failures = 0
        self._worked = False
        self._fatal: BaseException | None = None
        # In memory, because the next run is always derived from the settings; 3.x job stores on SQLite lock up.
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": _DaemonThreadExecutor()})
        self._scheduler.add_listener(self._after_cycle, EVENT_JOB_EXECUTED)
        self._idle = threading.Event()
        self._idle.set()

    def run(self) -> None:
        """Block until the stop event is set.

        :raises LemmySafetyError: what no waiting can mend; a first pass that fails on settings is such a case.
        """
        ahead = self._ahead()
        self._schedule(0)
        self._scheduler.start()
        try:
            self._watch_clock(ahead)
        finally:
            self._idle.wait(_STOP_GRACE_S)
            self._close_scheduler()
        if self._fatal is not None:
            raise self._fatal

    def _watch_clock(self, ahead: float) -> None:
        """Wait for the stop. The scheduler goes by the wall clock: set back by hours, it would rest for hours.

        ``ahead`` is by how much that clock was ahead of the machine's own before the first pass was scheduled.
        """
        lost = 0
        while not self._stop.wait(_WAKE_S):
            if not self._idle.is_set():
                continue  # a step during a pass is noticed when its successor is scheduled
            # The scheduler forgets a job for which no thread could be started; twice, for one may be starting now.
            lost = lost + 1 if self._scheduler.get_job(_JOB) is None else 0
            if lost > 1:
                log.warning("the next pass could not be started; trying again")
                self._schedule(0)
            now_ahead = self._ahead()
            if now_ahead < ahead - _CLOCK_STEP_S:
                log.warning("the clock was set back by %.0f s; the next pass begins now", ahead - now_ahead)
                self._schedule(0)
            ahead = now_ahead

    def _ahead(self) -> float:
        return self._clock().timestamp() - time.monotonic()

    def _close_scheduler(self) -> None:
        """Shut down without tripping the scheduler's thread over a job that it is just handing out.

        ``shutdown`` empties the job store first; ``get_jobs`` waits for the lock that the thread holds while it works.
        """
        self._scheduler.pause()
        self._scheduler.get_jobs()
        self._scheduler.shutdown(wait=False)

    def _schedule(self, rest_s: float) -> None:
        self._scheduler.add_job(
            self._cycle,
            trigger="date",
            run_date=datetime.now(UTC) + timedelta(seconds=rest_s),
            id=_JOB,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,  # however late the machine wakes up, the pass is wanted
            replace_existing=True,
        )

    def _cycle(self) -> float | None:
        """A pass; answers the seconds to rest after it, None when there is to be no other."""
        self._idle.clear()
        try:
            return self._one_pass()
        except BaseException as error:  # noqa: BLE001 - handed to run(), which raises it in the main thread
            self._fatal = error
            self._stop.set()
            return None

    def _after_cycle(self, event: JobExecutionEvent) -> None:
        """Schedule the next pass. Earlier, while the scheduler still counts this one as running, it might refuse the next
        one, and forget it.
        """
        try:
            if event.retval is not None and not self._stop.is_set():
                self._schedule(event.retval)
        finally:
            self._idle.set()

    def _one_pass(self) -> float:
        """Run a pass; returns the seconds to rest after it."""
        try:
            summary = self.pass_once()
        except LemmySafetyError as error:
            if self._scanner.broken_pass is not None:
                _tell("pass broken off", self._scanner.broken_pass)
            return self._rest_after(error)
        if self._failures:
            log.warning("storage and database are back after %d failed passes", self._failures)
        self._failures = 0
        _tell("pass done", summary)
        return self._options.interval_s

    def _rest_after(self, error: LemmySafetyError) -> float:
        """Seconds to rest after a pass that this error ended; raises it where no waiting helps."""
        if isinstance(error, PassRunning):
            # Another pass looks at everything, or has just taken over from this one. Nothing is missed meanwhile: the
            # watermark stays where it is.
            log.warning("no pass now, next try in %.0f s: %s", self._options.interval_s, error.message)
            return self._options.interval_s
        waits = isinstance(error, (StorageError, LedgerError)) and not isinstance(error, _FATAL)
        if not waits or self._is_first_and_hopeless(error):
            raise error
        self._failures += 1
        if isinstance(error, (AccessDenied, ListingIncomplete)):
            # Some of the storage cannot be listed; the rest was, and is to be looked at as often as ever.
            log.error("pass incomplete: %s", error)
            return self._options.interval_s
        rest_s = min(self._options.interval_s * 2.0 ** min(self._failures - 1, 20), _LONGEST_REST_S)
        log.error("pass failed (%d in a row), next try in %.0f s: %s", self._failures, rest_s, error)
        return rest_s

    def _is_first_and_hopeless(self, error: LemmySafetyError) -> bool:
        """Before any pass has worked, all but an outage is most likely a setting that somebody must mend."""
        passing = (StorageUnreachable, ListingIncomplete, LedgerLocked)
        return not self._worked and not isinstance(error, passing)

    def pass_once(self) -> PassSummary:
        """One daemon pass, now."""
        summary = self._scanner.run(self.next_request())
        self._worked = True
        return summary

    def next_request(self) -> PassRequest:
        """Where the next pass has to begin, and whether every key is to be listed for it."""
        now = self._clock()
        began = self._scanner.watching_since(now - timedelta(minutes=self._options.minutes))
        since = self._scanner.in_storage_time(now) - timedelta(minutes=self._options.minutes)
        # With other detectors or another prefix than before there is no watermark yet; the time since any pass over this
        # storage is then looked at anew, so that the change leaves no gap.
        watermark = self._scanner.watermark() or self._scanner.last_pass()
        # Until a pass is complete, whatever keeps it from being so, the first of them decides.
        since = min(since, began if watermark is None else watermark - OVERLAP)
        listed_at = self._scanner.last_full_listing()
        if listed_at is not None and timedelta(0) <= now - listed_at < timedelta(
            hours=self._options.full_listing_hours
        ):
            return PassRequest(kind=DAEMON, since=since, exhaustive=False)
        if listed_at is not None:
            since = min(since, listed_at - OVERLAP)
        return PassRequest(kind=DAEMON, since=since, exhaustive=True)


def _tell(how: str, summary: PassSummary) -> None:
    """The counts of a pass, and what a person has to know of what it did."""
    log.info(
        "%s: %d seen, %d new checked, %d flagged, %d acted on, %d unreadable, %d to be tried again, %.1f s",
        how,
        summary.seen,
        summary.checked,
        summary.flagged,
        summary.acted,
        sum(summary.unreadable.values()),
        sum(summary.failed.values()),
        summary.seconds,
    )
    for status, reason in summary.reasons.items():
        log.info("%d %s: %s (see 'lemmy-safety unreadable')", reason.number, status.replace("_", " "), reason.text)
    if summary.acted:
        log.warning("%s", what_remains(summary.acted))
    if summary.not_carried_out:
        log.warning(
            "%d actions were refused by the storage, %d could not be done now, %d are refused again and again: see "
            "'lemmy-safety flagged'",
            summary.action_failed,
            summary.action_postponed,
            summary.stuck,
        )


def run_daemon(
    settings: Settings,
    *,
    stop: threading.Event,
    listener: ProgressListener | None = None,
    ask_passphrase: Callable[[str], str] | None = None,
) -> None:
    """Watch the storage that the settings mean until ``stop`` is set.

    :raises LemmySafetyError: it could not start with everything that was asked for, or met what no waiting can mend.
    """
    options = DaemonOptions(
        minutes=settings.minutes,
        interval_s=settings.interval_s,
        full_listing_hours=settings.full_listing_hours,
    )
    with open_scanner(settings, stop=stop, listener=listener, ask_passphrase=ask_passphrase) as scanner:
        log.info("watching %s with %s", scanner.storage.name, ", ".join(scanner.detector_names))
        if next(iter(scanner.ledger.flagged(storage=scanner.storage.name)), None) is not None:
            if settings.action == "delete" and not settings.dry_run:
                log.warning("objects flagged earlier are deleted by passes that list them: see 'lemmy-safety flagged'")
            else:
                log.warning("objects flagged earlier wait for a decision: see 'lemmy-safety flagged'")
        Daemon(scanner, options, stop=stop).run()
