"""Shows a running pass to its listener: the counts, and what is still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.ledger import SWEEP, Known
from lemmy_safety.scan.forecast import Forecast
from lemmy_safety.scan.progress import Bottleneck, Total
from lemmy_safety.scan.totals import Counting, total_of

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.records import Ruleset, StoredObject
    from lemmy_safety.scan.progress import PassCounts, ProgressListener
    from lemmy_safety.scan.requests import PassRequest
    from lemmy_safety.storage.base import Storage


class Watch:
    """For one pass; used by one thread. Does nothing without a listener.

    What there is to do is counted once the engine is behind: a pass that only lists, because all objects are known, or
    that ends at once, is not slowed down by a second listing.
    """

    def __init__(
        self,
        listener: ProgressListener | None,
        request: PassRequest,
        *,
        storage: Storage,
        prefix: str,
        ledger: Ledger,
        ruleset: Ruleset,
    ) -> None:
        self._listener = listener
        self._request = request
        self._storage = storage
        self._prefix = prefix
        self._ledger = ledger
        self._ruleset = ruleset
        self._forecast = Forecast()
        self._counting: Counting | None = None
        self._before = self._total_before() if listener else None

    def _total_before(self) -> Total | None:
        """What the last complete sweep over the same keys listed."""
        if self._request.kind != SWEEP or self._request.since is not None:
            return None
        return total_of(self._ledger.passes.last_counts(self._storage.name, SWEEP), self._prefix)

    def update(self, counts: PassCounts, bottleneck: Bottleneck, *, listed: bool) -> None:
        """``listed``: the pass has listed everything."""
        if self._listener is None:
            return
        if self._request.exhaustive and self._counting is None and not listed and bottleneck is not Bottleneck.LISTING:
            self._count(counts)
        outlook = self._forecast.update(counts, bottleneck, self._total(counts, listed=listed), listed=listed)
        self._listener.update(counts, outlook)

    def _total(self, counts: PassCounts, *, listed: bool) -> Total | None:
        if self._request.keys is not None:
            return None
        if listed:
            return Total(
                objects=counts.seen,
                size=counts.bytes_seen,
                to_read=counts.variants + counts.done + counts.under_way,
                size_to_read=None,
                is_exact=True,
            )
        counted = self._counting.total if self._counting else None
        return counted or self._before

    def _count(self, counts: PassCounts) -> None:
        self._counting = Counting(
            lambda: self._storage.list(since=self._request.since, prefix=self._prefix),
            self._known,
            done=counts.done,
            bytes_done=counts.bytes_done,
        )
        self._counting.start()

    def _known(self, batch: list[StoredObject]) -> set[str]:
        """Variants are none: they are counted as they are passed over, whether or not they have to be read."""
        known = self._ledger.objects.known(self._storage.name, batch, self._ruleset)
        return {key for key, state in known.items() if state is not Known.VARIANT}

    def close(self) -> None:
        """Stop counting; does not wait for a request that is under way."""
        if self._counting is not None:
            self._counting.stop()
