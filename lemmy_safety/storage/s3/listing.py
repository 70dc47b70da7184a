"""Splits the listing of a large bucket into ranges of keys and lists them in parallel.

A listing is a chain: each page names the next, so one connection gets one page per round trip, and a million keys
take a thousand round trips. Split into ranges of keys, several chains run in parallel. The bucket's own folders decide
where to split; the ranges cover all keys in any case, so a poor split costs only speed.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from lemmy_safety.storage.listers import listers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lemmy_safety.storage.s3.answers import Page


class AskPage(Protocol):
    """One listing request, with S3's own names for its parameters."""

    def __call__(self, **request: str | int) -> Page: ...


#: A range that starts after its last key wastes one request, so there are not many more ranges than connections.
_RANGES = 32
#: Enough to split evenly: pict-rs's third folder is a cell of 4.66 hours, so a year has 1,900 of them.
_ENOUGH_FOLDERS = 8 * _RANGES
#: Most requests spent on finding out where to split.
_MOST_QUESTIONS = 40


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys greater than ``after`` (None: all), up to and including ``last`` (None: to the end), in byte order."""

    after: str | None
    last: str | None


def cut(ask: AskPage, prefix: str, after: str) -> list[KeyRange]:
    """Ranges that together hold every key under ``prefix`` that is greater than ``after``.

    ``ask`` is one ListObjectsV2 request; whatever it raises is raised.
    """
    found = sorted({folder for folder in _folders(ask, prefix) if folder > after})
    step = max(1, -(-len(found) // _RANGES))
    edges: list[str | None] = [after, *found[step - 1 : -1 : step], None]
    return [KeyRange(low, high) for low, high in pairwise(edges)]


def _folders(ask: AskPage, prefix: str) -> list[str]:
    """Folders under ``prefix``, from as many levels as needed to have enough of them."""
    level = [prefix]
    questions = 0
    while level and len(level) < _ENOUGH_FOLDERS and questions + len(level) <= _MOST_QUESTIONS:
        questions += len(level)
        deeper: list[str] = []
        for folder in level:
            deeper += ask(Prefix=folder, Delimiter="/").folders
        if not deeper:
            break
        level = deeper
    return [] if level == [prefix] else level


def pages_of(
    ranges: Sequence[KeyRange], next_page: Callable[[KeyRange, Page | None], Page | None], *, connections: int
) -> Iterator[tuple[KeyRange, Page]]:
    """The pages of all ranges, in order within each range and mixed between them; at most ``connections`` in memory.

    ``next_page`` receives a range and its previous page (None: the first is wanted) and returns None at its end; it is
    called from several threads. The first error in any of them ends all, and so does closing the iterator.
    """
    waiting = deque(ranges)
    running: dict[Future[Page | None], KeyRange] = {}
    with listers(connections) as pool:
        while waiting or running:
            while waiting and len(running) < connections:
                begun = waiting.popleft()
                running[pool.submit(next_page, begun, None)] = begun
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                key_range = running.pop(future)
                page = future.result()
                if page is not None:
                    # Requested while this one is used.
                    running[pool.submit(next_page, key_range, page)] = key_range
                    yield key_range, page
