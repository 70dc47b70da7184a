"""``lemmy-safety flagged``: what is flagged and not yet acted on, as table, JSON or CSV.

The JSON is a list of rows; ``as_json`` says what a row holds. Fields are only ever added.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.input.database import existing_ledger, storage_filter
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.flag_reasons import counted_by
from lemmy_safety.cli.output.next_steps import after_list, show_next
from lemmy_safety.cli.output.rows import as_json, show_rows, why
from lemmy_safety.cli.output.tables import form_options, show_table, write_csv
from lemmy_safety.cli.output.text import iso, plural, printable, write_json

if TYPE_CHECKING:
    from lemmy_safety.cli.input.invocation import Invocation
    from lemmy_safety.cli.output.flag_reasons import By
    from lemmy_safety.ledger import FlaggedRow

_CSV_HEADER = ("key", "checked_at", "why", "action_state", "action_detail", "review", "sha256", "storage")


#: Most reasons listed for objects that could not be judged, the most common first.
_MOST_REASONS = 10


@click.command(short_help="List what is flagged and not yet acted on.")
@settings_options()
@click.option("--all", "settled", is_flag=True, help="Also those that were acted on or cleared by a reviewer.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, the oldest first.")
@form_options
@click.option(
    "--by",
    type=click.Choice(("label", "detector", "score")),
    help="Count them by what they are flagged for, by whom, or by score, instead of listing them.",
)
def flagged(form: str | None, limit: int | None, by: By | None, *, settled: bool) -> None:
    """List what is flagged as possible and not yet acted on.

    With --storage only what was found in that storage. No picture is read or shown.
    """
    invocation = current()
    if by is not None:
        _count(invocation, by, form, settled=settled)
        return
    with existing_ledger(invocation.settings()) as ledger:
        rows = list(islice(ledger.reviews.flagged(storage=storage_filter(invocation), include_settled=settled), limit))
        unchecked = ledger.uploads.count_unchecked()
        unjudged = ledger.reviews.unjudged(storage=storage_filter(invocation)) if settled and form is None else ()
        reasons = Counter(row.assessment.reason for row in unjudged)
        breaker_is_tripped = ledger.breaker.state().is_tripped
    if form == "json":
        write_json([as_json(row) for row in rows])
    elif form == "csv":
        write_csv(_CSV_HEADER, (_csv_cells(row) for row in rows))
    else:
        show_rows(rows)
        if unchecked:
            click.echo(f"{plural(unchecked, 'upload')} accepted unchecked; the next pass checks them first.")
        if reasons:
            _show_unjudged(reasons)
        show_next(after_list(rows, breaker_is_tripped=breaker_is_tripped))


def _show_unjudged(reasons: Counter[str]) -> None:
    """So that "nothing is flagged" is not mistaken for "all is clear"."""
    click.echo(f"{plural(reasons.total(), 'object')} could not be judged; to list them: lemmy-safety unreadable")
    for reason, number in reasons.most_common(_MOST_REASONS):
        click.echo(f"  {number:,}: {printable(reason)}")
    if (others := len(reasons) - _MOST_REASONS) > 0:
        click.echo(f"  and {plural(others, 'other reason')}")


def _count(invocation: Invocation, by: By, form: str | None, *, settled: bool) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    settings = invocation.settings()
    with existing_ledger(settings) as ledger:
        rows = ledger.reviews.flagged(storage=storage_filter(invocation), include_settled=settled)
        total, counts = counted_by(rows, by, wiring.build_policy(settings))
    if form == "json":
        write_json({"by": by, "objects": total, "counts": counts})
    elif form == "csv":
        write_csv((by, "objects"), ((name, str(number)) for name, number in counts.items()))
    elif not total:
        click.echo("Nothing is flagged.")
    else:
        show_table((by, "objects"), ((name, f"{number:,}") for name, number in counts.items()))
        click.echo(f"{plural(total, 'object')} flagged as possible.")


def _csv_cells(row: FlaggedRow) -> tuple[str | None, ...]:
    return (
        row.key,
        iso(row.checked_at),
        why(row),
        row.action_state.value,
        row.action_detail,
        row.review.value,
        row.assessment.sha256,
        row.storage,
    )
