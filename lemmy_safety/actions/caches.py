"""Tells caches what was removed: each name at least once, and again when that failed. Never holds up a removal."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import Ledger

log = logging.getLogger(__name__)

#: No cache keeps a picture for longer by what pict-rs says (7 days before 0.5.20); so later it is not told any more.
_WORTH_TELLING: Final = timedelta(days=7)

#: After so many failures in a row the rest waits for the next time: each may take half a minute.
_MOST_FAILURES: Final = 3


class TellsOne(Protocol):
    """See ``removed_hook.py``."""

    def tell(self, alias: str, stopped: Callable[[], bool]) -> str | None: ...


class Caches:
    """For the pictures of one storage."""

    def __init__(self, *, ledger: Ledger, storage: str, hook: TellsOne) -> None:
        self._ledger = ledger
        self._storage = storage
        self._hook = hook
        self._failed: set[tuple[int, str]] = set()

    def tell(self, wait: Callable[[float], bool]) -> None:
        """Tell of every removed name that they were not told of. ``wait(0)`` says whether the run is to stop."""
        since = self._ledger.database.now() - _WORTH_TELLING
        failures = 0
        untold = self._ledger.purges.untold(self._storage, since=since)
        untold.sort(key=lambda one: one in self._failed)  # names that always fail must not hold up the others
        for number, (purge_id, alias) in enumerate(untold):
            if wait(0):
                return
            reason = self._hook.tell(alias, lambda: wait(0))
            if reason is None:
                self._ledger.purges.told(purge_id, alias)
                failures = 0
                continue
            if wait(0):
                return
            failures += 1
            self._failed.add((purge_id, alias))
            log.warning("REMOVED_HOOK failed alias=%r: %s; tried again in the next pass", alias, reason)
            if failures >= _MOST_FAILURES:
                log.warning(
                    "REMOVED_HOOK failed %s times in a row; %s more wait for the next pass",
                    failures,
                    len(untold) - number - 1,
                )
                return
