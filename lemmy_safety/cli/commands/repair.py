"""``lemmy-safety repair``: purge from pict-rs what was deleted behind its back, after asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.asking import agree, asker, at_a_terminal, typed
from lemmy_safety.cli.input.database import check_exists
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.failures import warn
from lemmy_safety.cli.output.logs import set_up_logging
from lemmy_safety.cli.output.next_steps import REPAIR, REPAIR_ALL, after_repair, show_next
from lemmy_safety.cli.output.telling import Teller
from lemmy_safety.cli.output.text import plural, printable, write_json
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import ActionRefused, BreakerTripped, LemmySafetyError
from lemmy_safety.records import ActionState

if TYPE_CHECKING:
    import threading

    from lemmy_safety.actions import ActionReport
    from lemmy_safety.actions.missing_originals import Broken, Survey
    from lemmy_safety.actions.repair import Repairer

#: How many pictures are shown before the question, and aliases of each; a dry run shows all.
_SHOWN = 10
_ALIASES_SHOWN = 5


@click.command(short_help="Purge from pict-rs what was deleted behind its back; asks first.")
@settings_options("dry_run")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option(
    "--all-missing",
    is_flag=True,
    help="Also pictures whose original was deleted by hand; reads pict-rs's whole list.",
)
@click.option(
    "--whole-list",
    is_flag=True,
    help="Look in pict-rs's whole list for what cannot be found by its key: old keys, and all after migrate-store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_context
def repair(ctx: click.Context, *, yes: bool, all_missing: bool, whole_list: bool, as_json: bool) -> None:
    """Purge from pict-rs the pictures whose file lemmy-safety deleted without telling it.

    Their links answer 404 afterwards instead of 500, and the same bytes can be uploaded again. PICTRS_URL and
    PICTRS_API_KEY must be set. All names of such a picture go. A picture whose original is in the storage is left
    alone, and so are missing sizes: pict-rs makes them again. What was interrupted is finished by the next repair. Ends
    with 60 when something could not be purged, and with 62 when --yes would purge more than the limits allow without a
    person.
    """
    if all_missing and whole_list:
        raise click.UsageError("--all-missing reads the whole list already; leave out --whole-list.")
    invocation = current()
    settings = invocation.settings()
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=True)
    if not all_missing:
        check_exists(settings)  # a new database says that nothing was deleted

    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage libraries

    with wiring.open_repairer(settings, ask_passphrase=asker()) as repairer:
        survey = _find(repairer, all_missing=all_missing, whole_list=whole_list)
        if settings.dry_run:
            _dry_run(survey, as_json=as_json)
            return
        if survey.broken and not yes:
            _ask(survey, room=repairer.guard.room())
        # Only now: until the question is answered, Ctrl-C should simply end the command.
        with StopSignals() as signals:
            outcome = _carry_out(repairer, survey, stop=signals.event, quiet=as_json, approved=not yes)
    if as_json:
        write_json({**outcome.as_dict(), **_not_purged(survey)})
    else:
        _say_what_else(survey)
        if not outcome.stopped:
            show_next(after_repair(held=outcome.held, asks=outcome.asks, left=outcome.left))
    if outcome.stopped:
        ctx.exit(INTERRUPTED)
    if outcome.held:
        ctx.exit(BreakerTripped.exit_code)
    if outcome.left:
        ctx.exit(ActionRefused.exit_code)


def _find(repairer: Repairer, *, all_missing: bool, whole_list: bool) -> Survey:
    if not all_missing:
        return repairer.missing.of_deleted(whole_list=whole_list, tell=warn)
    warn(
        "Reading pict-rs's whole list. Without PICTRS_DATABASE_URL, a pict-rs from 0.5.17 on may compute missing "
        "blurhashes for it, which can load the server for hours."
    )
    return repairer.missing.of_all()


def _ask(survey: Survey, *, room: int) -> None:
    """Ask a person; for more than the limits allow, they have to type the number."""
    _preview(survey)
    number = len(survey.broken)
    what = f"{plural(number, 'picture')} with {_aliases(survey.aliases)}"
    if not at_a_terminal():
        raise ActionRefused(
            f"{what} would be purged from pict-rs, and there is no terminal to ask on.",
            hint="To see the whole list: add --dry-run. To purge without asking, within the limits: add --yes.",
        )
    if number <= room:
        agree(f"Purge {what} from pict-rs for good?")
        return
    click.echo(
        f"The limits allow {plural(room, 'purge') if room else 'no purge'} without a person's decision.", err=True
    )
    answer = typed(f"To purge {what} from pict-rs for good, type the number of pictures")
    if answer.replace(",", "").strip() != str(number):
        raise ActionRefused("Another number was typed; nothing was purged.", hint="Repeat the command to try again.")


@dataclass(slots=True)
class _Outcome:
    reports: list[ActionReport] = field(default_factory=list)
    stopped: bool = False

    @property
    def left(self) -> int:
        return sum(report.state is not ActionState.DONE for report in self.reports)

    @property
    def held(self) -> int:
        return sum(report.held for report in self.reports)

    @property
    def asks(self) -> int:
        return sum(report.asks for report in self.reports)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``state`` is as in ``delete-flagged``."""
        return {
            "done": len(self.reports) - self.left,
            "left": self.left,
            "held": self.held,
            "asks": self.asks,
            "stopped": self.stopped,
            "results": [
                {"original": report.key, "state": report.state.value, "detail": report.detail}
                for report in self.reports
            ],
        }


def _carry_out(repairer: Repairer, survey: Survey, *, stop: threading.Event, quiet: bool, approved: bool) -> _Outcome:
    outcome = _Outcome()
    try:
        with Teller() as tell:
            for report in repairer.carry_out(survey.broken, approved=approved, wait=stop.wait):
                outcome.reports.append(report)
                if not quiet and not report.held:
                    tell(f"  {report.state.value:8}  {printable(report.key)}  ({printable(report.detail)})")
    except LemmySafetyError:
        if not quiet and outcome.reports:  # even after an error, these were purged
            _sum_up(outcome)
        raise
    outcome.stopped = stop.is_set() and len(outcome.reports) < len(survey.broken)
    if quiet:
        return outcome
    if survey.broken:
        _sum_up(outcome)
    else:
        click.echo("Nothing is left to repair.")
    return outcome


def _sum_up(outcome: _Outcome) -> None:
    done = len(outcome.reports) - outcome.left
    tail = f", {outcome.left:,} left" if outcome.left else ""
    click.echo(f"{plural(done, 'picture')} purged from pict-rs{tail}.")
    if outcome.held:
        warn(f"The limits hold {plural(outcome.held, 'picture')} for a person.")
    if outcome.asks:
        warn(f"{plural(outcome.asks, 'picture')} {'has' if outcome.asks == 1 else 'have'} too many aliases for --yes.")


def _dry_run(survey: Survey, *, as_json: bool) -> None:
    if as_json:
        would = [_as_json(one) for one in survey.broken]
        write_json({"dry_run": True, "would_purge": would, **_not_purged(survey)})
        return
    _preview(survey, most=len(survey.broken))
    click.echo(
        f"Dry run: {plural(len(survey.broken), 'picture')} with {_aliases(survey.aliases)} would be purged from pict-rs, "
        "none was.",
        err=True,
    )
    _say_what_else(survey)
    if survey.broken:
        show_next((REPAIR_ALL if survey.by_hand else REPAIR,), err=True)


def _preview(survey: Survey, *, most: int = _SHOWN) -> None:
    widest_first = sorted(survey.broken, key=lambda one: -len(one.picture.aliases))
    for one in widest_first[:most]:
        names = [
            f"{printable(alias.name)} (a copy of {printable(alias.origin_url)})"
            if alias.origin_url
            else printable(alias.name)
            for alias in one.picture.aliases[:_ALIASES_SHOWN]
        ]
        more = len(one.picture.aliases) - len(names)
        tail = f" and {more:,} more" if more > 0 else ""
        begun = "begun before; " if one.begun is not None else ""
        click.echo(f"  {printable(one.picture.original)}  ({begun}{', '.join(names) or 'no alias'}{tail})", err=True)
    if len(survey.broken) > most:
        click.echo(f"  and {len(survey.broken) - most:,} more; to see all: add --dry-run", err=True)


def _say_what_else(survey: Survey) -> None:
    """What was found and needs no repair, or cannot get one."""
    for number, is_one, are_many in (
        (
            survey.sizes,
            "was another size of a picture: pict-rs makes it again",
            "were other sizes of pictures: pict-rs makes them again",
        ),
        (
            survey.present,
            "is in the storage again, and was left alone",
            "are in the storage again, and were left alone",
        ),
        (survey.forgotten, "is unknown to pict-rs: nothing to repair", "are unknown to pict-rs: nothing to repair"),
    ):
        if number:
            click.echo(f"{plural(number, 'deleted file')} {is_one if number == 1 else are_many}.", err=True)
    if survey.unresolved:
        first, reason = next(iter(survey.unresolved.items()))
        click.echo(
            f"Of {plural(len(survey.unresolved), 'deleted file')} the picture is not known, such as {printable(first)}: "
            f"{printable(reason)}. Deleted sizes need no repair. If you moved the store with migrate-store, or it has keys "
            "from before pict-rs 0.5.7: add --whole-list. All of them: --dry-run --json.",
            err=True,
        )
    if survey.hidden:
        warn("pict-rs failed to list some pictures, so a picture may be missing here; see its log.")


def _not_purged(survey: Survey) -> dict[str, Any]:
    return {
        "unresolved": [{"key": key, "reason": reason} for key, reason in survey.unresolved.items()],
        "other_sizes": survey.sizes,
        "in_storage": survey.present,
        "unknown_to_pictrs": survey.forgotten,
        "deleted_by_others": survey.by_hand,
        "list_incomplete": survey.hidden,
    }


def _as_json(one: Broken) -> dict[str, Any]:
    return {
        "original": one.picture.original,
        "deleted_key": one.key,
        "sha256": one.picture.sha256,
        "aliases": [{"alias": alias.name, "origin_url": alias.origin_url} for alias in one.picture.aliases],
        "begun": one.begun is not None,
    }


def _aliases(number: int) -> str:
    return "1 alias" if number == 1 else f"{number:,} aliases"
