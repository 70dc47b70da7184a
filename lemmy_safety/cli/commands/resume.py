"""``lemmy-safety resume``: approve what the circuit breaker holds back, and reset it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.input.asking import at_a_terminal, confirmed
from lemmy_safety.cli.input.database import existing_ledger
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.flag_reasons import counted_by, show_counts
from lemmy_safety.cli.output.next_steps import DELETE_APPROVED, DELETE_REST, KEEP, RESUME, SEE, Step, as_hint, show_next
from lemmy_safety.cli.output.text import iso, plural, write_json
from lemmy_safety.errors import ActionRefused
from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.ledger import BreakerState, FlaggedRow, Ledger
    from lemmy_safety.policy import Policy

#: Actions approved per transaction.
_PIECE = 500


@click.command("resume", short_help="Approve what the circuit breaker holds back, and arm it again.")
@settings_options()
@click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON; approve only with --yes.")
def resume(*, yes: bool, as_json: bool) -> None:
    """Show what the circuit breaker holds back, approve it, and let actions through again.

    First see what is flagged: lemmy-safety flagged. Then keep the false positives: lemmy-safety review clear KEY. This
    command approves exactly what it counts, and nothing that is flagged later. The next pass carries it out, and so does
    delete-flagged.
    """
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    settings = current().settings()
    policy = wiring.build_policy(settings)
    with existing_ledger(settings) as ledger:
        state = ledger.breaker.state()
        rows = held_rows(ledger)
        if as_json and not yes:
            write_json(_as_dict(state, rows, policy, approved=0))
            return
        if not as_json:
            _show_state(state)
            if rows:
                show_counts(rows, policy)
            else:
                click.echo("Nothing waits for your approval.", err=True)
        if not rows and not state.is_tripped:
            if as_json:
                write_json(_as_dict(state, rows, policy, approved=0))
            return
        if not yes:
            _ask(len(rows))
        approved = approve(ledger, rows)
        ledger.breaker.arm()
    if as_json:
        write_json(_as_dict(state, rows, policy, approved=approved))
        return
    click.echo(f"{plural(approved, 'action')} approved. The circuit breaker is armed again.")
    if approved and settings.action == "report":
        click.echo("Passes delete nothing while LEMMY_SAFETY_ACTION is report.")
    if approved:
        show_next([DELETE_APPROVED if settings.action != "report" else DELETE_REST])


def held_rows(ledger: Ledger, storage: str | None = None) -> list[FlaggedRow]:
    """Objects with an action that is intended, but neither approved by a person nor carried out."""
    return [
        row
        for rows in (ledger.reviews.flagged(storage=storage), ledger.reviews.unreadable(storage=storage))
        for row in rows
        if row.action_state is ActionState.INTENDED and not row.action_approved and row.review is not Review.CLEARED
    ]


def approve(ledger: Ledger, rows: Sequence[FlaggedRow]) -> int:
    """Record a person's approval of these rows' actions, if still wanted. Returns how many they are."""
    ids = iter([row.action_id for row in rows if row.action_id is not None])
    approved = 0
    while piece := list(islice(ids, _PIECE)):
        approved += ledger.actions.approve(piece)
    return approved


def _show_state(state: BreakerState) -> None:
    if state.is_tripped:
        click.echo(f"The circuit breaker tripped at {iso(state.tripped_at)}: {state.reason}.", err=True)
    else:
        click.echo("The circuit breaker is armed.", err=True)


def _ask(number: int) -> None:
    if not at_a_terminal():
        without_asking = Step("lemmy-safety resume --yes", "approve the rest without asking")
        raise ActionRefused(
            f"{plural(number, 'action')} would be approved, and there is no terminal to ask on.",
            hint=as_hint((SEE, KEEP, without_asking)) if number else "To reset it without asking, add --yes.",
        )
    question = f"Approve the deletion of {plural(number, 'object')}?" if number else "Reset the circuit breaker?"
    if not confirmed(question):
        raise ActionRefused("Nothing was approved.", hint=as_hint((SEE, KEEP, RESUME)))


def _as_dict(state: BreakerState, rows: Sequence[FlaggedRow], policy: Policy, *, approved: int) -> dict[str, object]:
    flagged = [row for row in rows if row.assessment.outcome is not None]
    return {
        "tripped": state.is_tripped,
        "tripped_at": iso(state.tripped_at),
        "limit": state.limit,
        "reason": state.reason,
        "waiting": len(rows),
        "approved": approved,
        "by_detector": counted_by(flagged, "detector", policy)[1],
        "by_label": counted_by(flagged, "label", policy)[1],
        "by_score": counted_by(flagged, "score", policy)[1],
    }
