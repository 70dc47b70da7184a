"""Removes pictures through pict-rs: all aliases and all files of the same bytes. Knows no verdict and no limit.

pict-rs answers at once and removes the picture afterwards; when that fails it tries again five times, two minutes
apart (pict-rs 0.5.25 src/queue.rs, 0.6.0-rc.6). So a removal is sent, and checked until nothing of it is left. What
goes is on disk before the request.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from lemmy_safety.actions.base import ActionResult, Wait, later
from lemmy_safety.errors import ObjectGone
from lemmy_safety.ledger import PurgeAlias
from lemmy_safety.pictrs.pictures.records import ORIGINAL, Found
from lemmy_safety.records import ActionState, PurgeState

if TYPE_CHECKING:
    from lemmy_safety.actions.whole_pictures import FindsPictures
    from lemmy_safety.ledger import Ledger, Purge
    from lemmy_safety.pictrs.pictures.records import Picture
    from lemmy_safety.storage.base import Storage

#: An accepted request can be lost when pict-rs is killed (sled writes twice a second). After this long it is repeated.
_REPEAT_AFTER: Final = timedelta(minutes=1)

#: What pict-rs has not removed after this long, it has given up.
_GIVEN_UP_AFTER: Final = timedelta(minutes=15)

_MOST_TRIES: Final = 20

_NAMED: Final = 3


class Blocked(Protocol):
    """Why a picture may not go now; None if it may."""

    def __call__(self, purge: Purge, /) -> ActionResult | None: ...


def _never(_purge: Purge, /) -> ActionResult | None:
    return None


class AsksPictrs(Protocol):
    """The three requests that a removal needs; see ``pictrs/api/client.py``."""

    def aliases(self, alias: str) -> tuple[str, ...] | None: ...
    def identifier(self, alias: str) -> str | None: ...
    def purge(self, alias: str) -> tuple[str, ...] | None: ...


class Purger:
    """Removes pictures of one pict-rs, whose objects are in one storage."""

    def __init__(self, *, api: AsksPictrs, finder: FindsPictures, ledger: Ledger, max_aliases: int) -> None:
        """``max_aliases``: a picture with more aliases waits for a person."""
        self._api = api
        self._finder = finder
        self._ledger = ledger
        self._max_aliases = max_aliases

    def plan(self, storage: Storage, picture: Picture, key: str) -> Purge:
        """Write down what goes. ``key`` is the object that it began with."""
        others = [key, *(picture.variants or {}).values(), *([picture.motion] if picture.motion else [])]
        return self._ledger.purges.plan(
            storage.name,
            sha256=picture.sha256,
            original=picture.original,
            aliases=[PurgeAlias(alias.name, alias.origin_url) for alias in picture.aliases],
            keys=others,
        )

    def too_many(self, purge: Purge) -> ActionResult | None:
        """The answer for a picture that so many people may have uploaded that a person has to decide."""
        if len(purge.aliases) <= self._max_aliases:
            return None
        return later(
            Wait.PERSON,
            f"{len(purge.aliases):,} aliases would go ({_named(purge)}), and PICTRS_MAX_ALIASES is {self._max_aliases}",
        )

    def send(self, purge: Purge, *, confirmed: bool, blocked: Blocked = _never) -> ActionResult:
        """Ask pict-rs to remove the picture. Aliases that it got meanwhile are written down first.

        ``confirmed``: a person decided about this picture, so that any number of aliases may go. ``blocked`` is asked
        last: the look-ups before can take long, and a person may clear a part of the picture meanwhile.
        """
        names = self._names(purge)
        purge = self._ledger.purges.add_aliases(purge.id, names)
        if not confirmed and (waits := self.too_many(purge)) is not None:
            return waits
        if (why := blocked(purge)) is not None:
            return why
        if names:
            more = self._api.purge(names[0]) or ()
            self._ledger.purges.add_aliases(purge.id, more)
        self._ledger.purges.sent(purge.id)
        return later(Wait.REMOVAL, f"pict-rs is removing it: {_aliases(purge)}")

    def look(self, storage: Storage, purge: Purge, *, blocked: Blocked = _never) -> ActionResult:
        """Whether what was sent has happened. Repeats the request, and deletes what pict-rs leaves behind, in time.

        ``blocked`` is asked right before each of these.
        """
        now = self._ledger.database.now()
        age = now - (purge.sent_at or now)
        if self._names(purge):
            return (
                self._repeat(purge, blocked)
                if age >= _REPEAT_AFTER
                else later(Wait.REMOVAL, "pict-rs is still removing it")
            )
        stored = [key for key in purge.keys if is_stored(storage, key)]
        if purge.original in stored and age >= _REPEAT_AFTER and (joined := self._joined(purge)):
            return self._repeat(self._ledger.purges.add_aliases(purge.id, joined), blocked)
        if stored and age < _GIVEN_UP_AFTER:
            return later(Wait.REMOVAL, f"pict-rs is still removing {_files(len(stored))}")
        for key in stored:
            if (why := blocked(purge)) is not None:
                return why
            storage.delete(key)
        storage.ensure_mounted(purge.original)
        self._ledger.purges.end(purge.id, PurgeState.GONE)
        left = f"; deleted {_files(len(stored))} that pict-rs left behind" if stored else ""
        return ActionResult(
            state=ActionState.DONE,
            detail=f"purged from pict-rs: {_aliases(purge)}{left}",
            aliases=len(purge.aliases),
            came_back=self._ledger.purges.earlier(purge) > 0,
            origins=_origins(purge),
        )

    def is_gone(self, purge: Purge) -> bool:
        """Whether pict-rs has no alias of a planned removal any more."""
        return not self._names(purge)

    def _repeat(self, purge: Purge, blocked: Blocked) -> ActionResult:
        if purge.tries < _MOST_TRIES:
            return self.send(purge, confirmed=True, blocked=blocked)
        self._ledger.purges.end(purge.id, PurgeState.FAILED)
        detail = f"pict-rs accepted its removal {purge.tries} times, and still has {_aliases(purge)}: see its log"
        return ActionResult(state=ActionState.FAILED, detail=detail)

    def _joined(self, purge: Purge) -> tuple[str, ...]:
        """Aliases of a picture whose known ones are gone: uploaded while pict-rs removed those, they keep it.

        pict-rs removes the aliases that it finds when it begins, and then the files if there is no other by now.
        """
        found = self._finder.by_keys({purge.original: purge.sha256})[purge.original]
        if not isinstance(found, Found) or found.part != ORIGINAL:
            return ()
        return tuple(alias.name for alias in found.picture.aliases)

    def _names(self, purge: Purge) -> tuple[str, ...]:
        """All aliases that the picture has now. A name that stands for other bytes by now is none of them."""
        for alias in purge.aliases:
            if self._api.identifier(alias.name) == purge.original:
                return self._api.aliases(alias.name) or (alias.name,)
        return ()


def is_stored(storage: Storage, key: str) -> bool:
    """Whether the storage has an object under this key."""
    try:
        storage.stat(key)
    except ObjectGone:
        return False
    return True


def _aliases(purge: Purge) -> str:
    number = len(purge.aliases)
    return f"{'1 alias' if number == 1 else f'{number:,} aliases'} ({_named(purge)})"


def _named(purge: Purge) -> str:
    shown = ", ".join(alias.name for alias in purge.aliases[:_NAMED])
    return shown + (", ..." if len(purge.aliases) > _NAMED else "")


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def _origins(purge: Purge) -> tuple[str, ...]:
    return tuple(sorted({_host(url) for _, url in purge.aliases if url is not None}))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
