"""The services: the upload hook, the relay that can replace it, and a worker for either kind of server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.wiring.decoding import decode_workers, max_bytes, memory_bytes
from lemmy_safety.wiring.ledger import open_upload_ledger
from lemmy_safety.wiring.scanning import open_inspector

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from lemmy_safety.access.rules import Access
    from lemmy_safety.settings import Settings
    from lemmy_safety.web.server import ServerOptions

#: Seconds for the body of an upload to arrive; pict-rs reads it from its own store.
_BODY_TIMEOUT_S = 20.0


def build_access(settings: Settings) -> Access:
    """Who may call the hook or the relay.

    :raises SettingsError: the first error in its settings.
    """
    from lemmy_safety.access.rules import Access as Rules

    return Rules(
        secrets=[settings.hook_secret] if settings.hook_secret else [],
        networks=settings.hook_networks,
        trusted_proxies=settings.hook_trusted_proxies,
    )


def serve_hook(settings: Settings, *, stop: threading.Event) -> None:
    """Answer pict-rs, and judge its uploads here, until ``stop`` is set.

    :raises LemmySafetyError: the service cannot start with everything that was requested, or cannot go on.
    """
    from lemmy_safety.uploads.decider import ValidationOptions, Validator
    from lemmy_safety.web.server import serve

    options = ValidationOptions(
        accept_unchecked=settings.hook_on_failure == "accept",
        queue=settings.hook_queue,
        decode_workers=decode_workers(settings),
        dry_run=settings.dry_run,
    )
    with open_upload_ledger(settings) as ledger, open_inspector(settings) as inspector:
        serve(
            make_engine=lambda meters: Validator(inspector=inspector, ledger=ledger, options=options, meters=meters),
            ledger=ledger,
            access=build_access(settings),
            options=_server_options(settings),
            stop=stop,
        )


def serve_relay(settings: Settings, *, stop: threading.Event) -> None:
    """Answer pict-rs, and let workers elsewhere judge its uploads, until ``stop`` is set.

    :raises LemmySafetyError: as ``serve_hook``.
    """
    from lemmy_safety.relay.server.engine import RelayOptions
    from lemmy_safety.relay.server.service import Relay
    from lemmy_safety.web.server import serve

    options = RelayOptions(
        accept_unchecked=settings.hook_on_failure == "accept",
        queue=settings.hook_queue,
        budget_s=settings.hook_budget_s,
        dry_run=settings.dry_run,
    )
    with open_upload_ledger(settings) as ledger:
        relay = Relay(ledger=ledger, key=settings.relay_apikey or "", options=options)
        serve(
            make_engine=relay.engine,
            make_routers=relay.routes,
            ledger=ledger,
            access=build_access(settings),
            options=_server_options(settings),
            stop=stop,
        )


def work_for_server(settings: Settings, *, stop: threading.Event, working: Callable[[str], None]) -> None:
    """Judge what a relay or a pictrs-safety server hands out, until ``stop`` is set.

    ``working`` is called with the server's address when the models are loaded.

    :raises LemmySafetyError: as ``serve_hook``.
    """
    from lemmy_safety.relay.worker.service import WorkerOptions, work
    from lemmy_safety.uploads.metrics import Meters

    options = WorkerOptions(
        url=settings.pictrs_safety_url or "",
        key=settings.pictrs_safety_apikey or "",
        max_bytes=max_bytes(settings),
        memory_bytes=memory_bytes(settings),
        decode_workers=decode_workers(settings),
        accept_unchecked=settings.hook_on_failure == "accept",
        dry_run=settings.dry_run,
    )
    with open_upload_ledger(settings) as ledger, open_inspector(settings) as inspector:
        work(inspector=inspector, ledger=ledger, options=options, meters=Meters(), stop=stop, working=working)


def _server_options(settings: Settings) -> ServerOptions:
    from lemmy_safety.uploads.bodies import BodyLimits
    from lemmy_safety.web.server import ServerOptions as Options

    return Options(
        host=settings.hook_host,
        port=settings.hook_port,
        budget_s=settings.hook_budget_s,
        max_uploads=settings.hook_max_uploads,
        body=BodyLimits(
            max_bytes=max_bytes(settings),
            memory_bytes=memory_bytes(settings),
            timeout_s=_BODY_TIMEOUT_S,
        ),
    )
