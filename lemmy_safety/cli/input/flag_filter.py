"""Chooses flagged rows by label, detector, score or time: the filters of ``review`` and ``recheck``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.since import Since
from lemmy_safety.cli.output.flag_reasons import reasons

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.policy import Policy
    from lemmy_safety.records import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagFilter:
    """Selects flagged rows. An unset field matches everything."""

    labels: frozenset[str] = frozenset()
    detectors: frozenset[str] = frozenset()
    score_below: float | None = None
    since: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.labels or self.detectors) and self.score_below is None and self.since is None

    def matches(self, row: FlaggedRow, policy: Policy) -> bool:
        """Whether every reason for the flag matches: a row that also has another reason is left out."""
        if self.since is not None and row.checked_at < self.since:
            return False
        if not (self.labels or self.detectors) and self.score_below is None:
            return True
        found = reasons(row, policy)
        return bool(found) and all(self._means(finding) for finding in found)

    def _means(self, finding: Finding) -> bool:
        return (
            (not self.labels or finding.label in self.labels or f"{finding.detector}:{finding.label}" in self.labels)
            and (not self.detectors or finding.detector in self.detectors)
            and (self.score_below is None or finding.score < self.score_below)
        )


class Name(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A name to filter by. An empty one is an error: a shell variable was probably not set."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail("it is empty.", param, ctx)
        return str(value)


class Score(click.FloatRange):
    """A score from 0 to slightly above 1, so that a score of 1 can be selected, too."""

    def __init__(self) -> None:
        super().__init__(0, 1.000001)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        score = float(super().convert(value, param, ctx))
        if math.isnan(score):  # below and above no bound
            self.fail(f"{value!r} is not a score.", param, ctx)
        return score


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the four filters, as the arguments of ``FlagFilter``."""
    for option in (
        click.option("--since", type=Since(), help="Flagged at or after WHEN: 12h, 7d, or 2026-11-30T08:00 (UTC)."),
        click.option("--score-below", type=Score(), metavar="SCORE", help="No reason scores SCORE or more."),
        click.option("--detector", "detectors", type=Name(), multiple=True, help="Flagged by NAME alone; repeatable."),
        click.option("--label", "labels", type=Name(), multiple=True, help="Flagged for NAME alone; repeatable."),
    ):
        command = option(command)
    return command
