"""What a relay accepted without a verdict, in the ledger of the machine that judges.

There the daemon looks for it in the storage before all else; what became of it is told to the relay, whose list gets
shorter by it. Told twice is told once: nothing here has to be remembered beyond a run.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from lemmy_safety.errors import LedgerError
from lemmy_safety.web.messages import decode_unchecked, encode_learned
from lemmy_safety.web.threads import WorkerThreads
from lemmy_safety.web.wire import BadMessage
from lemmy_safety.web.worker_client import ServerTrouble

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.ledger.rows import UploadResult, UploadRow
    from lemmy_safety.web.worker_client import WorkerClient

log = logging.getLogger(__name__)

#: Judgements told at a time: with their findings they must fit into one message.
_TOLD_AT_ONCE = 50

#: Looks until the list is gone through from its beginning again: ten minutes.
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
        """Take over what is new, tell what was judged. Raises nothing: the next look may succeed."""
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
        # Pages go by when bytes came first. Those that come again, or while the relay's clock was set back, stand in an
        # earlier place, so the list is gone through from its beginning now and then; told twice is told once.
        if self._looks % _WHOLE_LIST_EVERY == 0:
            self._after = None
        self._looks += 1
        while page := [decode_unchecked(entry) for entry in await self._client.unchecked(after=self._after)]:
            await self._thread.run(partial(self._ledger.record_uploads, page))
            new = [upload.sha256 for upload in page if upload.sha256 not in self._open]
            self._open.update(dict.fromkeys(new))
            self._after = _place(page[-1])
            if new:
                log.info("%d uploads were accepted unchecked at %s", len(new), self._client.url)

    async def _report(self) -> None:
        """Tell what was judged meanwhile, here or by the daemon, or was nowhere to be found."""
        judged = await self._thread.run(self._judged)
        for start in range(0, len(judged), _TOLD_AT_ONCE):
            some = judged[start : start + _TOLD_AT_ONCE]
            await self._client.settle([{"sha256": row.sha256, "learned": encode_learned(row)} for row in some])
            for row in some:
                self._open.pop(row.sha256, None)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()

    def _judged(self) -> list[UploadRow]:
        rows = (self._ledger.upload(sha256) for sha256 in list(self._open))
        return [row for row in rows if row is not None and row.judged_at is not None]


def _place(upload: UploadResult) -> str:
    at = "" if upload.at is None else upload.at.isoformat()
    return f"{at},{upload.sha256}"
