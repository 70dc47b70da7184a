"""``lemmy-safety recheck``: judge the selected objects again, without any action."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.input.asking import asker
from lemmy_safety.cli.input.database import existing_ledger
from lemmy_safety.cli.input.flag_filter import Name
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.input.keys import chosen_keys, unknown_keys
from lemmy_safety.cli.input.since import Since
from lemmy_safety.cli.output.failures import warn
from lemmy_safety.cli.output.flag_reasons import reasons
from lemmy_safety.cli.output.logs import forbid_core_dumps, set_up_logging
from lemmy_safety.cli.output.next_steps import after_recheck, show_next
from lemmy_safety.cli.output.progress import progress
from lemmy_safety.cli.output.text import counted, plural, write_json
from lemmy_safety.cli.process.starting import INTERRUPTED
from lemmy_safety.cli.process.stopping import StopSignals
from lemmy_safety.errors import ObjectsUnchecked

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from lemmy_safety.ledger import FlaggedRow, Ledger
    from lemmy_safety.policy import Policy
    from lemmy_safety.scan import PassSummary, Scanner

#: Objects of one pass. On a CPU they take less than half a minute, which is how long the daemon waits for its turn.
_PIECE = 100

#: A gap between two passes, in which the daemon, which asks twice a second, gets its turn.
_GAP_S = 1.2

#: A recheck that was stopped longer ago starts again from the beginning.
_CONTINUED_WITHIN = timedelta(days=1)

_BEGAN = "began"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to judge again: the keys, or else what the filters select."""

    keys: tuple[str, ...] = ()
    since: datetime | None = None
    detectors: frozenset[str] = frozenset()
    unreadable: bool = False

    @property
    def filters(self) -> bool:
        return self.since is not None or bool(self.detectors) or self.unreadable

    def of(self, ledger: Ledger, storage: str, policy: Policy, *, before: datetime) -> Iterator[str]:
        """The keys that were last checked before that time."""
        if self.keys:
            return iter(self.keys)
        if not self.detectors and not self.unreadable and self.since is not None:
            return ledger.rechecks.since(storage, self.since, before=before)
        rows = ledger.reviews.unjudged(storage=storage) if self.unreadable else ledger.reviews.flagged(storage=storage)
        return (row.key for row in rows if row.checked_at < before and self._means(row, policy))

    def _means(self, row: FlaggedRow, policy: Policy) -> bool:
        if self.since is not None and row.checked_at < self.since:
            return False
        return self.unreadable or any(finding.detector in self.detectors for finding in reasons(row, policy))


@dataclass(slots=True)
class Outcome:
    """What all passes of a recheck found, in objects."""

    rechecked: int = 0
    flagged: int = 0
    newly_flagged: int = 0
    no_longer_flagged: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    complete: bool = False

    def add(self, summary: PassSummary, before: set[str], after: set[str]) -> None:
        self.rechecked += summary.seen
        self.flagged += len(after)
        self.newly_flagged += len(after - before)
        self.no_longer_flagged += len(before - after)
        self.unreadable = _sum(self.unreadable, summary.unreadable)
        self.failed = _sum(self.failed, summary.failed)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


@click.command(short_help="Judge again what is named, without acting on it.")
@settings_options()
@click.option("--since", type=Since(), help="What was last checked from WHEN on: 12h, 7d, or 2026-11-30T08:00 (UTC).")
@click.option("--detector", "detectors", type=Name(), multiple=True, help="What NAME flagged; repeatable.")
@click.option("--unreadable", is_flag=True, help="What could not be judged: the list of 'lemmy-safety unreadable'.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@click.pass_context
def recheck(
    ctx: click.Context,
    keys: tuple[str, ...],
    since: datetime | None,
    detectors: tuple[str, ...],
    *,
    unreadable: bool,
    as_json: bool,
) -> None:
    """Read and judge again the KEYs named ("-" reads them from stdin, one a line), or what the filters choose.

    Unchanged objects too. Verdicts are recorded, and nothing is deleted. It works alongside the daemon. After an
    interruption the same command goes on where it stopped.
    """
    choice = Choice(keys=tuple(chosen_keys(keys)), since=since, detectors=frozenset(detectors), unreadable=unreadable)
    if bool(choice.keys) is choice.filters or (choice.detectors and choice.unreadable):
        raise click.UsageError("Name KEYs, or choose with --since and one of --detector and --unreadable.")
    outcome = _recheck(choice, quiet=as_json)
    if as_json:
        write_json(dataclasses.asdict(outcome))
    else:
        _show(outcome)
    if not outcome.complete:
        ctx.exit(INTERRUPTED)
    if outcome.failed:
        ctx.exit(ObjectsUnchecked.exit_code)


def _recheck(choice: Choice, *, quiet: bool) -> Outcome:
    invocation = current()
    # No action, and no loaded model before there is something to judge.
    settings = dataclasses.replace(invocation.settings(), action="report", dry_run=False, all=False, prefix="")
    set_up_logging(debug=settings.debug, redaction=invocation.redaction, quiet=quiet or None)
    forbid_core_dumps()
    from lemmy_safety import wiring  # noqa: PLC0415 - brings in the storage and detector libraries

    with existing_ledger(settings) as ledger:
        storage = wiring.build_storage(settings).name
        if unknown := set(choice.keys) - ledger.rechecks.there(storage, choice.keys):
            raise unknown_keys(unknown, "Not on record for this storage, deleted or gone")
    with (
        StopSignals() as signals,
        progress() as listener,
        wiring.open_scanner(settings, stop=signals.event, listener=listener, ask_passphrase=asker()) as scanner,
    ):
        return _in_pieces(scanner, choice, wiring.build_policy(settings), signals.event)


def _in_pieces(scanner: Scanner, choice: Choice, policy: Policy, stop: threading.Event) -> Outcome:
    """Short passes with gaps: each has the storage for itself, and the daemon must not wait for all of them."""
    from lemmy_safety.ledger import RECHECK  # noqa: PLC0415 - SQLAlchemy is heavy
    from lemmy_safety.records import UNKNOWN_TIME  # noqa: PLC0415
    from lemmy_safety.scan import PassRequest  # noqa: PLC0415

    ledger, storage, outcome = scanner.ledger, scanner.storage.name, Outcome()
    scope = _scope(scanner, choice)
    began = _begin(ledger, scope)
    chosen = choice.of(ledger, storage, policy, before=began)
    while piece := list(islice(chosen, _PIECE)):
        if outcome.rechecked and stop.wait(_GAP_S):
            return outcome
        before = ledger.rechecks.flagged(storage, piece)
        summary = scanner.run(PassRequest(kind=RECHECK, exhaustive=False, keys=tuple(piece)))
        outcome.add(summary, before, ledger.rechecks.flagged(storage, piece))
        if summary.stopped:
            return outcome
    ledger.passes.set_cursor(scope, _BEGAN, UNKNOWN_TIME)  # done: the same command starts again from the beginning
    outcome.complete = True
    return outcome


def _begin(ledger: Ledger, scope: str) -> datetime:
    """When this recheck began: earlier if it was stopped before. What was checked since then is done."""
    now = ledger.database.now()
    began = ledger.passes.cursor(scope, _BEGAN)
    if began is not None and now - _CONTINUED_WITHIN < began <= now:
        return began
    ledger.passes.set_cursor(scope, _BEGAN, now)
    return now


def _scope(scanner: Scanner, choice: Choice) -> str:
    """Identifies the same command, to continue where it stopped. With other detectors or versions it starts again."""
    what: Sequence[Any] = (sorted(choice.detectors), choice.unreadable, scanner.engine.detector_versions)
    return f"recheck|{scanner.storage.name}|{what}"


def _show(outcome: Outcome) -> None:
    parts = [
        f"{outcome.flagged:,} flagged as possible",
        f"{outcome.newly_flagged:,} of them newly" if outcome.newly_flagged else "",
        f"{outcome.no_longer_flagged:,} no longer flagged" if outcome.no_longer_flagged else "",
        counted(outcome.unreadable) if outcome.unreadable else "",
        f"{counted(outcome.failed)} (to be tried again)" if outcome.failed else "",
    ]
    click.echo(f"{plural(outcome.rechecked, 'object')} judged again: {', '.join(part for part in parts if part)}.")
    if outcome.flagged:
        click.echo("This command deletes nothing. A later pass with action delete deletes what is flagged.")
    if not outcome.complete:
        warn("Stopped before the end.")
    show_next(
        after_recheck(
            flagged=outcome.flagged, unread=len(outcome.unreadable) + len(outcome.failed), complete=outcome.complete
        )
    )
