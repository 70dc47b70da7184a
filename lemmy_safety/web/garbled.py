"""Requests that pict-rs cannot have sent: a fault of the connection, which must not look like many odd files.

A new version of pict-rs may use another form, and a proxy may change requests. Then no upload is judged any more, and
each looks like an unreadable file. So they are counted and recorded for ``doctor``, and after 20 in a row ``/ready``
reports that the service cannot work.

Only allowed callers are counted. No uploader can cause such a request, because pict-rs accepts only formats it knows
(``pictrs/media.py``); even if one does, the next user's picture resets the count.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.access.complaints import Complaints
from lemmy_safety.errors import LedgerError
from lemmy_safety.ledger import MOST_GARBLED_IN_A_ROW
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    import asyncio

    from lemmy_safety.ledger import GarbledCounts
    from lemmy_safety.uploads.metrics import Meters
    from lemmy_safety.uploads.records import Garbled

log = logging.getLogger(__name__)

#: Maximum characters of a Content-Type in a log line.
_SHOWN = 200


class GarbledRequests:
    """Counts the garbled requests of one service. Belongs to one event loop; one thread writes."""

    def __init__(self, counts: GarbledCounts, meters: Meters) -> None:
        self._counts = counts
        self._meters = meters
        self._thread = WorkerThreads("count-garbled")
        self._in_a_row = 0
        self._last = ""
        self._unwritten = 0
        self._row_to_end = True  # an earlier run may have left a count
        self._writing = False
        self._complaints = Complaints()

    @property
    def too_many(self) -> bool:
        """Whether too many requests in a row were garbled."""
        return self._in_a_row >= MOST_GARBLED_IN_A_ROW

    def note(self, what: Garbled, content_type: str) -> None:
        """A request was garbled. ``content_type`` is what its headers say."""
        self._meters.garbled(what)
        self._in_a_row += 1
        self._unwritten += 1
        self._last = what.value
        self._complain(what, content_type)
        self._pump()

    def note_understood(self) -> None:
        """A file came that pict-rs can have stored."""
        if self.too_many:
            log.warning("requests are understood again, after %d that were garbled", self._in_a_row)
        self._row_to_end = self._row_to_end or self._in_a_row > 0
        self._in_a_row = 0
        self._pump()

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def _complain(self, what: Garbled, content_type: str) -> None:
        if self._in_a_row == MOST_GARBLED_IN_A_ROW:
            log.error(
                "%d requests in a row were garbled: what pict-rs sends does not arrive as it should, or this pict-rs asks "
                "in a form that is not known here; uploads are not judged",
                self._in_a_row,
            )
        unsaid = self._complaints.due()
        if unsaid is None:
            return
        log.warning(
            "a request that pict-rs cannot have made so (%s; Content-Type %r; %d in a row, %d more since the last line)",
            what.value,
            content_type[:_SHOWN],
            self._in_a_row,
            unsaid,
        )

    def _pump(self) -> None:
        """Write the new counts, all that came meanwhile at once. What cannot be written is retried with the next."""
        if self._writing or not (self._unwritten or (self._row_to_end and not self._in_a_row)):
            return
        added, self._unwritten = self._unwritten, 0
        if added:
            what, in_a_row = self._last, self._in_a_row
            done = self._thread.run(partial(self._counts.count, what, added=added, in_a_row=in_a_row))
        else:
            done = self._thread.run(self._counts.end_row)
        self._row_to_end = False
        self._writing = True
        done.add_done_callback(partial(self._written, added))

    def _written(self, added: int, done: asyncio.Future[None]) -> None:
        self._writing = False
        error = done.exception()
        if error is None:
            self._pump()
            return
        log.error("garbled requests cannot be counted: %s", error, exc_info=not isinstance(error, LedgerError))
        self._unwritten += added
        self._row_to_end = True
