"""Finds the pictures of pict-rs whose original is not in the storage any more. Changes neither.

Without PICTRS_URL, files are deleted and pict-rs is not told: its links then answer 500,
and so does every later upload of the same bytes. A missing size needs nothing: pict-rs makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from lemmy_safety.actions.purging import is_stored
from lemmy_safety.errors import ActionRefused
from lemmy_safety.pictrs.pictures.by_walk import find_all
from lemmy_safety.pictrs.pictures.records import ORIGINAL, Alias, Found, Picture
from lemmy_safety.records import PurgeState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from lemmy_safety.actions.purging import Purger
    from lemmy_safety.ledger import Ledger, Purge
    from lemmy_safety.pictrs.api.client import PictrsApi
    from lemmy_safety.pictrs.pictures.originals import Originals
    from lemmy_safety.pictrs.pictures.records import Resolution
    from lemmy_safety.storage.base import Storage

#: So many originals have to be in the storage before the missing ones count as deleted.
LEAST_PRESENT: Final = 20

#: A larger share of missing originals is a storage that is not complete.
MOST_MISSING_PERCENT: Final = 1

_WALK = "repair: list of pict-rs read down to"
#: What the mark says when the list was read to its end.
_FROM_THE_NEWEST = datetime(1970, 1, 1, tzinfo=UTC)

_FIX = (
    "Check that the storage of these settings is the one that pict-rs uses, and that it is mounted and whole: a restore "
    "may not be finished. If the files are really lost, each picture can be purged by hand: docs/operations.md, section "
    '"After a deletion".'
)


class FindsBoth(Protocol):
    """See ``pictrs/pictures/by_api.py`` and ``by_database.py``."""

    def by_keys(self, wanted: Mapping[str, str | None]) -> dict[str, Resolution]: ...
    def by_alias(self, alias: str) -> Picture | None: ...


class ChecksBelonging(Protocol):
    """See ``pictrs/pictures/belonging.py``."""

    def __call__(self, is_stored: Callable[[str], bool], *, known_gone: Container[str]) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A picture whose original is missing. ``key``: the deleted object that led to it. ``begun``: its open repair."""

    picture: Picture
    key: str
    begun: Purge | None = None


@dataclass(slots=True, kw_only=True)
class Survey:
    """What was found. ``unresolved``: deleted keys, each with the reason why its picture is not known.

    ``forgotten``: how many deleted keys pict-rs's database does not know; ``sizes``: how many were other sizes;
    ``present``: how many are in the storage again. ``by_hand``: how many missing originals this program did not delete.
    """

    broken: list[Broken] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)
    forgotten: int = 0
    sizes: int = 0
    present: int = 0
    by_hand: int = 0
    hidden: bool = False

    @property
    def aliases(self) -> int:
        """How many names would go."""
        return sum(len(one.picture.aliases) for one in self.broken)

    def add(self, one: Broken) -> None:
        """Several objects can lead to one picture."""
        if all(one.picture.original != other.picture.original for other in self.broken):
            self.broken.append(one)


class MissingOriginals:
    """In one storage, of one pict-rs."""

    def __init__(
        self,
        *,
        storage: Storage,
        ledger: Ledger,
        api: PictrsApi,
        finder: FindsBoth,
        all_originals: Callable[[], Originals],
        check_belonging: ChecksBelonging,
        purger: Purger,
        knows_all_keys: bool,
    ) -> None:
        """``knows_all_keys``: what the finder does not know, pict-rs does not have."""
        self._storage = storage
        self._ledger = ledger
        self._api = api
        self._finder = finder
        self._all_originals = all_originals
        self._check_belonging = check_belonging
        self._purger = purger
        self._knows_all_keys = knows_all_keys

    def of_deleted(self, *, whole_list: bool = False, tell: Callable[[str], None] = lambda _: None) -> Survey:
        """The pictures of what the ledger says was deleted as a file, and repairs that were begun before.

        ``whole_list`` looks in pict-rs's whole list for the rest: what is found is planned at once, so that a walk that
        is interrupted goes on where it was. ``tell`` gets a line before it begins.

        :raises PictrsElsewhere: pict-rs's pictures are not in this storage.
        :raises StorageUnreachable: the storage is not mounted.
        :raises PictrsTooOld: pict-rs 0.4 does not tell.
        :raises PictrsError: pict-rs cannot be asked.
        """
        deleted = self._ledger.purges.deleted_files(self._storage.name)
        self._check_belonging(self._has, known_gone=deleted)
        survey = Survey()
        self._add_begun(survey)
        begun = {key for one in survey.broken if one.begun for key in one.begun.keys}
        absent = {key: sha256 for key, sha256 in deleted.items() if key not in begun and not self._has(key)}
        survey.present = sum(key not in begun and key not in absent for key in deleted)
        if absent:
            self._storage.ensure_mounted(next(iter(absent)))
        unknown: dict[str, str] = {}
        for key, found in self._finder.by_keys(absent).items():
            if isinstance(found, Found):
                if found.part == ORIGINAL:
                    survey.add(Broken(picture=found.picture, key=key))
                else:
                    survey.sizes += 1
            elif not self._was_planned(survey, key):
                unknown[key] = found.reason
        if whole_list:
            self._walk(survey, unknown, absent, tell)
        if self._knows_all_keys:
            survey.forgotten = len(unknown)
        else:
            survey.unresolved = unknown
        return survey

    def of_all(self) -> Survey:
        """All pictures of pict-rs without an original in the storage, also if others deleted it.

        :raises ActionRefused: so much is missing that this may be another storage, or half of one.
        """
        deleted = self._ledger.purges.deleted_files(self._storage.name)
        self._check_belonging(self._has, known_gone=deleted)
        survey = Survey()
        self._add_begun(survey)
        listed = self._all_originals()  # before the storage: what is uploaded meanwhile is in both
        survey.hidden = listed.hidden
        missing = set(listed.by_key)
        for obj in self._storage.list():
            missing.discard(obj.key)
        self._refuse_much(len(listed.by_key), missing, deleted)
        for key in sorted(missing):
            if self._has(key):
                continue
            alias, sha256 = listed.by_key[key]
            picture = self._finder.by_alias(alias)
            if picture is None or picture.original != key:
                continue  # removed, or uploaded again, meanwhile
            survey.add(Broken(picture=replace(picture, sha256=sha256), key=key))
            survey.by_hand += key not in deleted
        if missing:
            self._storage.ensure_mounted(next(iter(missing)))
        return survey

    def _refuse_much(self, listed: int, missing: Collection[str], deleted: Container[str]) -> None:
        present = listed - len(missing)
        if present < LEAST_PRESENT:
            raise ActionRefused(
                f"Only {present:,} of the {listed:,} originals that pict-rs names are in this storage, and at least "
                f"{LEAST_PRESENT} must be; nothing was purged.",
                hint=_FIX,
            )
        unexplained = sum(key not in deleted for key in missing)
        if unexplained * 100 > listed * MOST_MISSING_PERCENT:
            raise ActionRefused(
                f"{unexplained:,} of the {listed:,} originals that pict-rs names are missing in this storage, and "
                f"lemmy-safety did not delete them: more than {MOST_MISSING_PERCENT} %; nothing was purged.",
                hint=_FIX,
            )

    def _add_begun(self, survey: Survey) -> None:
        for purge in self._ledger.purges.repairs(self._storage.name):
            survey.add(_broken_of(purge, purge.original, begun=True))

    def _was_planned(self, survey: Survey, key: str) -> bool:
        """Whether an earlier look found the picture of a key that the finder does not know."""
        purge = self._ledger.purges.open_for(self._storage.name, key)
        if purge is None or purge.state is not PurgeState.PLANNED or self._has(purge.original):
            return False
        survey.add(_broken_of(purge, key))
        return True

    def _walk(
        self,
        survey: Survey,
        unknown: dict[str, str],
        sha256s: Mapping[str, str | None],
        tell: Callable[[str], None],
    ) -> None:
        """Look for the bytes of the unknown keys in pict-rs's whole list; takes out of ``unknown`` what is found."""
        keys = {sha256: key for key in unknown if (sha256 := sha256s[key]) is not None}
        if not keys:
            return
        passes = self._ledger.passes
        begin = passes.cursor(self._storage.name, _WALK)
        begin = None if begin == _FROM_THE_NEWEST else begin
        tell(
            "Reading pict-rs's whole list. A pict-rs from 0.5.17 on may compute missing blurhashes for it, which can load "
            f"the server for hours. {'It goes on where the last run stopped.' if begin else 'It can be interrupted.'}"
        )
        for step in find_all(self._api, keys, older_than=begin):
            survey.hidden = survey.hidden or step.hidden
            for sha256, alias in step.found.items():
                picture = self._finder.by_alias(alias)
                if picture is None:
                    continue
                if self._has(picture.original):
                    survey.present += 1
                else:
                    picture = replace(picture, sha256=sha256)
                    self._purger.plan(self._storage, picture, keys[sha256])
                    survey.add(Broken(picture=picture, key=keys[sha256]))
                unknown.pop(keys[sha256], None)
            if step.resume_at is not None:
                passes.set_cursor(self._storage.name, _WALK, step.resume_at)
        passes.set_cursor(self._storage.name, _WALK, _FROM_THE_NEWEST)

    def _has(self, key: str) -> bool:
        return is_stored(self._storage, key)


def _broken_of(purge: Purge, key: str, *, begun: bool = False) -> Broken:
    picture = Picture(
        sha256=purge.sha256,
        size=None,
        format="",
        aliases=tuple(Alias(name=alias.name, origin_url=alias.origin_url) for alias in purge.aliases),
        original=purge.original,
        created_at=None,
    )
    return Broken(picture=picture, key=key, begun=purge if begun else None)
