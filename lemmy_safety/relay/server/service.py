"""``serve`` for a machine without models: the same hook, answered by workers. Opens no detector and no storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.access.secrets import check_key
from lemmy_safety.relay.server.engine import RelayEngine
from lemmy_safety.relay.server.routes import relay_router

if TYPE_CHECKING:
    from fastapi import APIRouter

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.relay.server.engine import RelayOptions
    from lemmy_safety.relay.server.routes import HungUp
    from lemmy_safety.uploads.metrics import Meters


class Relay:
    """What makes the hook's service a relay: its engine, and the routes of workers."""

    def __init__(self, *, ledger: Ledger, key: str, options: RelayOptions) -> None:
        """``key`` is the secret that workers send.

        :raises SettingsError: the key is missing or can be guessed.
        """
        check_key(key)
        self._ledger = ledger
        self._key = key
        self._options = options

    def engine(self, meters: Meters) -> RelayEngine:
        """Created inside a running event loop."""
        return RelayEngine(ledger=self._ledger, options=self._options, meters=meters)

    def routes(self, engine: RelayEngine, hung_up: HungUp) -> list[APIRouter]:
        """The routes for workers, which judge for ``engine``."""
        return [relay_router(engine.judging, self._ledger, key=self._key, hung_up=hung_up)]
