"""Asks the ledger about uploads, outside the event loop and with a short timeout."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lemmy_safety.errors import LedgerError
from lemmy_safety.records import Review
from lemmy_safety.uploads.threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.ledger import KnownVerdict
    from lemmy_safety.records import Assessment

log = logging.getLogger(__name__)

#: Seconds that a look-up in the ledger may take; after that, the bytes count as unknown.
LOOKUP_PATIENCE_S = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned about some bytes. ``cleared``: a human said that a flag on them is wrong.

    ``reused_from`` is the key (or ``FROM_UPLOAD``) whose verdict it is, None if the bytes themselves were judged.
    """

    assessment: Assessment
    cleared: bool = False
    reused_from: str | None = None

    @property
    def flagged(self) -> bool:
        """Whether it is a flag that no human has cleared."""
        return self.assessment.flagged and not self.cleared


class Questions:
    """One thread that asks the ledger. Made and used by one event loop."""

    def __init__(self, name: str) -> None:
        self._thread = WorkerThreads(name)

    async def ask(self, question: Callable[[], T], *, within_s: float | None = None) -> T | None:
        """The ledger's answer, or None if it is late: no answer to pict-rs may depend on a slow database."""
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


def learned_from(known: KnownVerdict) -> Learned:
    """Convert a verdict of the ledger on the same bytes."""
    return Learned(known.assessment, cleared=known.review is Review.CLEARED, reused_from=known.key)


def stands_against(known: KnownVerdict, detectors: frozenset[str]) -> bool:
    """Whether this flag outranks any result of these detectors: no human has cleared it, and other detectors set it."""
    return known.stands and not known.assessment.detectors <= detectors


def outranks(earlier: Learned, later: Learned) -> bool:
    """Whether an earlier flag outranks the later result, because its own detectors have not checked again."""
    return (
        earlier.flagged
        and later.assessment.verdict is not None
        and not later.assessment.flagged
        and not earlier.assessment.detectors <= later.assessment.detectors
    )
