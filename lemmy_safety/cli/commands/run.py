"""``lemmy-safety`` itself: one pass over everything (``--all``), or the daemon."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.commands.resume import approve, held_rows
from lemmy_safety.cli.input.asking import asker, at_a_terminal, confirmed
from lemmy_safety.cli.output.failures import warn
from lemmy_safety.cli.output.flag_reasons import show_counts
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.output.next_steps import after_pass, show_next
from lemmy_safety.cli.output.progress import progress
from lemmy_safety.cli.output.summary import show_summary
from lemmy_safety.cli.output.text import plural, write_json
from lemmy_safety.cli.process.starting import INTERRUPTED, START_UP
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import (
    ActionRefused,
    BreakerTripped,
    LedgerError,
    LemmySafetyError,
    ObjectsUnchecked,
    PassRunning,
)
from lemmy_safety.settings import choose_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lemmy_safety.cli.input.invocation import Invocation
    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.policy import Policy
    from lemmy_safety.scan import Scanner
    from lemmy_safety.scan.progress import PassSummary
    from lemmy_safety.settings import Settings


log = logging.getLogger(__name__)


def run(invocation: Invocation, *, as_json: bool, yes: bool = False) -> int:
    """Sweep or watch, as the settings say; returns the exit code.

    The daemon ends with 0 when it is asked to stop. A sweep ends with 130 if it was stopped before its end, with 62 if
    the circuit breaker prevented an action, with 60 if it could not carry out an action, and with 25 if it could not
    read or judge everything. ``yes``: do not ask a person before the first deletion with a database.
    """
    settings = invocation.settings()
    if as_json and not settings.all:
        raise click.UsageError("--json goes with --all; the daemon logs instead.")
    invocation.is_service = not settings.all
    START_UP.ends_with(INTERRUPTED if settings.all else 0)
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=None if settings.all else False)
    forbid_core_dumps()
    choose_storage(settings)  # before the heavy imports, so that a missing setting is reported at once
    if not settings.all:
        _watch(settings)
        return 0
    from lemmy_safety import wiring  # noqa: F401, PLC0415 - heavy: until it is here, a signal ends the process at once

    def show(summary: PassSummary, error: LemmySafetyError | None = None) -> None:
        if as_json:
            write_json(summary.as_dict())
            return
        show_summary(summary)
        _show_consequences(summary, settings)
        if not isinstance(error, LedgerError):  # without the database, no command can show what was found
            show_next(after_pass(summary, action=settings.action))

    with StopSignals() as signals:
        ask = None if yes or as_json or settings.dry_run or not at_a_terminal() else confirm_first_deletions
        try:
            summary = sweep(settings, signals, show_broken=show, ask=ask)
        except PassRunning:
            if signals.event.is_set():  # it was asked to stop while it waited for a pass of the daemon
                return INTERRUPTED
            raise
    show(summary)
    return _exit_code(summary, settings)


def _exit_code(summary: PassSummary, settings: Settings) -> int:
    """The first that applies, the most urgent first."""
    applies = (
        (summary.stopped, INTERRUPTED),
        (summary.held, BreakerTripped.exit_code),
        (summary.not_carried_out, ActionRefused.exit_code),
        (summary.failed, ObjectsUnchecked.exit_code),
        (summary.flagged, settings.exit_code_flagged),
    )
    return next((code for so, code in applies if so), 0)


def sweep(
    settings: Settings,
    signals: StopSignals,
    *,
    show_broken: Callable[[PassSummary, LemmySafetyError], None] = lambda *_: None,
    ask: Callable[[Sequence[FlaggedRow], Policy], bool] | None = None,
) -> PassSummary:
    """One pass over everything in the storage.

    ``show_broken`` receives what a pass had done before an error ended it, and the error: its deletions remain. With
    ``ask``, the first pass that would delete anything with this database judges everything before it deletes; then ``ask`` receives
    what would be deleted. After a no, nothing is deleted until a person resumes.

    :raises LemmySafetyError: the error that ended the pass; what was checked before is recorded.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage and detector libraries
    from lemmy_safety.actions import Limit  # noqa: PLC0415
    from lemmy_safety.ledger import SWEEP  # noqa: PLC0415
    from lemmy_safety.scan import InPause, PassRequest  # noqa: PLC0415

    scanner: Scanner | None = None
    try:
        with (
            ExitStack() as shown,
            wiring.open_scanner(
                settings, stop=signals.event, listener=shown.enter_context(progress()), ask_passphrase=asker()
            ) as scanner,
        ):
            log.info("sweep of %s begins with %s", scanner.storage.name, ", ".join(scanner.engine.detector_names))
            hold = ask is not None and scanner.ledger.breaker.is_untouched()
            summary = scanner.run(PassRequest(kind=SWEEP, hold=hold, in_pause=InPause.WAIT))
            if ask is None or not hold or not summary.held or summary.stopped:
                return summary
            shown.close()  # a visible bar would occupy the question's line
            rows = held_rows(scanner.ledger, scanner.storage.name)
            if not ask(rows, wiring.build_policy(settings)):
                scanner.ledger.breaker.trip(Limit.PERSON, "a person said no before the first deletion", summary.run_id)
                return summary
            approve(scanner.ledger, rows)
            scanner.ledger.breaker.note_decision()
            return scanner.carry_out_held(summary)
    except LemmySafetyError as error:
        if scanner is not None and scanner.broken_pass is not None:
            show_broken(scanner.broken_pass, error)
        raise


def confirm_first_deletions(rows: Sequence[FlaggedRow], policy: Policy) -> bool:
    """Ask a person whether to delete what was flagged: once, before the first deletion with a database."""
    show_counts(rows, policy)
    click.echo("Most flags are innocent. To see these before you decide, answer no.", err=True)
    return confirmed(f"Delete {plural(len(rows), 'object')} now?")


def _watch(settings: Settings) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage and detector libraries

    with (
        StopSignals(exit_code=0) as signals,
        progress() as listener,
        wiring.open_daemon(settings, stop=signals.event, listener=listener, ask_passphrase=asker()) as daemon,
    ):
        daemon.announce()
        daemon.run()


def _show_consequences(summary: PassSummary, settings: Settings) -> None:
    """What the numbers mean for the admin; what to do about it comes after."""
    for sentence in summary.about_pictrs:
        click.echo(f"\n{sentence}")
    left = summary.flagged - summary.acted
    if left > 0 and (summary.dry_run or settings.action == "report"):
        later = "with action delete" if settings.action == "report" else "without --dry-run"
        click.echo(
            f"\n{plural(left, 'object')} flagged and left alone. A later pass {later} deletes {'it' if left == 1 else 'them'}."
        )
    elif summary.held:
        waiting = f"{plural(summary.held, 'object')} {'waits' if summary.held == 1 else 'wait'} for your decision"
        warn(f"The circuit breaker is tripped: nothing more is deleted, and {waiting}.")
    elif summary.asks:
        warn(f"{plural(summary.asks, 'flagged object')} {'waits' if summary.asks == 1 else 'wait'} for your decision.")
    elif summary.not_carried_out:
        warn(f"{plural(summary.not_carried_out, 'deletion')} could not be carried out.")
    elif left > 0 and not summary.stopped:
        warn(f"{plural(left, 'flagged object')} not deleted yet. The next pass tries again.")
