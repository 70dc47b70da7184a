"""The daemon: a pass, a rest, a pass, until the stop.

Without gaps: a pass looks back ``--minutes``, and after downtime or an outage to where the last complete pass began.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lemmy_safety.errors import (
    AccessDenied,
    DeviceError,
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
from lemmy_safety.pauses import Pauses
from lemmy_safety.scan import InPause, PassRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.scan import PassSummary, Scanner

log = logging.getLogger(__name__)

#: A pass looks back this much further than the last complete one began: objects of one store appear late (an upload
#: is dated when its first chunk arrives) and clocks differ. Objects found twice are known and cost one look-up.
OVERLAP = timedelta(minutes=10)

#: The rest after a failed pass doubles up to this.
_LONGEST_REST_S = 900.0

#: Errors that do not go away by themselves, or that must not repeat silently.
_FATAL = (
    HostKeyChanged,
    HostKeyUnknown,
    PrivateKeyError,
    LedgerTooNew,
    LedgerDamaged,
    LedgerReplaced,
    LedgerNoLocks,
)


#: How often a rest checks the clock and idle models. Also, on Windows Ctrl-C cannot interrupt an endless wait.
_WAKE_S = 0.5

#: A clock that is this much behind itself was set back by a person, not slowed down by time synchronisation.
_CLOCK_STEP_S = 5.0

#: A pass ends within 4 s of a stop unless a vendor's call (a connect, say) blocks it; the daemon waits no longer.
_STOP_GRACE_S = 4.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonOptions:
    """Times in their own units: ``minutes`` back, ``interval_s`` of rest, hours between exhaustive listings.

    Models that judged nothing for ``model_ttl_s`` seconds are freed; 0 keeps them. ``flagged_action``: what passes do
    about flagged objects; None if they only report. In ``pauses`` only what is new is listed and checked.
    """

    minutes: int
    interval_s: float
    full_listing_hours: float
    model_ttl_s: float = 0
    flagged_action: str | None = None
    pauses: Pauses = Pauses()


class Daemon:
    """Runs passes until the stop event is set; it waits out outages, but not bugs of ours.

    A plain loop, because there is one job, and its next time depends on how it ended: a scheduler would add nothing.
    """

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
        self._ahead = self._ahead_s()
        self._failures = 0
        self._worked = False
        self._has_freed_models = False
        self._told_of_pause = False

    def announce(self) -> None:
        """Log what is watched, and what earlier passes flagged and did not act on."""
        storage, ledger = self._scanner.storage, self._scanner.ledger
        log.info("watching %s with %s", storage.name, ", ".join(self._scanner.engine.detector_names))
        if next(iter(ledger.reviews.flagged(storage=storage.name)), None) is None:
            return
        if self._options.flagged_action:
            log.warning(
                "passes will %s objects that were flagged earlier, when they list them: see 'lemmy-safety flagged'",
                self._options.flagged_action,
            )
        else:
            log.warning("objects flagged earlier wait for a decision: see 'lemmy-safety flagged'")

    def run(self) -> None:
        """Block until the stop event is set.

        :raises LemmySafetyError: errors that retrying cannot fix, such as wrong settings in the first pass.
        """
        while not self._stop.is_set():
            rest_s = self._pass_in_thread()
            self._rest(rest_s)

    def _pass_in_thread(self) -> float:
        """Run a pass in a thread that a stop may abandon. Returns the seconds to rest after it; raises its error."""
        outcome: Future[float] = Future()

        def work() -> None:
            try:
                outcome.set_result(self._one_pass())
            except BaseException as error:  # noqa: BLE001 - raised by ``result`` below
                outcome.set_exception(error)

        try:
            threading.Thread(target=work, name="pass", daemon=True).start()
        except RuntimeError as error:  # the machine is at its limit of threads
            log.warning("the next pass could not be started; trying again: %s", error)
            return _WAKE_S
        while not self._stop.is_set() and not outcome.done():
            wait([outcome], _WAKE_S)
        wait([outcome], _STOP_GRACE_S)
        return outcome.result() if outcome.done() else 0

    def _rest(self, seconds: float) -> None:
        """Wait by the wall clock, which goes on while the machine is suspended; a stop ends the wait.

        So does a clock that is set back: otherwise the rest could last for hours.
        """
        due = self._clock() + timedelta(seconds=seconds)
        while not self._clock_was_set_back() and (left_s := (due - self._clock()).total_seconds()) > 0:
            if self._options.model_ttl_s:
                self._has_freed_models |= self._scanner.engine.release_idle_models(self._options.model_ttl_s)
            if self._stop.wait(min(left_s, _WAKE_S)):
                return

    def _clock_was_set_back(self) -> bool:
        """Whether the wall clock lost time against the monotonic clock since the last call."""
        before, self._ahead = self._ahead, self._ahead_s()
        if self._ahead >= before - _CLOCK_STEP_S:
            return False
        log.warning("the clock was set back by %.0f s; the next pass begins now", before - self._ahead)
        return True

    def _ahead_s(self) -> float:
        return self._clock().timestamp() - time.monotonic()

    def _one_pass(self) -> float:
        """Run a pass; returns the seconds to rest after it."""
        try:
            summary = self.pass_once()
        except LemmySafetyError as error:
            if self._scanner.broken_pass is not None:
                _tell("pass broken off", self._scanner.broken_pass)
            return self._rest_after(error)
        if self._failures:
            log.warning("storage, database and models are back after %d failed passes", self._failures)
        self._failures = 0
        _tell("pass done" if summary.complete or summary.stopped else "pass ended by a pause", summary)
        return self._options.interval_s

    def _rest_after(self, error: LemmySafetyError) -> float:
        """Seconds to rest after a pass that this error ended; raises it if waiting does not help."""
        if isinstance(error, PassRunning):
            # Another pass covers everything, or has just replaced this one. Nothing is missed meanwhile: the watermark
            # stays where it is.
            log.warning("no pass now, next try in %.0f s: %s", self._options.interval_s, error.message)
            return self._options.interval_s
        outage = isinstance(error, (StorageError, LedgerError)) and not isinstance(error, _FATAL)
        # Other programs may have filled the device's memory while a model was not loaded.
        waits = outage or (self._has_freed_models and isinstance(error, DeviceError))
        if not waits or self._is_first_and_hopeless(error):
            raise error
        self._failures += 1
        if isinstance(error, (AccessDenied, ListingIncomplete)):
            # Some of the storage cannot be listed; the rest was, and is checked as often as before.
            log.error("pass incomplete: %s", error)
            return self._options.interval_s
        rest_s = min(self._options.interval_s * 2.0 ** min(self._failures - 1, 20), _LONGEST_REST_S)
        log.error("pass failed (%d in a row), next try in %.0f s: %s", self._failures, rest_s, error)
        return rest_s

    def _is_first_and_hopeless(self, error: LemmySafetyError) -> bool:
        """Before any pass has worked, any error but an outage is most likely a setting that a person must fix."""
        passing = (StorageUnreachable, ListingIncomplete, LedgerLocked)
        return not self._worked and not isinstance(error, passing)

    def pass_once(self) -> PassSummary:
        """One daemon pass, now."""
        summary = self._scanner.run(self.next_request())
        self._worked = True
        return summary

    def next_request(self) -> PassRequest:
        """Where the next pass has to begin, and whether it lists every key."""
        now = self._clock()
        began = self._scanner.cursors.watching_since(now - timedelta(minutes=self._options.minutes))
        since = self._scanner.cursors.in_storage_time(now) - timedelta(minutes=self._options.minutes)
        # After a change of detectors or prefix there is no watermark yet; the time since any pass over this storage is
        # then checked again, so that the change leaves no gap.
        watermark = self._scanner.cursors.watermark() or self._scanner.cursors.last_pass()
        # Until a pass is complete, for whatever reason, the start of the first one decides.
        since = min(since, began if watermark is None else watermark - OVERLAP)
        listed_at = self._scanner.cursors.last_full_listing()
        if listed_at is not None and timedelta(0) <= now - listed_at < timedelta(
            hours=self._options.full_listing_hours
        ):
            return PassRequest(kind=DAEMON, since=since, exhaustive=False)
        if self._pauses_full_listing(now):
            return PassRequest(kind=DAEMON, since=since, exhaustive=False)
        if listed_at is not None:
            since = min(since, listed_at - OVERLAP)
        return PassRequest(kind=DAEMON, since=since, exhaustive=True, in_pause=InPause.END)

    def _pauses_full_listing(self, now: datetime) -> bool:
        """Whether a listing of every key that is due has to wait; logged once for each pause."""
        until = self._options.pauses.until(now)
        if until is not None and not self._told_of_pause:
            log.info("paused until %s: new uploads are checked, listing every key waits", f"{until:%H:%M}")
        self._told_of_pause = until is not None
        return until is not None


def _tell(how: str, summary: PassSummary) -> None:
    """The counts of a pass, and what a person has to know about it."""
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
    for sentence in summary.about_pictrs:
        log.warning("%s", sentence)
    if summary.asks:
        log.warning("%d flagged objects wait for a decision on each: see 'lemmy-safety flagged'", summary.asks)
    if summary.not_carried_out:
        log.warning(
            "%d actions were refused by the storage, %d could not be done now, %d are refused again and again: see "
            "'lemmy-safety flagged'",
            summary.action_failed,
            summary.action_postponed,
            summary.stuck,
        )
