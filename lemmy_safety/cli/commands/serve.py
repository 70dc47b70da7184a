"""``lemmy-safety serve``: the service that pict-rs asks about uploads, or the relay that replaces it."""

from __future__ import annotations

import click

from lemmy_safety.cli.checks.extras import require_web
from lemmy_safety.cli.checks.services import HOOK_CHECKS, RELAY_CHECKS, refuse_faults
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.process.stopping import StopSignals


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

    with StopSignals(exit_code=0) as signals:
        (wiring.serve_relay if relay else wiring.serve_hook)(settings, stop=signals.event)
