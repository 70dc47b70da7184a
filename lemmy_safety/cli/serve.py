"""``lemmy-safety serve``: the service that pict-rs asks about uploads, or the relay in its place."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.extras import require_web
from lemmy_safety.cli.invocation import current, settings_options
from lemmy_safety.cli.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.service_checks import HOOK_CHECKS, RELAY_CHECKS, access, refuse_faults
from lemmy_safety.cli.stopping import StopSignals

if TYPE_CHECKING:
    import threading

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.settings import Settings
    from lemmy_safety.web.server import ServerOptions

log = logging.getLogger(__name__)

#: Seconds within which the body of an upload must have come; pict-rs reads it from its own store.
_BODY_TIMEOUT_S = 20.0


@click.command(short_help="Tell pict-rs which uploads to refuse.")
@settings_options("dry_run", "detectors", "device", "exact")
@click.option(
    "--relay", is_flag=True, help="Judge nothing here: hand uploads to workers elsewhere (lemmy-safety worker)."
)
def serve(*, relay: bool) -> None:
    """Answer pict-rs, which asks about each medium that it takes in, before it keeps it.

    Listens on 127.0.0.1 port 14051 unless HOOK_HOST and HOOK_PORT say otherwise, until it is stopped. With --relay no
    model is needed: uploads wait in memory for a worker on another machine.
    """
    invocation = current()
    settings = invocation.settings()
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=False)
    forbid_core_dumps()
    require_web("The upload hook")
    refuse_faults(RELAY_CHECKS if relay else HOOK_CHECKS, settings, invocation.written)
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    with StopSignals(exit_code=0) as signals, wiring.open_upload_ledger(settings) as ledger:
        (_serve_relay if relay else _serve_hook)(settings, ledger, signals.event)


def _serve_hook(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.uploads.decider import ValidationOptions, Validator  # noqa: PLC0415
    from lemmy_safety.web.server import serve as run  # noqa: PLC0415 - idem

    options = ValidationOptions(
        accept_unchecked=settings.hook_on_failure == "accept",
        queue=settings.hook_queue,
        decode_workers=wiring.decode_workers(settings),
        dry_run=settings.dry_run,
    )
    with wiring.open_inspector(settings) as inspector:
        run(
            make_engine=lambda meters: Validator(inspector=inspector, ledger=ledger, options=options, meters=meters),
            ledger=ledger,
            access=access(settings),
            options=_server_options(settings),
            stop=stop,
        )


def _serve_relay(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    from lemmy_safety.relay.server.engine import RelayOptions  # noqa: PLC0415 - heavy
    from lemmy_safety.relay.server.service import Relay  # noqa: PLC0415
    from lemmy_safety.web.server import serve as run  # noqa: PLC0415

    relay = Relay(
        ledger=ledger,
        key=settings.relay_apikey or "",
        options=RelayOptions(
            accept_unchecked=settings.hook_on_failure == "accept",
            queue=settings.hook_queue,
            budget_s=settings.hook_budget_s,
            dry_run=settings.dry_run,
        ),
    )
    run(
        make_engine=relay.engine,
        make_routers=relay.routes,
        ledger=ledger,
        access=access(settings),
        options=_server_options(settings),
        stop=stop,
    )


def _server_options(settings: Settings) -> ServerOptions:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy
    from lemmy_safety.uploads.bodies import BodyLimits  # noqa: PLC0415
    from lemmy_safety.web.server import ServerOptions as Options  # noqa: PLC0415

    return Options(
        host=settings.hook_host,
        port=settings.hook_port,
        budget_s=settings.hook_budget_s,
        max_uploads=settings.hook_max_uploads,
        body=BodyLimits(
            max_bytes=wiring.max_bytes(settings),
            memory_bytes=wiring.memory_bytes(settings),
            timeout_s=_BODY_TIMEOUT_S,
        ),
    )
