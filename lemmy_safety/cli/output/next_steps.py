"""What to do next: commands in the order in which a person would run them. The only module that makes such lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from lemmy_safety.records import ActionState, Review

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.scan.progress import PassSummary


class Step(NamedTuple):
    """A command, or a few words where no command helps, and what it is for."""

    do: str
    purpose: str


#: The first evening, in the order of its steps.
TEMPLATE = Step("lemmy-safety env-example -o .env", "write a template of the settings, then fill in one storage")
DOCTOR = Step("lemmy-safety doctor", "find every fault of the set-up, with its fix")
ESTIMATE = Step("lemmy-safety estimate", "see how long the next step takes on this machine")
DRY_RUN = Step("lemmy-safety --all --dry-run", "judge everything, delete nothing")
SEE = Step("lemmy-safety flagged", "see what is flagged, and why")
KEEP = Step("lemmy-safety review clear KEY", "keep a false positive, for good")
DELETE_REST = Step("lemmy-safety delete-flagged", "delete the rest; it asks first")
WATCH = Step("lemmy-safety", "from now on: check what is newly uploaded")
FIRST_EVENING = (TEMPLATE, DOCTOR, ESTIMATE, DRY_RUN, SEE, KEEP, DELETE_REST, WATCH)

#: About a picture that would take others with it.
SEE_PICTURE = Step("lemmy-safety picture KEY", "see the names in URLs that would go with one")
CONFIRM = Step("lemmy-safety review confirm KEY", "let one go; the next pass removes it")

#: About what was deleted before pict-rs could be told.
REPAIR = Step("lemmy-safety repair", "purge them from pict-rs; it asks first")
REPAIR_ALL = Step("lemmy-safety repair --all-missing", "purge them from pict-rs; it asks first")
REPAIR_APPROVED = Step("lemmy-safety repair", "at a terminal: see what waits, and approve it")
REPAIR_AGAIN = Step("lemmy-safety repair", "try again, when that is fixed; it finishes what was begun")
SEE_PICTRS = Step("lemmy-safety doctor", "check that pict-rs answers and may remove pictures")

#: What may come between them.
RESUME = Step("lemmy-safety resume", "approve deleting the rest, and reset the circuit breaker")
DELETE_APPROVED = Step("lemmy-safety delete-flagged", "delete now what you approved, or wait for the next pass")
SEE_WHY = Step("lemmy-safety flagged", "see why they were not deleted")
MAY_DELETE = Step("lemmy-safety doctor", "check that the account may delete, and that pict-rs answers")
DELETE_AGAIN = Step("lemmy-safety delete-flagged", "try again, when that is fixed")
UNREADABLE = Step("lemmy-safety unreadable", "see what could not be judged, and why")
READ_AGAIN = Step("lemmy-safety recheck --unreadable", "read them again, when the cause is fixed")
TAKE_OFF = Step("lemmy-safety review clear KEY", "take one off this list, if it can stay as it is")
FIX = Step("fix the faults above", "in their order: one can be the cause of those below it")
CHECK_AGAIN = Step("lemmy-safety doctor", "check again")
SAME_AGAIN = Step("the same command again", "continues where this one stopped")


def show_next(steps: Iterable[Step], *, err: bool = False) -> None:
    """Print the steps as a numbered list; nothing if there are none."""
    listed = list(steps)
    width = max((len(step.do) for step in listed), default=0)
    if listed:
        click.echo("\nNext:", err=err)
    for number, step in enumerate(listed, start=1):
        click.echo(f"  {number}. {step.do.ljust(width)}  {step.purpose}", err=err)


def as_hint(steps: Iterable[Step]) -> str:
    """The steps as the hint of an error."""
    return "\n".join(f"{number}. {step.do}: {step.purpose}" for number, step in enumerate(steps, start=1))


def after_pass(summary: PassSummary, *, action: str) -> list[Step]:
    """What to do after a pass over everything. ``action``: what passes do about flagged objects."""
    steps = [SAME_AGAIN] if summary.stopped else []
    left_alone = summary.dry_run or action == "report"
    left = summary.flagged - summary.acted
    if left_alone and (left > 0 or summary.skipped):
        steps += [SEE, KEEP, DELETE_REST] if left > 0 else [Step(SEE.do, "see what earlier passes flagged")]
    elif summary.held:
        steps += [SEE, KEEP, RESUME]
    elif summary.asks:
        steps += [SEE, SEE_PICTURE, CONFIRM, KEEP]
    elif summary.not_carried_out:
        steps += [SEE_WHY, MAY_DELETE, DELETE_AGAIN]
    elif left > 0 and not summary.stopped:
        steps.append(SEE_WHY)
    if summary.unreadable or summary.failed:
        steps.append(UNREADABLE)
    if summary.dry_run and summary.complete:
        steps.append(WATCH)
    return steps


def after_list(rows: Sequence[FlaggedRow], *, breaker_is_tripped: bool) -> list[Step]:
    """What to do about listed flags; nothing about those that were acted on or cleared."""
    still_there = [row for row in rows if row.action_state is not ActionState.DONE and row.review is not Review.CLEARED]
    if not still_there:
        return []
    refused = any(row.action_state is ActionState.FAILED for row in still_there)
    asks = any(row.asks for row in still_there)
    rest = [RESUME if breaker_is_tripped else DELETE_REST] if not all(row.asks for row in still_there) else []
    return [*([MAY_DELETE] if refused else []), *([SEE_PICTURE, CONFIRM] if asks else []), KEEP, *rest]


def after_deletion(*, held: int, asks: int, left: int) -> list[Step]:
    """What to do after ``delete-flagged``: about what the circuit breaker held, what asks, or what else is left."""
    if held:
        return [SEE, KEEP, RESUME, DELETE_APPROVED]
    if asks:
        return [SEE, SEE_PICTURE, CONFIRM, KEEP]
    return [SEE_WHY, MAY_DELETE, DELETE_AGAIN] if left else []


def after_repair(*, held: int, asks: int, left: int) -> list[Step]:
    """What to do after ``repair``: about what waits for a person, or what else is left."""
    if held or asks:
        return [REPAIR_APPROVED]
    return [SEE_PICTRS, REPAIR_AGAIN] if left else []


def after_recheck(*, flagged: int, unread: int, complete: bool) -> list[Step]:
    """What to do after ``recheck``, which deletes nothing."""
    return [
        *([] if complete else [SAME_AGAIN]),
        *([SEE, KEEP, DELETE_REST] if flagged else []),
        *([UNREADABLE] if unread else []),
    ]
