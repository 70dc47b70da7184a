"""``serve`` for a machine without models: the same hook, answered by workers. Opens no detector and no storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.web.access import check_key
from lemmy_safety.web.relay import RelayEngine
from lemmy_safety.web.relay_routes import relay_router
from lemmy_safety.web.server import serve

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from fastapi import APIRouter

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.web.access import Access
    from lemmy_safety.web.relay import RelayOptions
    from lemmy_safety.web.server import ServerOptions
    from lemmy_safety.web.uploads import UploadEngine


def serve_relay(
    *,
    ledger: Ledger,
    key: str,
    access: Access,
    options: ServerOptions,
    relay: RelayOptions,
    stop: threading.Event,
    listening: Callable[[str, int], None] | None = None,
) -> None:
    """Serve until ``stop`` is set. ``key`` is what workers show, ``access`` is for those who ask about uploads.

    :raises SettingsError: the key is missing or can be guessed, or as ``serve``.
    """
    check_key(key)

    def routers(engine: UploadEngine) -> Sequence[APIRouter]:
        if not isinstance(engine, RelayEngine):
            raise TypeError("a relay's routes need a relay's engine")
        return [relay_router(engine.judging, ledger, key=key)]

    serve(
        make_engine=lambda meters: RelayEngine(ledger=ledger, options=relay, meters=meters),
        make_routers=routers,
        ledger=ledger,
        access=access,
        options=options,
        stop=stop,
        listening=listening,
    )
