"""``serve`` for a machine without models: the same hook, answered by workers. Opens no detector and no storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.web.access import check_key
from lemmy_safety.web.relay import RelayEngine
from lemmy_safety.web.relay_routes import relay_router

if TYPE_CHECKING:
    from fastapi import APIRouter

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.web.meters import Meters
    from lemmy_safety.web.relay import RelayOptions
    from lemmy_safety.web.relay_routes import HungUp


class Relay:
    """What makes the hook's service a relay: its engine, and the routes of workers."""

    def __init__(self, *, ledger: Ledger, key: str, options: RelayOptions) -> None:
        """``key`` is what workers show.

        :raises SettingsError: the key is missing or can be guessed.
        """
        check_key(key)
        self._ledger = ledger
        self._key = key
        self._options = options

    def engine(self, meters: Meters) -> RelayEngine:
        """Made inside a running event loop."""
        return RelayEngine(ledger=self._ledger, options=self._options, meters=meters)

    def routes(self, engine: RelayEngine, hung_up: HungUp) -> list[APIRouter]:
        """The routes of workers, who judge for ``engine``."""
        return [relay_router(engine.judging, self._ledger, key=self._key, hung_up=hung_up)]
