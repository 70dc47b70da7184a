"""How an error is shown to a person, and its exit code.

===== =========================================================================
code  meaning
===== =========================================================================
0     done; flagged objects were handled, or there were none
1     a bug of ours (any exception outside our own tree)
2     the command line itself is wrong (unknown option, missing argument)
3-70  an error of our tree, one code a class: see ``lemmy_safety.errors``; 70 also where memory or files ran out
130   interrupted before the end (Ctrl-C or SIGTERM); what was done is recorded
===== =========================================================================

``--exit-code-flagged N`` replaces 0 of ``--all`` when something was flagged.
"""

from __future__ import annotations

import io

import click

from lemmy_safety.cli.output.redaction import Redaction
from lemmy_safety.cli.output.text import lines_without_controls
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.errors import LemmySafetyError, OutputFailed, WorkerDied
from lemmy_safety.packages import explained
from lemmy_safety.shortages import shortage

BUG = 1


def understood(error: BaseException) -> BaseException:
    """The error itself; or, if a missing or damaged package caused an unexpected one, the error that says so."""
    unexpected = error.__cause__ if isinstance(error, WorkerDied) else error
    is_ours = isinstance(unexpected, LemmySafetyError | click.ClickException | click.Abort | click.exceptions.Exit)
    if not isinstance(unexpected, Exception) or is_ours or shortage(unexpected) is not None:
        return error
    return explained(unexpected) or error


def present(error: BaseException, *, debug: bool, redaction: Redaction) -> int:
    """Show one failure on stderr and return its exit code. With ``debug``, the traceback comes first."""
    if debug and not isinstance(error, click.exceptions.Exit | click.Abort | click.UsageError):
        click.echo(lines_without_controls(redaction.traceback(error)), err=True)
    short = shortage(error)
    if isinstance(error, LemmySafetyError):
        _line("error", redaction(error.message), "red")
        # The exhausted resource is the cause, whatever error it was turned into.
        if hint := f"{short[0]}. {short[1]}" if short else error.hint:
            _line("fix", redaction(hint), "green")
        return error.exit_code
    if short is not None:
        _line("error", f"{short[0]}.", "red")
        _line("fix", short[1], "green")
        return WorkerDied.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        said = io.StringIO()
        error.show(said)  # its message repeats the user's input
        click.echo(lines_without_controls(redaction(said.getvalue())), err=True, nl=False)
        return error.exit_code
    _line("error", f"{type(error).__name__}: this is a bug in lemmy-safety.", "red")
    if not debug:
        _line("fix", "Run the same command with --debug and report the traceback.", "green")
    return BUG


def code_after_output(code: str | int | None, failure: OSError | None) -> str | int | None:
    """The exit code of a process that lost some of its output: the work is done, but its output may be unseen.

    A code for another error is kept, and the loss is reported all the same.
    """
    if failure is None:
        return code
    lost = present(
        OutputFailed(f"Not everything could be written to the output: {failure.strerror or type(failure).__name__}."),
        debug=False,
        redaction=Redaction(),
    )
    return lost if code in (0, None) else code


def warn(text: str) -> None:
    """Print one line on stderr, and go on."""
    _line("warning", text, "yellow")


def _line(label: str, text: str, colour: str) -> None:
    # Several errors come as several lines of one message; the indentation shows that they belong together.
    body = lines_without_controls(text).replace("\n", "\n" + " " * (len(label) + 2))
    click.echo(f"{click.style(label + ':', fg=colour, bold=True)} {body}", err=True)
