"""``serve`` for a machine without models: the same hook, answered by workers. Opens no detector and no storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.errors import SettingsError
from lemmy_safety.web.access import is_loopback
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

#: As for the hook's own secret: whoever has this key gets every upload and says what is let in.
_SHORTEST_KEY = 16

_KEY_HINT = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"


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

    :raises SettingsError: the key is missing or too short for where the relay listens, or as ``serve``.
    """
    check_key(key, options.host)

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


def check_key(key: str, host: str) -> None:
    """:raises SettingsError: there is none, or one that can be guessed where anybody can try."""
    if not key:
        raise SettingsError("A relay needs a key for its workers.", hint=f"Set RELAY_APIKEY. {_KEY_HINT}")
    if len(key) < _SHORTEST_KEY and not is_loopback(host):
        raise SettingsError(
            f"The relay's key is shorter than {_SHORTEST_KEY} characters, which is too short for {host}.",
            hint=f"Set a longer RELAY_APIKEY, here and at the workers. {_KEY_HINT}",
        )
