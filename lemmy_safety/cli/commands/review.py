"""``lemmy-safety review``: a person's decision about flagged objects, by key or by why they are flagged."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.asking import agree, at_a_terminal
from lemmy_safety.cli.input.database import existing_ledger, storage_filter
from lemmy_safety.cli.input.flag_filter import FlagFilter, filter_options
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.input.keys import chosen_keys, unknown_keys
from lemmy_safety.cli.output.rows import why
from lemmy_safety.cli.output.text import plural, printable
from lemmy_safety.errors import ActionRefused
from lemmy_safety.records import Review

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from lemmy_safety.ledger import FlaggedRow, Ledger

#: Rows in a preview. The others are only counted.
_SHOWN = 10

#: Objects decided per transaction.
_PIECE = 500


@click.group()
def review() -> None:
    """Record what a person decided about flagged objects."""


def _arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.argument("keys", nargs=-1, metavar="[KEY...]")(command)
    command = click.option("-y", "--yes", is_flag=True, help="With a filter: do not ask; for scripts.")(command)
    command = filter_options(command)
    command = click.option("--note", default="", help="Why; kept with the decision.")(command)
    return settings_options()(command)


@review.command(short_help="Wrongly flagged: never act on these.")
@_arguments
def clear(keys: tuple[str, ...], note: str, **filters: Any) -> None:
    """A false positive: never act on KEY, nor on the same bytes under another key. "-" reads keys from stdin.

    Instead of keys, filters choose among the open flags: --label, --detector, --score-below, --since, and --storage
    with them. The objects are counted and shown first, then the command asks.
    """
    _decide(Review.CLEARED, keys, note, **filters)


@review.command(short_help="Rightly flagged: these may be acted on.")
@_arguments
def confirm(keys: tuple[str, ...], note: str, **filters: Any) -> None:
    """Rightly flagged: KEY may be acted on. "-" reads keys from stdin, one a line.

    Instead of keys, filters choose among the open flags: --label, --detector, --score-below, --since, and --storage
    with them. The objects are counted and shown first, then the command asks.
    """
    _decide(Review.CONFIRMED, keys, note, **filters)


def _decide(
    decision: Review,
    keys: tuple[str, ...],
    note: str,
    *,
    labels: tuple[str, ...],
    detectors: tuple[str, ...],
    score_below: float | None,
    since: datetime | None,
    yes: bool,
) -> None:
    chosen = FlagFilter(labels=frozenset(labels), detectors=frozenset(detectors), score_below=score_below, since=since)
    if bool(keys) is not chosen.is_empty:
        raise click.UsageError("Name KEYs, or choose with --label, --detector, --score-below or --since; not both.")
    if keys:
        _decide_keys(decision, chosen_keys(keys), note)
    else:
        _decide_chosen(decision, chosen, note, yes=yes)


def _decide_keys(decision: Review, keys: list[str], note: str) -> None:
    invocation = current()
    with existing_ledger(invocation.settings()) as ledger:
        result = ledger.reviews.decide(keys, decision, note=note, storage=storage_filter(invocation))
    several = len({row.storage for row in result.changed}) > 1
    for row in result.changed:
        where = f"  in {printable(row.storage)}" if several else ""
        same_bytes = "" if row.key in keys else "  (the same bytes)"
        click.echo(f"  {decision.value}  {printable(row.key)}{where}{same_bytes}")
    click.echo(f"{plural(len(result.changed), 'object')} {decision.value}.")
    if result.unknown:
        raise unknown_keys(result.unknown, "Not in the database, so nothing was recorded for")


def _decide_chosen(decision: Review, chosen: FlagFilter, note: str, *, yes: bool) -> None:
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    invocation = current()
    settings = invocation.settings()
    policy = wiring.build_policy(settings)
    storage = storage_filter(invocation)
    with existing_ledger(settings) as ledger:

        def matching() -> Iterator[FlaggedRow]:
            open_rows = (row for row in ledger.reviews.flagged(storage=storage) if row.review is not decision)
            return (row for row in open_rows if chosen.matches(row, policy))

        def decidable() -> Iterator[FlaggedRow]:
            return (row for row in matching() if decision is not Review.CONFIRMED or not row.asks)

        if decision is Review.CONFIRMED and (asking := sum(row.asks for row in matching())):
            click.echo(
                f"{plural(asking, 'object')} left out: a person has to decide about each. See 'lemmy-safety flagged', and "
                "name their keys.",
                err=True,
            )
        # Decide only on what was counted and shown, not on what is flagged while the question waits. Ids increase.
        shown = _preview(decidable())
        if not shown:
            click.echo("No open flag matches.")
            return
        if not yes:
            _ask(decision, len(shown))
        rows = (row for row in decidable() if _holds(shown, row.id))
        settled = _settle(ledger, rows, decision, note)
    click.echo(f"{plural(settled, 'object')} {decision.value}.")


def _preview(rows: Iterator[FlaggedRow]) -> array[int]:
    """Show the first rows and the total number. Returns all ids, 8 bytes each."""
    ids = array("q")
    for row in rows:
        if len(ids) < _SHOWN:
            click.echo(f"  {printable(row.key)}  ({printable(why(row))})", err=True)
        ids.append(row.id)
    if len(ids) > _SHOWN:
        click.echo(f"  and {len(ids) - _SHOWN:,} more", err=True)
    return ids


def _ask(decision: Review, number: int) -> None:
    verb = "Clear" if decision is Review.CLEARED else "Confirm"
    if not at_a_terminal():
        raise ActionRefused(
            f"{plural(number, 'object')} would be {decision.value}, and there is no terminal to ask on.",
            hint="Add --yes to decide without asking.",
        )
    agree(f"{verb} {plural(number, 'object')}?")


def _holds(ids: array[int], wanted: int) -> bool:
    place = bisect_left(ids, wanted)
    return place < len(ids) and ids[place] == wanted


def _settle(ledger: Ledger, rows: Iterator[FlaggedRow], decision: Review, note: str) -> int:
    """Decide in chunks, each in its own transaction: an interrupted command continues when it is repeated."""
    settled = 0
    while piece := list(islice(rows, _PIECE)):
        for storage, keys in _by_storage(piece).items():
            ledger.reviews.decide(keys, decision, note=note, storage=storage)
        settled += len(piece)
    return settled


def _by_storage(rows: list[FlaggedRow]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for row in rows:
        keys.setdefault(row.storage, []).append(row.key)
    return keys
