"""Copies what a relay accepted without a verdict into the ledger of the machine that judges.

There the daemon searches the storage for it before all else. The results are reported to the relay, whose list gets
shorter. Reports are idempotent: nothing here has to be remembered beyond a run.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lemmy_safety.errors import LedgerError
from lemmy_safety.outgoing import ServerTrouble
from lemmy_safety.relay.bounded_json import MOST_JSON_BYTES
from lemmy_safety.relay.messages import decode_unchecked, encode_judged
from lemmy_safety.relay.protocol import BadMessage
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lemmy_safety.ledger import Ledger, UploadResult, UploadRow
    from lemmy_safety.relay.worker.client import WorkerClient

log = logging.getLogger(__name__)

#: Judgements per report, and their bytes: with their findings they must fit into one message.
_TOLD_AT_ONCE = 50
_TOLD_BYTES = MOST_JSON_BYTES // 2

#: Pages read per round. What a relay lists beyond that waits for the next round.
_MOST_PAGES = 4

#: With this many unchecked uploads in this ledger, no new ones are imported, so that a relay cannot fill the disk.
#: Those of an honest relay follow as soon as others were judged; until then a pass over the whole storage still finds
#: them.
_MOST_OPEN = 20_000

#: Rounds until the list is read from its beginning again: ten minutes.
_WHOLE_LIST_EVERY = 20


class UncheckedMirror:
    """Belongs to one event loop."""

    def __init__(self, client: WorkerClient, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger
        self._thread = WorkerThreads("mirror-unchecked")
        self._after: str | None = None
        self._looks = 0
        self._open: dict[str, None] = {}

    async def look(self) -> None:
        """Import what is new, report what was judged. Raises nothing: the next round may succeed."""
        try:
            await self._take_over()
            await self._report()
        except ServerTrouble as error:
            log.info("the unchecked uploads of %s could not be gone through: %s", self._client.url, error)
        except BadMessage as error:
            log.warning("what %s says of its unchecked uploads makes no sense: %s", self._client.url, error)
        except LedgerError as error:
            log.error("unchecked uploads could not be recorded: %s", error)  # noqa: TRY400 - expected, one line

    async def _take_over(self) -> None:
        # Pages are ordered by the time when bytes first came. Bytes that come again, or while the relay's clock was set
        # back, get an earlier place, so the list is read from its beginning now and then; reports are idempotent.
        if self._looks % _WHOLE_LIST_EVERY == 0:
            self._after = None
        self._looks += 1
        for _ in range(_MOST_PAGES):
            page = [decode_unchecked(entry) for entry in await self._client.unchecked(after=self._after)]
            if not page:
                return
            self._see_that_it_goes_on(page)
            taken = await self._thread.run(partial(self._record, page))
            new = [upload.sha256 for upload in taken if upload.sha256 not in self._open]
            self._open.update(dict.fromkeys(new))
            if new:
                log.info("%d uploads were accepted unchecked at %s", len(new), self._client.url)
            if len(taken) < len(page):
                log.warning(
                    "%d unchecked uploads wait to be judged; no more are accepted from %s until some are",
                    _MOST_OPEN,
                    self._client.url,
                )
                return
            self._after = _place(page[-1])

    def _see_that_it_goes_on(self, page: Sequence[UploadResult]) -> None:
        """Pages must be in order, each after the one before: otherwise they might never end.

        :raises BadMessage: this page is out of order.
        """
        places = [_place(upload) for upload in page]
        before = places if self._after is None else [self._after, *places]
        if any(_sorted_by(one) >= _sorted_by(other) for one, other in pairwise(before)):
            self._after = None
            raise BadMessage("a page that is not behind the one before")

    def _record(self, page: Sequence[UploadResult]) -> Sequence[UploadResult]:
        """Write what may be imported: of the uploads not yet in the ledger only as many as there is room for."""
        room = _MOST_OPEN - self._ledger.uploads.count_unchecked()
        if room >= len(page):
            self._ledger.uploads.record(page)
            return page
        taken = []
        for upload in page:
            if self._ledger.uploads.get(upload.sha256) is None:
                if room <= 0:
                    break
                room -= 1
            taken.append(upload)
        self._ledger.uploads.record(taken)
        return taken

    async def _report(self) -> None:
        """Report what was judged meanwhile, here or by the daemon, or was not found."""
        told = (encode_judged(row) for row in await self._thread.run(self._judged))
        judged = [entry for entry in told if entry is not None]
        for some in _messages(judged):
            await self._client.settle(some)
            for entry in some:
                self._open.pop(entry["sha256"], None)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def _judged(self) -> list[UploadRow]:
        rows = (self._ledger.uploads.get(sha256) for sha256 in list(self._open))
        return [row for row in rows if row is not None and row.judged_at is not None]


def _messages(judged: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """In chunks that the relay accepts."""
    piece: list[dict[str, Any]] = []
    size = 0
    for entry in judged:
        adds = len(json.dumps(entry))
        if piece and (len(piece) >= _TOLD_AT_ONCE or size + adds > _TOLD_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += adds
    if piece:
        yield piece


def _sorted_by(place: str) -> tuple[datetime, str]:
    at, _, sha256 = place.partition(",")
    return datetime.fromisoformat(at), sha256


def _place(upload: UploadResult) -> str:
    at = "" if upload.at is None else upload.at.isoformat()
    return f"{at},{upload.sha256}"
