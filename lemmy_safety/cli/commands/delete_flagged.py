"""``lemmy-safety delete-flagged``: carry out what a dry run only recorded, after asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.input.asking import agree, asker, at_a_terminal, typed
from lemmy_safety.cli.input.database import existing_ledger
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.input.keys import chosen_keys, unknown_keys
from lemmy_safety.cli.output.failures import warn
from lemmy_safety.cli.output.flag_reasons import show_counts
from lemmy_safety.cli.output.logs import set_up_logging
from lemmy_safety.cli.output.next_steps import DELETE_REST, KEEP, RESUME, SEE, after_deletion, as_hint, show_next
from lemmy_safety.cli.output.rows import why
from lemmy_safety.cli.output.telling import Teller
from lemmy_safety.cli.output.text import plural, printable, write_json
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import ActionRefused, BreakerTripped, LemmySafetyError
from lemmy_safety.pictrs.deletions import what_may_return, what_remains
from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from lemmy_safety.actions import ActionReport, ActionRunner
    from lemmy_safety.ledger import FlaggedRow, Ledger
    from lemmy_safety.policy import Policy
    from lemmy_safety.settings import Settings

#: The name of the action, whatever ACTION says: this command always deletes.
DELETE = "delete"

#: How many rows are shown before the question; the rest is in ``lemmy-safety flagged``.
_SHOWN = 10


@click.command("delete-flagged", short_help="Delete what is flagged and still there; asks first.")
@settings_options("dry_run")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.pass_context
def delete_flagged(ctx: click.Context, keys: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Delete what is flagged and still there, without reading or judging any picture again.

    All of it, or only the KEYs named ("-" reads them from stdin, one a line). Objects that changed since they were
    judged and objects that a reviewer cleared are left alone. Ends with 60 when something could not be deleted, and
    with 62 when --yes would delete more than the limits allow without a person.
    """
    invocation = current()
    settings = invocation.settings()
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=True)
    wanted = chosen_keys(keys) if keys else None
    if settings.dry_run:
        _dry_run(settings, wanted, as_json=as_json)
        return

    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage libraries

    with wiring.open_runner(settings, ask_passphrase=asker()) as runner:
        rows = open_rows(runner.ledger, runner.storage.name, wanted)
        if rows and not yes:
            _ask(rows, room=runner.guard.room(), policy=wiring.build_policy(settings))
            runner.ledger.breaker.note_decision()
        # Only now: until the question is answered, Ctrl-C should simply end the command.
        with StopSignals() as signals:
            outcome = carry_out(runner, rows, stop=signals.event, quiet=as_json, approved=not yes)
    if as_json:
        write_json(outcome.as_dict())
    elif not outcome.stopped:
        show_next(after_deletion(held=outcome.held, asks=outcome.asks, left=outcome.left))
    if outcome.stopped:
        ctx.exit(INTERRUPTED)
    if outcome.held:
        ctx.exit(BreakerTripped.exit_code)
    if outcome.left:
        ctx.exit(ActionRefused.exit_code)


def _ask(rows: Sequence[FlaggedRow], *, room: int, policy: Policy) -> None:
    """Ask a person; for more than the circuit breaker admits, they have to type the number."""
    _preview(rows)
    if not at_a_terminal():
        raise ActionRefused(
            f"{plural(len(rows), 'object')} would be deleted, and there is no terminal to ask on.",
            hint=(
                "To see the whole list: add --dry-run. To delete without asking: add --yes."
                if len(rows) <= room
                else f"{_allowed(room)}. Run the command at a terminal, or:\n{as_hint((SEE, KEEP, RESUME))}"
            ),
        )
    if len(rows) <= room:
        agree(f"Delete {plural(len(rows), 'object')} for good?")
        return
    show_counts(rows, policy)
    click.echo(f"{_allowed(room)}.", err=True)
    number = typed(f"To delete {plural(len(rows), 'object')} for good, type their number")
    if number.replace(",", "").strip() != str(len(rows)):
        raise ActionRefused("Another number was typed; nothing was deleted.", hint="Repeat the command to try again.")


def _allowed(room: int) -> str:
    return f"The limits allow {plural(room, 'deletion') if room else 'no deletion'} without a person's decision"


@dataclass(slots=True)
class DeletionOutcome:
    """The results: how many rows were deleted, and the reports of all of them."""

    reports: list[ActionReport] = field(default_factory=list)
    stopped: bool = False
    tells_pictrs: bool = False

    def replace(self, report: ActionReport) -> None:
        """Keep the later of two reports about an object."""
        self.reports = [report if one.key == report.key else one for one in self.reports]

    @property
    def left(self) -> int:
        return sum(report.state is not ActionState.DONE for report in self.reports)

    @property
    def held(self) -> int:
        """How many of the remaining ones the circuit breaker holds for a person."""
        return sum(report.held for report in self.reports)

    @property
    def asks(self) -> int:
        """How many of the remaining ones wait for a person to decide about each."""
        return sum(report.asks for report in self.reports)

    def as_dict(self) -> dict[str, object]:
        """Plain JSON types; ``state`` is done, refused (changed since), failed (permanently) or intended (later)."""
        return {
            "done": len(self.reports) - self.left,
            "left": self.left,
            "held": self.held,
            "asks": self.asks,
            "stopped": self.stopped,
            "results": [
                {
                    "key": report.key,
                    "action": report.action,
                    "state": report.state.value,
                    "detail": report.detail,
                }
                for report in self.reports
            ],
        }


def carry_out(
    runner: ActionRunner,
    rows: Sequence[FlaggedRow],
    *,
    stop: threading.Event,
    quiet: bool,
    approved: bool = False,
) -> DeletionOutcome:
    """Delete these rows' objects; prints one line per result, and one at the end, unless ``quiet``.

    ``approved``: a person confirmed these very rows.

    :raises LedgerError: nothing can be recorded; then nothing more is deleted.
    """
    outcome = DeletionOutcome(tells_pictrs=runner.tells_pictrs)
    try:
        with Teller() as tell:
            for report in runner.act_on_flagged(rows, DELETE, approved=approved):
                outcome.reports.append(report)
                if not quiet and not report.held:
                    tell(f"  {report.state.value:8}  {printable(report.key)}  ({printable(report.detail)})")
                if stop.is_set():
                    outcome.stopped = len(outcome.reports) < len(rows)
                    break
            for report in runner.settle(stop.wait):
                outcome.replace(report)
                if not quiet and not outcome.stopped:
                    tell(f"  {report.state.value:8}  {printable(report.key)}  ({printable(report.detail)})")
    except LemmySafetyError:
        if not quiet and outcome.reports:  # even after an error, these were deleted
            _sum_up(outcome)
        raise
    if quiet:
        return outcome
    if rows:
        _sum_up(outcome)
    else:
        click.echo("Nothing is left to delete.")
    return outcome


def _sum_up(outcome: DeletionOutcome) -> None:
    done = len(outcome.reports) - outcome.left
    tail = f", {outcome.left:,} left" if outcome.left else ""
    click.echo(f"{plural(done, 'object')} deleted{tail}.")
    if outcome.held:
        warn(f"The circuit breaker is tripped, so {plural(outcome.held, 'object')} had to stay.")
    if outcome.asks:
        warn(f"{plural(outcome.asks, 'object')} {'waits' if outcome.asks == 1 else 'wait'} for your decision.")
    if done and not outcome.tells_pictrs:
        click.echo(f"\n{what_remains(done)}")
    if files := sum(report.result.as_file for report in outcome.reports):
        click.echo(f"\n{what_may_return(files)}")


def open_rows(ledger: Ledger, storage: str, keys: Sequence[str] | None) -> list[FlaggedRow]:
    """The flagged rows of this storage that can be acted on: all, or those of ``keys``.

    :raises LedgerError: one of ``keys`` is not among them.
    """
    rows = [row for row in ledger.reviews.flagged(storage=storage) if row.review is not Review.CLEARED]
    if keys is None:
        return rows
    wanted = set(keys)
    if unknown := wanted - {row.key for row in rows}:
        raise unknown_keys(unknown, "Not flagged, already deleted, or cleared by a reviewer")
    return [row for row in rows if row.key in wanted]


def _dry_run(settings: Settings, keys: Sequence[str] | None, *, as_json: bool) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage libraries

    storage = wiring.build_storage(settings).name
    with existing_ledger(settings) as ledger:
        rows = open_rows(ledger, storage, keys)
    if as_json:
        write_json({"dry_run": True, "would_delete": [row.key for row in rows]})
        return
    _preview(rows, most=len(rows))
    click.echo(f"Dry run: {plural(len(rows), 'object')} would be deleted, none was.", err=True)
    if rows:
        show_next((KEEP, DELETE_REST), err=True)


def _preview(rows: Sequence[FlaggedRow], *, most: int = _SHOWN) -> None:
    for row in rows[:most]:
        click.echo(f"  {printable(row.key)}  ({printable(why(row))})", err=True)
    if len(rows) > most:
        click.echo(f"  and {len(rows) - most:,} more; to see all: lemmy-safety flagged", err=True)
