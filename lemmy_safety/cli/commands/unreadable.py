"""``lemmy-safety unreadable``: what no pass could judge, and why; ``--retry`` lets the next pass read it again.

The forms are those of ``flagged``. The JSON has its fields and a few more; fields are only ever added.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.database import existing_ledger, storage_filter
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.input.keys import chosen_keys, unknown_keys
from lemmy_safety.cli.output.next_steps import READ_AGAIN, TAKE_OFF, show_next
from lemmy_safety.cli.output.rows import as_json, state
from lemmy_safety.cli.output.tables import form_options, show_table, write_csv
from lemmy_safety.cli.output.text import counted, iso, plural, write_json
from lemmy_safety.records import ActionState, ItemStatus, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.ledger import FlaggedRow, Ledger

_CSV_HEADER = (
    "key", "checked_at", "status", "why", "to_be_read", "action_state", "action_detail", "review", "sha256", "storage",
    "failed_passes",
)  # fmt: skip


@click.command(short_help="List what could not be judged, and why.")
@settings_options()
@click.option("--all", "settled", is_flag=True, help="Also those that were deleted, are gone, or were cleared.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many, the oldest first.")
@click.option(
    "--retry", is_flag=True, help="Let the next pass read them again. To read them now: recheck --unreadable."
)
@form_options
@click.argument("keys", nargs=-1, metavar="[KEY...]")
def unreadable(keys: tuple[str, ...], form: str | None, limit: int | None, *, settled: bool, retry: bool) -> None:
    """List the objects that could not be judged at the last attempt, and why; all, or only the KEYs named.

    Damaged files, files on which a decoder crashed or hung, media that this installation cannot decode, files over a
    limit, and reads that failed. "-" reads keys from stdin, one a line. With --storage only what lies in that storage.
    No picture is read or shown.
    """
    invocation = current()
    wanted = chosen_keys(keys) if keys else None
    with existing_ledger(invocation.settings()) as ledger:
        rows = _rows(ledger, wanted, storage=storage_filter(invocation), settled=settled, limit=limit)
        asked = ledger.reviews.read_again([row.id for row in rows]) if retry else 0
        if retry:
            shown = {row.id for row in rows}
            again = ledger.reviews.unjudged(storage=storage_filter(invocation), include_settled=settled)
            rows = [row for row in again if row.id in shown]
    if form == "json":
        write_json([_as_json(row) for row in rows])
    elif form == "csv":
        write_csv(_CSV_HEADER, (_csv_cells(row) for row in rows))
    else:
        _show(rows, retry=retry)
    if retry:
        click.echo(f"{plural(asked, 'object')} will be read again by the next pass.", err=form is not None)


def _rows(
    ledger: Ledger, keys: Sequence[str] | None, *, storage: str | None, settled: bool, limit: int | None
) -> list[FlaggedRow]:
    rows = ledger.reviews.unjudged(storage=storage, include_settled=settled)
    if keys is None:
        return list(islice(rows, limit))
    wanted = set(keys)
    named = [row for row in rows if row.key in wanted]
    if unknown := wanted - {row.key for row in named}:
        raise unknown_keys(unknown, "Judged, deleted or not known", listed_by="unreadable")
    return named[:limit]


def _what_next(row: FlaggedRow) -> str:
    """What will happen to the object automatically, in a few words."""
    if row.assessment.status is ItemStatus.GONE:
        return "gone"
    if row.action_state is not ActionState.NONE:
        return state(row)
    if row.review is Review.CLEARED:
        return "left alone, cleared"
    if row.failed_passes > 1:
        return f"read again by the next pass, failed in {row.failed_passes:,} in a row"
    return "read again by the next pass" if row.to_be_read else "left alone"


def _as_json(row: FlaggedRow) -> dict[str, Any]:
    """As for ``flagged``; ``why`` is the reason that there is no verdict."""
    return {**as_json(row), "why": row.assessment.reason}


def _csv_cells(row: FlaggedRow) -> tuple[str | None, ...]:
    return (
        row.key,
        iso(row.checked_at),
        row.assessment.status.value,
        row.assessment.reason,
        "yes" if row.to_be_read else "no",
        row.action_state.value,
        row.action_detail,
        row.review.value,
        row.assessment.sha256,
        row.storage,
        str(row.failed_passes),
    )


def _show(rows: Sequence[FlaggedRow], *, retry: bool) -> None:
    if not rows:
        click.echo("Nothing is unreadable.")
        return
    several = len({row.storage for row in rows}) > 1
    show_table(
        ("tried (UTC)", "key", "what", "because", "what happens", *["storage"] * several),
        (
            (
                row.checked_at.strftime("%Y-%m-%d %H:%M"),
                row.key,
                row.assessment.status.value.replace("_", " "),
                row.assessment.reason,
                _what_next(row),
                *[row.storage] * several,
            )
            for row in rows
        ),
    )
    numbers: dict[str, int] = {}
    for row in rows:
        numbers[row.assessment.status.value] = numbers.get(row.assessment.status.value, 0) + 1
    click.echo(f"{plural(len(rows), 'object')} without a verdict: {counted(numbers)}.")
    if not retry:
        show_next((READ_AGAIN, TAKE_OFF))
