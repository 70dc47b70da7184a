"""From an object to its picture with pict-rs's HTTP interface alone, which has no question for that.

A time-ordered key holds the millisecond of the upload. The picture's row was written within minutes after it, so the
list of pictures is read from there backwards until one has the object's SHA-256; the picture's own key confirms it.
Objects that this cannot find: variants and stills (their bytes are in no list), older keys, and everything after a
``migrate-store``, whose new keys hold the time of the migration. For the latter two ``by_walk.py`` reads the whole list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from lemmy_safety.errors import PictrsError
from lemmy_safety.pictrs import keys
from lemmy_safety.pictrs.api.walking import LATE_ROW, PAGE, walk
from lemmy_safety.pictrs.pictures.records import ORIGINAL, Alias, Found, Picture, Unresolved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.pictrs.api.answers import HashEntry
    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.api.walking import Stretch
    from lemmy_safety.pictrs.hashes import StoredHash
    from lemmy_safety.pictrs.pictures.records import Resolution

#: Nearly every row is written this soon after its key was drawn, and is among the newest 100 of that moment.
_SOON: Final = timedelta(seconds=15)
#: Else the list is read in stretches that end ever later; no row is written later than the last.
_LATER: Final = (*(timedelta(seconds=4**power) for power in range(5)), keys.LATE_ARRIVAL)

#: How far the clocks of several pict-rs may differ.
_CLOCKS: Final = timedelta(seconds=2)

#: Pages that are read for one key at most. Users do not upload 20,000 pictures in a few minutes.
_MOST_PAGES: Final = 200

#: Pictures that are remembered. One takes about 400 bytes.
_MOST_SHOWN: Final = 50_000


class ApiFinder:
    """Asks the HTTP interface. Remembers the pictures that it was shown; each is confirmed before it is reported."""

    def __init__(self, api: PictrsApi) -> None:
        self._api = api
        self._shown: dict[str, HashEntry] = {}

    def by_keys(self, wanted: Mapping[str, str | None]) -> dict[str, Resolution]:
        """The picture of each key. With a key goes the SHA-256 of its object, or None if that is not known.

        :raises PictrsTooOld: pict-rs 0.4 has no list.
        :raises PictrsError: pict-rs cannot be asked.
        """
        # The newest first: what was shown on the way to one is often where the next one is.
        return {key: self._by_key(key, wanted[key]) for key in sorted(wanted, reverse=True)}

    def by_alias(self, alias: str) -> Picture | None:
        """None if pict-rs has no such alias.

        :raises PictrsError: pict-rs cannot be asked.
        """
        aliases = self._api.aliases(alias)
        original = None if aliases is None else self._api.identifier(alias)
        if aliases is None or original is None:
            return None
        stored = self._hash_of(alias)
        return Picture(
            sha256=None if stored is None else stored.sha256,
            size=None if stored is None else stored.size,
            format="" if stored is None else stored.format,
            aliases=tuple(Alias(name=name) for name in aliases),
            original=original,
            created_at=None,
        )

    def _hash_of(self, alias: str) -> StoredHash | None:
        """None before 0.5.20, and if the original is missing in the storage: then only a list of pictures names it."""
        try:
            served = self._api.served(alias)
        except PictrsError as error:
            if type(error) is not PictrsError:
                raise
            return None
        return None if served is None else served.hash

    def _by_key(self, key: str, sha256: str | None) -> Resolution:
        drawn_at = keys.created_at(key)
        if drawn_at is None:
            return Unresolved(
                reason="its key is not of the form that pict-rs gives since 0.5.7, which holds the time of the upload"
            )
        if sha256 is None:
            return Unresolved(reason="its SHA-256 is not known")
        shown = self._shown.get(sha256)
        known = None if shown is None else self._confirmed(key, shown)
        if isinstance(known, Found):
            return known
        search = self._search(sha256, drawn_at)
        if search.found is not None:
            return self._confirmed(key, search.found)
        return Unresolved(reason=search.why_not)

    def _search(self, sha256: str, drawn_at: datetime) -> _Search:
        search = _Search(sha256, drawn_at - LATE_ROW)
        self._read(search, drawn_at + _SOON, pages=1)
        if search.found is not None:
            return search
        ends = _LATER
        if search.reached_end:
            ends = _LATER[-1:]  # the rest of a quiet server's list was shown already
            search.covered |= search.read
        else:
            search.first_older = self._first_older_than(drawn_at - _CLOCKS)
        search.read.clear()
        for ahead in ends:
            self._read(search, drawn_at + ahead, pages=_MOST_PAGES - search.pages)
            if search.found is not None or search.pages >= _MOST_PAGES:
                break
            search.covered |= search.read
        return search

    def _read(self, search: _Search, until: datetime, *, pages: int) -> None:
        """Go back from a moment to what an earlier look has covered, or to pictures that are older than the key."""
        for number, stretch in enumerate(walk(self._api, older_than=until, floor=search.floor), start=1):
            if len(self._shown) > _MOST_SHOWN:
                self._shown.clear()
            self._shown.update({entry.hash.sha256: entry for entry in stretch.entries})
            if search.ends_with(stretch) or number >= pages:
                break

    def _first_older_than(self, moment: datetime) -> str | None:
        older = self._api.hashes(limit=0, older_than=moment).next
        # With PostgreSQL, the newest one stands for "nothing is older".
        return None if older == self._api.hashes(limit=0).next else older

    def _confirmed(self, key: str, entry: HashEntry) -> Resolution:
        """Whether pict-rs keeps the picture under this key; aliases can have changed since it was shown."""
        if not entry.aliases:
            return Unresolved(reason="pict-rs has these bytes without any alias, and removes them itself")
        for name in entry.aliases:
            original = self._api.identifier(name)
            if original is None:
                continue
            if original != key:
                return Unresolved(reason=f"pict-rs keeps these bytes under another key, {original}")
            aliases = self._api.aliases(name) or (name,)
            return Found(
                picture=Picture(
                    sha256=entry.hash.sha256,
                    size=entry.hash.size,
                    format=entry.hash.format,
                    aliases=tuple(Alias(name=each) for each in aliases),
                    original=original,
                    created_at=entry.created_at,
                ),
                part=ORIGINAL,
            )
        return Unresolved(reason="the picture was removed meanwhile")


@dataclass(slots=True)
class _Search:
    """How far the search for one picture has come. Pictures examined before ``floor`` cannot be it."""

    sha256: str
    floor: datetime
    found: HashEntry | None = None
    #: Whether the list did not show all that it has.
    hidden: bool = False
    #: Whether the last part went down to the floor, or to the end of the list.
    reached_end: bool = False
    pages: int = 0
    #: The newest picture that is older than the key; None if that is not known.
    first_older: str | None = None
    #: Pictures below which all was read before.
    covered: set[StoredHash] = field(default_factory=set)
    read: set[StoredHash] = field(default_factory=set)

    def ends_with(self, stretch: Stretch) -> bool:
        """Take note of a part of the list; returns whether what follows cannot have the picture."""
        self.pages += 1
        self.hidden = self.hidden or stretch.hidden
        hashes = {entry.hash for entry in stretch.entries}
        self.read |= hashes
        self.found = next((entry for entry in stretch.entries if entry.hash.sha256 == self.sha256), None)
        self.reached_end = stretch.then is None or any(
            entry.created_at is not None and entry.created_at < self.floor for entry in stretch.entries
        )
        older = any(each.slug == self.first_older for each in hashes)
        return self.found is not None or self.reached_end or older or not hashes.isdisjoint(self.covered)

    @property
    def why_not(self) -> str:
        """Why it was not found."""
        if self.pages >= _MOST_PAGES:
            return f"pict-rs has more than {_MOST_PAGES * PAGE:,} pictures of that time"
        if self.hidden:
            return "pict-rs fails to list some pictures of that time, because the file of one is missing or broken"
        return (
            "no picture of that time has these bytes: it is another size of a picture, or its row is not written yet, "
            "or it was copied by migrate-store"
        )
