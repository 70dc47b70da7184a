"""``lemmy-safety doctor``: all errors at once, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.input.database import has_no_database
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.logs import set_up_logging
from lemmy_safety.cli.output.next_steps import CHECK_AGAIN, DRY_RUN, ESTIMATE, FIX, SEE, show_next
from lemmy_safety.cli.output.text import plural, printable, without_controls, write_json
from lemmy_safety.settings import env_file_in_use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.cli.checks.check import Check
    from lemmy_safety.cli.input.invocation import Invocation


@click.command(short_help="Find every fault of the set-up, with its fix.")
@settings_options("detectors", "device", "prefix", "threads")
@click.option("--quick", is_flag=True, help="Do not load the detectors' models; only see whether they could be built.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def doctor(ctx: click.Context, *, quick: bool, as_json: bool) -> None:
    """Check settings, storage, database, packages and models; print every fault with its fix.

    The storage is tried for real: list, read one object, and write and delete a probe object of our own. Models are
    loaded, and fetched if they are not there yet. Ends with 0 only if all is well, else with the first fault's code.
    """
    from lemmy_safety.cli.checks.all import check_all  # noqa: PLC0415 - only this command needs it

    invocation = current()
    set_up_logging(debug=invocation.debug, redaction=invocation.redaction, quiet=True)
    checks = []
    area = ""
    for check in _redacted(
        invocation,
        check_all(invocation.settings_in_part(), env_file=env_file_in_use(invocation.env_file), load=not quick),
    ):
        checks.append(check)
        if not as_json:
            if check.area != area:
                area = check.area
                click.echo(click.style(area, bold=True))
            _show(check)
    faults = [check for check in checks if check.ok is False]
    if as_json:
        write_json({"ok": not faults, "checks": [check.as_dict() for check in checks]})
    else:
        click.echo()
        remarks = sum(check.ok is None and bool(check.fix) for check in checks)
        well = f"All is well; {plural(remarks, 'remark')} with a fix." if remarks else "All is well."
        click.echo(f"{plural(len(faults), 'fault')} found." if faults else well)
        if faults:
            show_next([FIX, CHECK_AGAIN])
        elif has_no_database(invocation.settings()):
            show_next([ESTIMATE, DRY_RUN, SEE])
    ctx.exit(faults[0].exit_code if faults else 0)


def _redacted(invocation: Invocation, checks: Iterator[Check]) -> Iterator[Check]:
    import dataclasses  # noqa: PLC0415

    for check in checks:
        hide = invocation.redaction
        yield dataclasses.replace(check, detail=hide(check.detail), fix=hide(check.fix))


def _show(check: Check) -> None:
    mark, colour = {True: ("ok", "green"), False: ("FAULT", "red"), None: ("-", "yellow")}[check.ok]
    detail = ("\n" + " " * 8).join(printable(line) for line in check.detail.splitlines())
    click.echo(f"  {click.style(mark.ljust(5), fg=colour)} {check.name}: {detail}")
    if check.fix:
        click.echo(f"        {click.style('fix:', fg='green')} {without_controls(check.fix)}")
