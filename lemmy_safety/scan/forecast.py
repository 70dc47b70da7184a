"""How long a running pass will still take, and which stage limits it. Pure: times and counts in, an outlook out.

Known objects cost next to nothing, so neither they nor the time in which only they are listed count: the rate is that
of objects that are read, over the recent time in which the pass was busy with them, and what is left are the objects
that still have to be read. A sweep that continues an earlier one therefore does not look fast while it skips what is
known, and does not look almost done either.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from lemmy_safety.scan.progress import Bottleneck, Outlook

if TYPE_CHECKING:
    from lemmy_safety.scan.progress import PassCounts, Total

#: Seconds of work that the rate is taken over: long against single slow files and batches of a model, short against
#: parts of a store that differ.
_WINDOW_S = 300.0

#: The rate is unknown before this many seconds of work, and before this many objects.
_LEAST_S = 10.0
_LEAST_OBJECTS = 5

#: Seconds between two samples of the window, so that it has at most 300.
_SAMPLE_S = 1.0

#: Updates over which the most frequent bottleneck is named: 10 s at 5 a second.
_RECENT_UPDATES = 50


class _Sample(NamedTuple):
    worked_s: float
    done: int
    bytes_read: int


class Forecast:
    """For one pass. Its memory does not grow with the pass."""

    def __init__(self) -> None:
        self._worked_s = 0.0
        self._last_s: float | None = None
        self._samples: deque[_Sample] = deque()
        self._bottlenecks: deque[Bottleneck] = deque(maxlen=_RECENT_UPDATES)

    def update(self, counts: PassCounts, bottleneck: Bottleneck, total: Total | None, *, listed: bool) -> Outlook:
        """Take the counts of this moment; call it several times a second. ``counts.seconds`` is the clock.

        ``listed``: the listing has ended, so that only what is under way is left.
        """
        passed_s = counts.seconds - (counts.seconds if self._last_s is None else self._last_s)
        self._last_s = counts.seconds
        is_busy = bottleneck is not Bottleneck.LISTING or (listed and counts.under_way > 0)
        if is_busy:
            self._worked_s += passed_s
            self._sample(_Sample(self._worked_s, counts.done, counts.bytes_read))
        if not listed:  # the queues run empty at the end, which says nothing about what was slow
            self._bottlenecks.append(bottleneck)
        rate, bytes_per_s = self._rates()
        to_read = self._to_read(counts, total, listed=listed)
        return Outlook(
            total=total,
            seconds_left=to_read / rate if rate and to_read is not None else None,
            bytes_per_s=bytes_per_s,
            bottleneck=Counter(self._bottlenecks).most_common(1)[0][0] if self._bottlenecks else None,
        )

    def _sample(self, sample: _Sample) -> None:
        if not sample.done:  # models may still be loading: the rate counts from the first result on
            self._samples.clear()
            self._samples.append(sample)
            return
        if len(self._samples) > 1 and sample.worked_s - self._samples[-2].worked_s < _SAMPLE_S:
            self._samples.pop()
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.worked_s - self._samples[0].worked_s > _WINDOW_S:  # noqa: PLR2004
            self._samples.popleft()

    def _rates(self) -> tuple[float | None, float | None]:
        """Objects and bytes per second of work, within the window; None before they can be known."""
        if not self._samples:
            return None, None
        first, last = self._samples[0], self._samples[-1]
        worked_s, done = last.worked_s - first.worked_s, last.done - first.done
        if worked_s < _LEAST_S or done < _LEAST_OBJECTS:
            return None, None
        return done / worked_s, (last.bytes_read - first.bytes_read) / worked_s

    def _to_read(self, counts: PassCounts, total: Total | None, *, listed: bool) -> int | None:
        if listed:
            return counts.under_way
        if total is None or total.to_read is None:
            return None
        return max(total.to_read - counts.variants - counts.done, counts.under_way)
