"""``lemmy-safety worker``: judges the uploads of a relay or a pictrs-safety server."""

from __future__ import annotations

import dataclasses
import logging

import click

from lemmy_safety.cli.checks.extras import require_web
from lemmy_safety.cli.checks.services import WORKER_CHECKS, refuse_faults
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.process.stopping import StopSignals

log = logging.getLogger(__name__)


@click.command(short_help="Judge the uploads of a server elsewhere.")
@settings_options("dry_run", "detectors", "device", "exact")
@click.option("--url", help="The relay or pictrs-safety server.  [env: PICTRS_SAFETY_URL]")
def worker(url: str | None) -> None:
    """Ask a relay (lemmy-safety serve --relay), or a pictrs-safety server, for uploads and judge them here.

    For a machine with a graphics card that cannot be reached from outside. The server's key is PICTRS_SAFETY_APIKEY.
    Runs until it is stopped.
    """
    invocation = current()
    settings = invocation.settings()
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=False)
    forbid_core_dumps()
    require_web("A worker")
    if url:
        settings = dataclasses.replace(settings, pictrs_safety_url=url)
    refuse_faults(
        WORKER_CHECKS,
        settings,
        lambda name: "--url" if url and name == "pictrs_safety_url" else invocation.written(name),
    )
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    with StopSignals(exit_code=0) as signals:
        wiring.work_for_server(
            settings,
            stop=signals.event,
            working=lambda server: log.info("working for %s with %s", server, ", ".join(settings.detectors)),
        )
