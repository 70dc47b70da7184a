"""Lists a bucket, page by page: fast if the server keeps S3's order, otherwise as one plain chain of pages.

The server's promises are checked during use (``order``). Some servers list in their own order (Storj,
stores with real folders); there, only following the server's own tokens from the first page on is complete.
"""

from __future__ import annotations

import functools
import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageError
from lemmy_safety.storage.s3.listing import KeyRange, cut, pages_of
from lemmy_safety.storage.s3.order import OrderBroken, RangeCheck, check_joints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.storage.learned import Learned
    from lemmy_safety.storage.s3.answers import Page
    from lemmy_safety.storage.s3.listing import AskPage

_log = logging.getLogger(__name__)


class BucketListing:
    """Listings of one bucket; keeps what the first listing found out about the server."""

    #: Pages without a key in a row. After many deletions under versioning, S3 may send one per thousand old versions.
    most_empty_pages = 10_000

    def __init__(self, ask: AskPage, place: str, *, page_size: int, connections: int, learned: Learned) -> None:
        self._ask = ask
        self._place = place
        self._page_size = page_size
        self._connections = connections
        self._learned = learned
        #: False once the server was seen to list in an order other than byte order.
        self.keeps_order = True

    def distrust(self, error: OrderBroken) -> None:
        """From now on only ``plain`` is complete."""
        self.keeps_order = False
        _log.debug("%s: %s", self._place, error)
        self._learned.note(
            self._place,
            "lists keys in an order of its own: each listing reads all of it, one page after the other, which is slower.",
        )

    def in_order(
        self, prefix: str, after: str | None, *, pages_in_a_row: int, page_size: int | None = None
    ) -> Iterator[Page]:
        """Pages of the keys after ``after``, in byte order; from ``pages_in_a_row`` on several chains, in no order.

        :raises OrderBroken: the server does not keep the order; the pages so far are good, but later ones may leave out
            keys.
        :raises StorageError: a request failed; the listing cannot continue.
        """
        follow = functools.partial(self._next, prefix=prefix, page_size=page_size or self._page_size)
        whole = KeyRange(after, None)
        check = RangeCheck(whole)
        page = follow(whole, None)
        for number in itertools.count(1):
            if page is None:
                return
            check.check(page)
            yield page
            if number >= pages_in_a_row and page.more:
                break
            page = follow(whole, page)
        ranges = cut(self._ask, prefix, check.reached)
        _log.debug("%s is large; listing the rest in %d ranges", self._place, len(ranges))
        checks = {key_range: RangeCheck(key_range) for key_range in ranges}
        for key_range, later in pages_of(ranges, follow, connections=self._connections):
            checks[key_range].check(later)
            yield _inside(later, key_range)
        check_joints([checks[key_range] for key_range in ranges], functools.partial(self._met, follow))

    def plain(self, prefix: str) -> Iterator[Page]:
        """All pages, as the server links them; relies on nothing but those links.

        :raises StorageError: a request failed; the listing cannot continue, or goes in circles.
        """
        request = self._request(prefix, None, self._page_size)
        page = self._ask(**request)
        seen: set[int] = set()
        while True:
            yield page
            if not page.more:
                return
            page = self._following(page, request)
            marks = [hash(page.token)] if page.token else []
            marks += [hash(tuple(entry.key for entry in page.entries))] if page.entries else []
            if not seen.isdisjoint(marks):
                raise self._cannot_go_on()
            seen.update(marks)

    def _next(self, key_range: KeyRange, before: Page | None, *, prefix: str, page_size: int) -> Page | None:
        """The page of a range after ``before``; None at the range's end."""
        request = self._request(prefix, key_range.after, page_size)
        if before is None:
            return self._ask(**request)
        last = before.last_key
        if key_range.last is not None and last is not None and last > key_range.last:
            return None
        if before.more:
            return self._following(before, request)
        # A full page that claims to be the last, and the end of a long listing, are worth one more request.
        is_full = len(before.entries) >= min(page_size, before.most_keys or page_size)
        if last is None or not (is_full or key_range.last is not None):
            return None
        page = self._ask(**self._request(prefix, last, page_size))
        return page if page.entries or page.more else None

    def _following(self, before: Page, request: dict[str, str | int]) -> Page:
        """The page that ``before`` leads to.

        :raises StorageError: there is no way to it, or it is the same page.
        """
        if before.token is not None:
            page = self._ask(**request, ContinuationToken=before.token)
        else:
            # An old server that answers as ListObjects does: continue after the last key.
            marker = before.marker or before.last_key
            if marker is None:
                raise self._cannot_go_on()
            page = self._ask(**{name: value for name, value in request.items() if name != "StartAfter"}, Marker=marker)
        empty = 0 if page.entries else before.empty_pages + 1
        same = page.entries == before.entries if page.entries else page.token is not None and page.token == before.token
        if same or empty > self.most_empty_pages:
            raise self._cannot_go_on()
        return replace(page, empty_pages=empty)

    def _met(self, follow: Callable[[KeyRange, Page | None], Page | None], key_range: KeyRange) -> RangeCheck:
        """Read a range up to the first key beyond it, or to its first key if it has no end."""
        check = RangeCheck(key_range)
        page = follow(key_range, None)
        while page is not None:
            check.check(page)
            if check.beyond is not None or (key_range.last is None and check.first is not None):
                break
            page = follow(key_range, page)
        return check

    def _request(self, prefix: str, after: str | None, page_size: int) -> dict[str, str | int]:
        request: dict[str, str | int] = {"MaxKeys": page_size}
        if prefix:
            request["Prefix"] = prefix
        if after:
            request["StartAfter"] = after
        return request

    def _cannot_go_on(self) -> StorageError:
        return StorageError(
            f"{self._place}: the server says that there is more to list, but not how to go on.",
            hint="Its ListObjectsV2 is broken; nothing was skipped, the pass ended here.",
        )


def _inside(page: Page, key_range: KeyRange) -> Page:
    last = key_range.last
    if last is None:
        return page
    return replace(page, entries=tuple(entry for entry in page.entries if entry.key <= last))
