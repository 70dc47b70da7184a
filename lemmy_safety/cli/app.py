"""The command itself: ``lemmy-safety`` without a subcommand sweeps or watches; subcommands do the rest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lemmy_safety import __version__
from lemmy_safety.cli.checks.processor import too_old
from lemmy_safety.cli.commands.canary import canary
from lemmy_safety.cli.commands.completion import completion
from lemmy_safety.cli.commands.database import db
from lemmy_safety.cli.commands.delete_flagged import delete_flagged
from lemmy_safety.cli.commands.demo import demo
from lemmy_safety.cli.commands.doctor import doctor
from lemmy_safety.cli.commands.env_example import env_example_command
from lemmy_safety.cli.commands.estimate import estimate
from lemmy_safety.cli.commands.flagged import flagged
from lemmy_safety.cli.commands.picture import picture
from lemmy_safety.cli.commands.recheck import recheck
from lemmy_safety.cli.commands.repair import repair
from lemmy_safety.cli.commands.resume import resume
from lemmy_safety.cli.commands.review import review
from lemmy_safety.cli.commands.run import run
from lemmy_safety.cli.commands.serve import serve
from lemmy_safety.cli.commands.unreadable import unreadable
from lemmy_safety.cli.commands.worker import worker
from lemmy_safety.cli.input.asking import at_a_terminal
from lemmy_safety.cli.input.invocation import Invocation, current, settings_options, shown_default
from lemmy_safety.cli.output.failures import present, understood, warn
from lemmy_safety.cli.process.starting import START_UP
from lemmy_safety.cli.process.waiting import forget_fault, wait_to_be_stopped
from lemmy_safety.errors import LemmySafetyError
from lemmy_safety.settings import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Commands, besides the daemon, that run until they are stopped; a stop is their success.
_SERVICES = frozenset({"serve", "worker"})

_FLAGS = tuple(name for name, item in OPTIONS.items() if item.flag)


class Application(click.Group):
    """The command group, with our errors and exit codes instead of click's."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run and end the process; raises only ``SystemExit``."""
        del standalone_mode  # ignored, so that tests and the console script behave the same
        invocation = Invocation()
        try:
            if warning := too_old():
                warn(warning)
            code = super().main(args, prog_name, complete_var, standalone_mode=False, obj=invocation, **extra)
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the last line of defence: every failure is shown, none escapes
            reason = understood(error)
            code = present(reason, debug=invocation.debug, redaction=invocation.redaction)
            file = invocation.fault_file()
            # A person at a terminal has already seen the error.
            if file is not None and invocation.is_service and _is_lasting(reason) and not at_a_terminal():
                wait_to_be_stopped(file, fault=invocation.redaction.said_by(reason), code=code, warn=warn)
        sys.exit(code if isinstance(code, int) else 0)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """After the flags: every setting without a flag, by its name for the environment or ``.env``."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for item in OPTIONS.values():
            if item.flag:
                continue
            default = shown_default(item)
            text = f"{item.help}  [default: {default}]" if default else item.help
            sections.setdefault(item.section, []).append((item.env[0], text))
        formatter.write_paragraph()
        formatter.write_text("Settings without a flag; set them in the environment or in a file .env:")
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows, col_max=28)
        super().format_epilog(ctx, formatter)


@click.group(
    cls=Application,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="To look around without any settings: lemmy-safety demo",
)
@click.version_option(__version__, prog_name="lemmy-safety")
@settings_options(*_FLAGS)
@click.option("-y", "--yes", is_flag=True, help="With --all: do not ask before the first deletion.")
@click.option("--json", "as_json", is_flag=True, help="With --all: print the summary as JSON.")
@click.pass_context
def app(ctx: click.Context, *, yes: bool, as_json: bool) -> None:
    """Find possibly illegal pictures in a Lemmy instance's pict-rs storage and remove them, in memory only.

    Without a command: watch the storage and check what is newly uploaded, until stopped.
    With --all: check everything once, then exit.
    """
    invocation = current()
    # An earlier start that was killed while waiting may have left its file.
    if (file := invocation.fault_file()) is not None and ctx.invoked_subcommand in {None, *_SERVICES}:
        forget_fault(file)
    if ctx.invoked_subcommand is None:
        invocation.is_service = "all" not in invocation.flags
        ctx.exit(run(invocation, as_json=as_json, yes=yes))
    if ctx.invoked_subcommand in _SERVICES:
        invocation.is_service = True
        START_UP.ends_with(0)
    else:
        START_UP.interrupts()


def _is_lasting(error: BaseException) -> bool:
    """Whether a restart would only repeat it, until a person fixes a setting, a file or the command line."""
    return isinstance(error, click.UsageError) or (isinstance(error, LemmySafetyError) and error.lasting)


for command in (
    flagged,
    unreadable,
    picture,
    recheck,
    delete_flagged,
    repair,
    resume,
    review,
    serve,
    worker,
    doctor,
    estimate,
    env_example_command,
    canary,
    demo,
    db,
    completion,
):
    app.add_command(command)
