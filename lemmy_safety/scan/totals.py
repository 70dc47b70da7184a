"""How much a pass has to do, counted by a second listing next to its own.

The pass lists no further ahead than its short queues reach, so that its memory stays bounded; it does not know what is
still to come. This listing keeps nothing but sums. Its cost is that of any listing: one request per 1,000 objects in a
bucket, one ``find`` over SSH, and one look-up in the ledger per 500 objects.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from lemmy_safety.errors import AccessDenied, LemmySafetyError, ListingIncomplete
from lemmy_safety.ledger import SWEEP
from lemmy_safety.pictrs.keys import is_health_check
from lemmy_safety.scan.progress import Total

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterator, Mapping

    from lemmy_safety.records import StoredObject

log = logging.getLogger(__name__)

#: Objects per look-up, as in the pass.
_LOOKUP_BATCH = 500


class Counting:
    """Counts in a thread of its own. Its errors are logged and never raised; the total then stays unknown."""

    def __init__(
        self,
        list_objects: Callable[[], Iterator[StoredObject]],
        known: Callable[[list[StoredObject]], Container[str]],
        *,
        done: int,
        bytes_done: int,
    ) -> None:
        """``known`` returns the keys of a batch that need not be read. What the pass has already read is on record by
        now and counts as known, so it is given: ``done`` objects of ``bytes_done``.
        """
        self._list = list_objects
        self._known = known
        self._to_read = done
        self._size_to_read = bytes_done
        self._stopped = threading.Event()
        #: None until everything is counted.
        self.total: Total | None = None

    def start(self) -> None:
        try:
            threading.Thread(target=self._run, name="count", daemon=True).start()
        except RuntimeError as error:  # the machine is at its limit of threads
            log.info("the objects are not counted: %s", error)

    def stop(self) -> None:
        """End soon, without waiting for a request that is under way."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            self._count()
        except Exception as error:  # whatever it is, it must not fail the pass
            if self._stopped.is_set():  # the pass has ended, and may have closed storage and ledger
                return
            if isinstance(error, LemmySafetyError):
                log.info("the objects could not be counted: %s", error.message)
            else:
                log.warning("the objects could not be counted", exc_info=True)

    def _count(self) -> None:
        objects = size = 0
        with closing(self._listed()) as listed:
            while batch := list(islice(listed, _LOOKUP_BATCH)):
                if self._stopped.is_set():
                    return
                known = self._known(batch)
                unknown = [obj for obj in batch if obj.key not in known]
                objects += len(batch)
                size += sum(obj.size for obj in batch)
                self._to_read += len(unknown)
                self._size_to_read += sum(obj.size for obj in unknown)
        self.total = Total(
            objects=objects, size=size, to_read=self._to_read, size_to_read=self._size_to_read, is_exact=True
        )

    def _listed(self) -> Generator[StoredObject]:
        try:
            yield from (obj for obj in self._list() if not is_health_check(obj.key, obj.size))
        except (AccessDenied, ListingIncomplete):  # raised by storages after everything else, and by the pass as well
            return


def total_of(sweep: Mapping[str, object] | None, prefix: str) -> Total | None:
    """The total that an earlier complete sweep recorded in its summary; None if that was under another prefix, or by a
    version that did not record it.
    """
    if sweep is None or sweep.get("kind") != SWEEP or sweep.get("prefix") != prefix:
        return None
    objects, size = sweep.get("seen"), sweep.get("bytes_seen")
    if not isinstance(objects, int) or not isinstance(size, int):
        return None
    return Total(objects=objects, size=size, to_read=None, size_to_read=None, is_exact=False)
