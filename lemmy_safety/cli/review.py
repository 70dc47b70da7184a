"""``lemmy-safety review``: a human's decision about flagged objects."""

from __future__ import annotations

import click

from lemmy_safety.cli.database import existing_ledger
from lemmy_safety.cli.flagged import storage_filter
from lemmy_safety.cli.invocation import current, settings_options
from lemmy_safety.cli.keys import chosen_keys, unknown_keys
from lemmy_safety.cli.text import plural, printable
from lemmy_safety.records import Review


@click.group()
def review() -> None:
    """Record what a human decided about flagged objects."""


@review.command()
@settings_options()
@click.option("--note", default="", help="Why; kept with the decision.")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def clear(keys: tuple[str, ...], note: str) -> None:
    """A false positive: never act on KEY, nor on the same bytes under another key. "-" reads keys from stdin."""
    _decide(Review.CLEARED, keys, note)


@review.command()
@settings_options()
@click.option("--note", default="", help="Why; kept with the decision.")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def confirm(keys: tuple[str, ...], note: str) -> None:
    """Rightly flagged: KEY may be acted on. "-" reads keys from stdin, one a line."""
    _decide(Review.CONFIRMED, keys, note)


def _decide(decision: Review, arguments: tuple[str, ...], note: str) -> None:
    keys = chosen_keys(arguments)
    invocation = current()
    with existing_ledger(invocation.settings()) as ledger:
        result = ledger.review(keys, decision, note=note, storage=storage_filter(invocation))
    several = len({row.storage for row in result.changed}) > 1
    for row in result.changed:
        where = f"  in {printable(row.storage)}" if several else ""
        click.echo(f"  {decision.value}  {printable(row.key)}{where}")
    click.echo(f"{plural(len(result.changed), 'object')} {decision.value}.")
    if result.unknown:
        raise unknown_keys(result.unknown, "Not in the database, so nothing was recorded for")
