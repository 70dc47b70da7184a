"""From an object to its picture with pict-rs's HTTP interface alone, which has no question for that.

A time-ordered key holds the millisecond of the upload. The picture's row was written within minutes after it, so the
list of pictures is read from there backwards until one has the object's SHA-256; the picture's own key confirms it.
Objects that this cannot find: variants and stills (their bytes are in no list), older keys, and everything after a
``migrate-store``, whose new keys hold the time of the migration. For the latter two ``by_walk.py`` reads the whole list.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from lemmy_safety.pictrs import keys
from lemmy_safety.pictrs.api.walking import LATE_ROW, walk
from lemmy_safety.pictrs.pictures.records import ORIGINAL, Alias, Found, Picture, Unresolved

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.pictrs.api.answers import HashEntry
    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.pictures.records import Resolution

#: Nearly every row is written this soon after its key was drawn.
_SOON: Final = timedelta(seconds=15)
#: No row is written later.
_LATE: Final = keys.LATE_ARRIVAL

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
        served = self._api.served(alias)
        stored = None if served is None else served.hash
        return Picture(
            sha256=None if stored is None else stored.sha256,
            size=None if stored is None else stored.size,
            format="" if stored is None else stored.format,
            aliases=tuple(Alias(name=name) for name in aliases),
            original=original,
            created_at=None,
        )

    def _by_key(self, key: str, sha256: str | None) -> Resolution:
        drawn_at = keys.created_at(key)
        if drawn_at is None:
            return Unresolved(
                reason="its key is of the form before pict-rs 0.5.7 and holds no time: only a walk over all pictures "
                "finds it"
            )
        if sha256 is None:
            return Unresolved(reason="its SHA-256 is not known")
        entry = self._shown.get(sha256)
        known = None if entry is None else self._confirmed(key, entry)
        if isinstance(known, Found):
            return known
        entry, hidden = self._search(sha256, drawn_at)
        if entry is not None:
            return self._confirmed(key, entry)
        if hidden:
            return Unresolved(
                reason="pict-rs fails to list some pictures of that time, because the file of one is missing or broken"
            )
        return Unresolved(
            reason="no picture of that time has these bytes: it is another size of a picture, or its row is not "
            "written yet, or it was copied by migrate-store"
        )

    def _search(self, sha256: str, drawn_at: datetime) -> tuple[HashEntry | None, bool]:
        hidden = False
        floor = drawn_at - LATE_ROW
        for until, most in ((drawn_at + _SOON, 1), (drawn_at + _LATE, _MOST_PAGES)):
            for number, stretch in enumerate(walk(self._api, older_than=until, floor=floor), start=1):
                hidden = hidden or stretch.hidden
                if len(self._shown) > _MOST_SHOWN:
                    self._shown.clear()
                self._shown.update({entry.hash.sha256: entry for entry in stretch.entries})
                if any(entry.hash.sha256 == sha256 for entry in stretch.entries):
                    return self._shown[sha256], hidden
                if number == most or _is_below(stretch.entries, floor):
                    break
        return None, hidden

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


def _is_below(entries: tuple[HashEntry, ...], floor: datetime) -> bool:
    return any(entry.created_at is not None and entry.created_at < floor for entry in entries)
