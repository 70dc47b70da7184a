"""What a pass does while a pause lasts: waits, ends, or goes on."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lemmy_safety.scan.requests import InPause

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.pauses import Pauses
    from lemmy_safety.records import StoredObject
    from lemmy_safety.scan.pipeline import Channel
    from lemmy_safety.scan.progress import PassCounter

log = logging.getLogger(__name__)

#: How often a pause checks the clock, in seconds: a machine may sleep through its end, and a person may set the clock.
_CHECK_S = 0.5


class PauseBegan(Exception):
    """Raised in the listing of a pass that has to end; never leaves this room."""


class PauseGate:
    """What the listing of one pass goes through before it does anything that costs traffic."""

    def __init__(
        self,
        pauses: Pauses,
        in_pause: InPause,
        counter: PassCounter,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pauses = pauses
        self._in_pause = in_pause
        self._counter = counter
        self._clock = clock
        #: How many pauses this pass has waited for.
        self.waited = 0

    def go_through(self, to_fetch: Channel[StoredObject]) -> None:
        """Wait until no pause lasts.

        :raises PauseBegan: one lasts, and the pass has to end then.
        :raises PipelineStopped: ``to_fetch`` was aborted meanwhile.
        """
        if self._in_pause is InPause.GO_ON or (until := self._pauses.until(self._clock())) is None:
            return
        if self._in_pause is InPause.END:
            log.info("the pass ends here, because a pause began: paused until %s", f"{until:%H:%M}")
            raise PauseBegan
        log.info("paused until %s; what was listed before is finished", f"{until:%H:%M}")
        checked_at = time.monotonic()
        try:
            while (until := self._pauses.until(self._clock())) is not None:
                self._counter.pause(until)
                to_fetch.wait_for_abort(_CHECK_S)
                checked_at, before = time.monotonic(), checked_at
                self._counter.add_pause(checked_at - before)
        finally:
            self._counter.pause(None)
        self.waited += 1
        log.info("the pause is over")
