"""Goes through the pictures of a pict-rs from newer to older ones, page by page, past pages that it cannot show.

pict-rs answers 500 to a whole page if the original of one picture on it is missing or broken and no blurhash of it is
stored (from 0.5.17 on, after an upgrade or ``migrate-repo``). Then the page is asked for in smaller pieces, and that
picture is stepped over by time. What could not be listed is reported, so that no caller takes it for absent.

The list is ordered by when a row was written. Pages show ``created_at``, when the file was examined, which is up to
``LATE_ROW`` earlier: an upload is validated in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import PictrsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.pictrs.api.answers import HashEntry, HashPage
    from lemmy_safety.pictrs.api.client import PictrsApi

#: Pictures a page. Each costs pict-rs four look-ups in its database.
PAGE: Final = 100

#: How long after a file was examined its row may be written: 120 s for all of an upload, and 30 s for the validator.
LATE_ROW: Final = timedelta(seconds=150)

#: How close to a picture that cannot be shown the list goes on.
_PRECISION = timedelta(milliseconds=1)

#: Moments at which such a picture's row is looked for: so long after the file above it was examined.
_STEPS = (timedelta(), *(timedelta(milliseconds=8**power) for power in range(6)), LATE_ROW)

#: How much further below each further look is.
_DESCENT = 1.3

#: When there was no pict-rs yet.
_BEFORE_ALL = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a walk goes on. It survives the removal of the picture that it names: then ``reached`` counts."""

    slug: str
    reached: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Pictures that follow one another in the list. ``hidden``: one or more after them cannot be listed.

    ``then`` is where the list goes on; None at its end.
    """

    entries: tuple[HashEntry, ...]
    hidden: bool = False
    then: Position | None = None


def walk(
    api: PictrsApi, *, older_than: datetime | None = None, start: Position | None = None, floor: datetime = _BEFORE_ALL
) -> Iterator[Stretch]:
    """All pictures from a moment, a position or the newest one on; it need not end at ``floor``, but never needs less.

    A position that is older than the program's last run can repeat some pictures.

    :raises PictrsError: pict-rs cannot be reached, is too old, or refuses.
    """
    walker = _Walker(api, floor)
    stretch = walker.first(older_than, start)
    yield stretch
    while stretch.then is not None:
        stretch = walker.next(stretch.then)
        yield stretch


class _Walker:
    def __init__(self, api: PictrsApi, floor: datetime) -> None:
        self._api = api
        self._floor = floor
        self._limit = PAGE
        self._small = 0

    def first(self, older_than: datetime | None, start: Position | None) -> Stretch:
        if start is not None:
            return self.next(start)
        page = self._page(older_than=older_than)
        if page is None:
            return self._over(older_than or datetime.now(UTC) + LATE_ROW, self._slug(older_than))
        if older_than is not None and _is_newest_instead(page, older_than):
            return Stretch(entries=())
        return _stretch(page, older_than)

    def next(self, position: Position) -> Stretch:
        page = self._page(slug=position.slug)
        if page is None:
            return self._after(position)
        if page.current == position.slug:
            return _stretch(page, position.reached)
        # The picture that the slug names is gone, and this is the newest page.
        if position.reached is None:
            return _stretch(page, None)
        return self.first(position.reached + LATE_ROW, None)

    def _page(self, *, slug: str | None = None, older_than: datetime | None = None) -> HashPage | None:
        """A page as large as possible; None if its first picture cannot be shown."""
        while True:
            try:
                page = self._api.hashes(limit=self._limit, slug=slug, older_than=older_than)
            except PictrsError as error:
                if type(error) is not PictrsError:
                    raise
                if self._limit == 1:
                    return None
                self._limit, self._small = max(1, self._limit // 10), 0
            else:
                self._small += len(page.entries)
                if self._limit < PAGE <= self._small:
                    self._limit = PAGE
                return page

    def _slug(self, older_than: datetime | None = None) -> str | None:
        """The picture with which the list begins there. A page of no pictures names it and never fails."""
        return self._api.hashes(limit=0, older_than=older_than).next

    def _after(self, position: Position) -> Stretch:
        """The list after a picture that cannot be shown."""
        if position.reached is None:
            return Stretch(entries=(), hidden=True)
        moments = (position.reached + step for step in _STEPS)
        above = next((moment for moment in moments if self._slug(moment) == position.slug), None)
        # Where it was not found, the list goes on a little lower, past others perhaps, which counts as hidden too.
        return self._over(above or position.reached, position.slug)

    def _over(self, above: datetime, broken: str | None) -> Stretch:
        """Where the list goes on below a picture that cannot be shown, the newest one older than ``above``."""
        self._limit = PAGE
        low = next((moment for moment in self._lower(above) if self._slug(moment) != broken), None)
        if low is None:
            return Stretch(entries=(), hidden=True)
        high = above
        while high - low > _PRECISION:
            middle = low + (high - low) / 2
            if self._slug(middle) == broken:
                high = middle
            else:
                low = middle
        older = self._slug(low)
        if older is None or older == self._slug():  # with PostgreSQL, the newest one stands for "nothing is older"
            return Stretch(entries=(), hidden=True)
        return Stretch(entries=(), hidden=True, then=Position(slug=older, reached=low))

    def _lower(self, above: datetime) -> Iterator[datetime]:
        """Moments below one, ever further away, down to the floor."""
        yield self._floor
        # If that begins the same list: with PostgreSQL and the newest picture, it did not say that nothing is older.
        step = timedelta(seconds=1)
        start = min(above, datetime.now(UTC))
        while start - step > self._floor:
            yield start - step
            step *= _DESCENT


def _stretch(page: HashPage, before: datetime | None) -> Stretch:
    known = [entry.created_at for entry in page.entries if entry.created_at is not None]
    reached = known[-1] if known else before
    then = None if page.next is None else Position(slug=page.next, reached=reached)
    return Stretch(entries=page.entries, then=then)


def _is_newest_instead(page: HashPage, moment: datetime) -> bool:
    """Whether this is the newest page, with which a pict-rs on PostgreSQL says that nothing is older than ``moment``."""
    return any(entry.created_at is not None and entry.created_at > moment for entry in page.entries)
