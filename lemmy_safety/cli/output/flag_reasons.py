"""Why rows are flagged, counted by label, detector or score."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import click

from lemmy_safety.cli.output.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import Finding

By = Literal["label", "detector", "score"]

#: Scores are counted in tenths.
_BANDS = 10

_UNKNOWN = "not kept"


def reasons(row: FlaggedRow, policy: Policy) -> list[Finding]:
    """The findings that alone flag the row; all hits if it was flagged by rules other than today's."""
    hits = [finding for finding in row.assessment.findings if finding.hit]
    return [finding for finding in hits if policy.flags(finding)] or hits


def counted_by(rows: Iterable[FlaggedRow], by: By, policy: Policy) -> tuple[int, dict[str, int]]:
    """How many rows there are, and how many for each label, detector or score range, the most frequent first.

    A row with several reasons counts for each label and detector, and for its highest score.
    """
    total, counts = 0, Counter[str]()
    for row in rows:
        total += 1
        found = reasons(row, policy)
        counts.update(_names(found, by) or {_UNKNOWN})
    return total, dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _names(found: list[Finding], by: By) -> set[str]:
    if by == "label":
        return {f"{finding.detector}: {finding.label}" for finding in found}
    if by == "detector":
        return {finding.detector for finding in found}
    return {_band(max(finding.score for finding in found))} if found else set()


def _band(score: float) -> str:
    low = min(int(score * _BANDS), _BANDS - 1)
    return f"{low / _BANDS:.1f} to {(low + 1) / _BANDS:.1f}"


def show_counts(rows: Sequence[FlaggedRow], policy: Policy) -> None:
    """What would be acted on, by detector, by label and by score: a wrong list or threshold is visible there."""
    flagged = [row for row in rows if row.assessment.outcome is not None]
    click.echo(f"{plural(len(flagged), 'flagged object')} waiting to be deleted", err=True)
    for by in ("detector", "label", "score"):
        _, counts = counted_by(flagged, by, policy)
        for name, number in counts.items():
            click.echo(f"  {f'by {by}':12}  {number:>9,}  {name}", err=True)
    if unreadable := len(rows) - len(flagged):
        click.echo(f"{plural(unreadable, 'unreadable object')} waiting to be deleted", err=True)
