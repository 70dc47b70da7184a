"""Which waiting upload goes to which worker, and which worker is still there. Pure: times are given, nothing waits.

A worker of ours has a name and asks again as soon as it got something, so one that was not heard of for some seconds
after that is gone: what it had taken is handed out again, and its questions, which may look open for long on a line that
was cut, get nothing more. Those of the ancestor have no name: what they took is handed out again after half the time
that an upload may take, and so is what any worker keeps for as long.
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

#: Seconds without any worker after which uploads are not kept waiting for one any more.
ABSENT_AFTER_S = 30.0

#: Seconds that a verdict may come late and still be taken: the worker had it all the time.
_LATE_S = 120.0

#: Workers that are known by name at a time. More than a relay ever has; whoever makes up names without end is no worker.
_MOST_WORKERS = 256

#: How much the last answer counts in the average of how long workers take.
_WEIGHT = 0.2


@dataclass(slots=True, eq=False)
class Item:
    """An upload that a worker is to judge; ``name`` is what it is called on the wire, ``since`` when it came."""

    name: str
    job: Job
    since: float
    fallback: Learned | None = None
    """What is known from other rules, or waits for a human's second thought: used when no worker answers."""
    holder: str | None = None
    handed_at: float | None = None


@dataclass(slots=True)
class _Worker:
    rules: str
    sign: float
    """When it last said something."""
    seen: float
    """When it was last known to be there: also when a question of its ended."""
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
        """What a worker is called here: its name, or "" where too many others have one. Then it is served as one without."""
        return worker if worker in self._workers or len(self._workers) < _MOST_WORKERS else ""

    def note_poll(self, worker: str, rules: str, now: float) -> None:
        """A worker asks for something to do, and waits."""
        known = self._workers.setdefault(worker, _Worker(rules, now, now))
        known.rules = rules
        known.polls += 1
        known.sign = now
        self._saw(known, now)

    def note_poll_ended(self, worker: str, now: float) -> None:
        """It was answered, or went away."""
        known = self._workers[worker]
        known.polls -= 1
        self._saw(known, now)

    def note_answer(self, worker: str, item: Item, now: float) -> None:
        """It said what it found out."""
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

        The oldest one that can be answered within half of its time, going by how long workers took lately; else the
        newest. Under a load that is too much for them, each would be late if it had to wait for those that are late
        already; see ``uploads/backlog.py``.
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
        """Whether a worker that has a name got this and did not say a word since."""
        if not worker or item.holder != worker or item.handed_at is None or now - item.handed_at < LEASE_S:
            return False
        known = self._workers.get(worker)
        return known is None or known.sign <= item.handed_at

    def present(self, now: float) -> bool:
        """Whether somebody may come who judges."""
        return now - self._seen < ABSENT_AFTER_S or any(worker.polls for worker in self._workers.values())

    def rules(self, now: float) -> frozenset[str]:
        """By which rules those judge who are there."""
        return frozenset(
            worker.rules for worker in self._workers.values() if worker.polls or now - worker.seen < ABSENT_AFTER_S
        )

    def forget(self, now: float) -> Iterator[Item]:
        """Take out what nobody waits for and no worker will speak of any more."""
        for item in list(self._items.values()):
            told = item.handed_at is not None and now - item.handed_at < _LATE_S
            if item.job.let_down and not item.job.awaited and not told:
                del self._items[item.name]
                yield item
        for name, worker in list(self._workers.items()):
            if not worker.polls and now - worker.seen > _LATE_S:
                del self._workers[name]

    def items(self) -> list[Item]:
        return list(self._items.values())
