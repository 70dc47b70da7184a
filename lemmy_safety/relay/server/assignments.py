"""Which waiting upload goes to which worker, and which worker is still there. Pure: times are arguments.

Our workers have a name and ask again as soon as they got a job, so one that was silent for some seconds after that is
gone: its jobs are handed out again, and its open requests, which may look open for long on a cut line, get no more
jobs. Legacy workers have no name: their jobs are handed out again after half the time that an upload may take, and so
is a job that any worker holds for that long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.uploads.jobs import Job
    from lemmy_safety.uploads.lookups import Learned

#: Seconds without a sign of a worker after which it counts as gone. Far below the budget of 8 s, so that another one
#: can still judge in time; above what a busy line or a full disk costs.
LEASE_S = 2.5

#: Seconds without any worker after which uploads no longer wait for one.
ABSENT_AFTER_S = 30.0

#: Seconds that a verdict may be late and still be accepted: the worker had the job all the time.
_LATE_S = 120.0

#: Workers known by name at a time. More than a relay ever has; a client that keeps inventing names is not a worker.
_MOST_WORKERS = 256

#: How much the last answer counts in the average of how long workers take.
_WEIGHT = 0.2


@dataclass(slots=True, eq=False)
class Item:
    """An upload for a worker to judge; ``name`` is its name on the wire, ``since`` when it came."""

    name: str
    job: Job
    since: float
    fallback: Learned | None = None
    """A verdict by other rules, or a flag that a human may have cleared: used when no worker answers."""
    holder: str | None = None
    handed_at: float | None = None


@dataclass(slots=True)
class _Worker:
    rules: str
    sign: float
    """When it last sent a request."""
    seen: float
    """When it was last known to be there; the end of one of its requests counts too."""
    polls: int = 0


class Assignments:
    """The uploads of one relay, in the order they came, and its workers by name ("" for those without)."""

    def __init__(self, *, budget_s: float, now: float) -> None:
        self._budget_s = budget_s
        self._items: dict[str, Item] = {}
        self._workers: dict[str, _Worker] = {}
        self._seen = now
        self._pace_s = 0.0

    def add(self, item: Item) -> None:
        self._items[item.name] = item

    def find(self, name: str) -> Item | None:
        return self._items.get(name)

    def remove(self, item: Item) -> None:
        self._items.pop(item.name, None)

    def name_of(self, worker: str) -> str:
        """The worker's name, or "" if too many others have one. Then it is served as one without a name."""
        return worker if worker in self._workers or len(self._workers) < _MOST_WORKERS else ""

    def note_poll(self, worker: str, rules: str, now: float) -> None:
        """A worker asked for a job and waits."""
        known = self._workers.setdefault(worker, _Worker(rules, now, now))
        known.rules = rules
        known.polls += 1
        known.sign = now
        self._saw(known, now)

    def note_poll_ended(self, worker: str, now: float) -> None:
        """Its request was answered, or it disconnected."""
        known = self._workers[worker]
        known.polls -= 1
        self._saw(known, now)

    def note_answer(self, worker: str, item: Item, now: float) -> None:
        """It sent its result."""
        known = self._workers.get(worker)
        if known is not None:
            known.sign = now
            self._saw(known, now)
        if item.handed_at is not None:
            self._pace_s += _WEIGHT * (now - item.handed_at - self._pace_s)

    def _saw(self, worker: _Worker, now: float) -> None:
        worker.seen = self._seen = now

    def next_for(self, worker: str, now: float) -> Item | None:
        """The next upload for a worker; it counts as handed to it.

        The oldest one that can be answered within half of its time, going by how long workers took lately; otherwise
        the newest. Under overload every upload would be late if it had to wait for those that are already late; see
        ``uploads/backlog.py``.
        """
        if any(self._is_silent(item, worker, now) for item in self._items.values()):
            return None
        free = [item for item in self._items.values() if self._is_free(item, now)]
        early = (item for item in free if now - item.since + self._pace_s < self._budget_s / 2)
        item = next(early, free[-1] if free else None)
        if item is not None:
            item.holder, item.handed_at = worker, now
        return item

    def _is_free(self, item: Item, now: float) -> bool:
        if item.job.upload.data is None or not item.job.awaited:
            return False
        return item.handed_at is None or not self._is_held(item, item.handed_at, now)

    def _is_held(self, item: Item, handed_at: float, now: float) -> bool:
        if now - handed_at >= self._budget_s / 2:
            return False
        if not item.holder:
            return True
        holder = self._workers.get(item.holder)
        if holder is None or self._is_silent(item, item.holder, now):
            return False
        return holder.polls > 0 or now - holder.seen < LEASE_S

    def _is_silent(self, item: Item, worker: str, now: float) -> bool:
        """Whether a named worker has this job and has been silent since."""
        if not worker or item.holder != worker or item.handed_at is None or now - item.handed_at < LEASE_S:
            return False
        known = self._workers.get(worker)
        return known is None or known.sign <= item.handed_at

    def present(self, now: float) -> bool:
        """Whether a worker may come that judges."""
        return now - self._seen < ABSENT_AFTER_S or any(worker.polls for worker in self._workers.values())

    def rules(self, now: float) -> frozenset[str]:
        """The rules that the present workers judge by."""
        return frozenset(
            worker.rules for worker in self._workers.values() if worker.polls or now - worker.seen < ABSENT_AFTER_S
        )

    def forget(self, now: float) -> Iterator[Item]:
        """Remove items that have no waiting caller and that no worker will answer any more."""
        for item in list(self._items.values()):
            told = item.handed_at is not None and now - item.handed_at < _LATE_S
            if item.job.answered_early and not item.job.awaited and not told:
                del self._items[item.name]
                yield item
        for name, worker in list(self._workers.items()):
            if not worker.polls and now - worker.seen > _LATE_S:
                del self._workers[name]

    def items(self) -> list[Item]:
        return list(self._items.values())
