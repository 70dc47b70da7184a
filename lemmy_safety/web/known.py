"""What the ledger knows of uploads, asked beside the event loop and with little patience."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from lemmy_safety.errors import LedgerError
from lemmy_safety.records import Outcome, Review, StoredObject
from lemmy_safety.scan.inspection import name_of
from lemmy_safety.scan.reuse import taken_over
from lemmy_safety.web.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger.rows import KnownVerdict
    from lemmy_safety.records import ItemResult
    from lemmy_safety.web.uploads import Upload

log = logging.getLogger(__name__)

#: Seconds that a look into the ledger may take; beyond that it is as if nothing were known.
LOOKUP_PATIENCE_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Learned:
    """What was found out about some bytes. ``cleared``: a human said that a flag on them is wrong."""

    result: ItemResult
    cleared: bool = False


class Questions:
    """One thread that asks the ledger. Made and used by one event loop."""

    def __init__(self, name: str) -> None:
        self._thread = WorkerThreads(name)

    async def ask(self, question: Callable[[], T], *, within_s: float | None = None) -> T | None:
        """The ledger's answer; None when it gives none in time, for no answer to pict-rs may hang on a slow database."""
        asked = self._thread.run(question)
        await asyncio.wait({asked}, timeout=LOOKUP_PATIENCE_S if within_s is None else within_s)
        if not asked.done():
            asked.cancel()
            log.error("the database does not answer in time")
            return None
        error = asked.exception()
        if error is not None:
            log.error("the database cannot be asked: %s", error, exc_info=not isinstance(error, LedgerError))
            return None
        return asked.result()

    def close(self) -> None:
        """Let the thread end."""
        self._thread.close()


def learned_from(upload: Upload, known: KnownVerdict) -> Learned:
    """A verdict of the ledger on the same bytes, as something learned of this upload."""
    result = taken_over(as_object(upload), known, sha256=upload.sha256)
    return Learned(result, cleared=known.review is Review.CLEARED)


def stands_against(known: KnownVerdict, detectors: frozenset[str]) -> bool:
    """Whether it is a flag that wins over whatever these detectors say: no human has cleared it, and it is not theirs."""
    is_flag = known.verdict.outcome is Outcome.FLAGGED and known.review is not Review.CLEARED
    return is_flag and not known.detectors <= detectors


def outranks(earlier: Learned, later: Learned) -> bool:
    """Whether an earlier flag wins over what is said now: not by its detectors, who have not looked again."""
    flag, said = earlier.result.verdict, later.result.verdict
    return (
        flag is not None
        and flag.outcome is Outcome.FLAGGED
        and not earlier.cleared
        and said is not None
        and said.outcome is not Outcome.FLAGGED
        and not earlier.result.detectors <= later.result.detectors
    )


def as_object(upload: Upload) -> StoredObject:
    """An upload as results speak of objects; it lies nowhere yet."""
    return StoredObject(key=name_of(upload.sha256), size=upload.size, modified_at=datetime.now(UTC))
