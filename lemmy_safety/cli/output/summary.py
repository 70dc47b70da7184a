"""The end of a pass, as a table for a person or as JSON for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lemmy_safety.cli.output.text import amount, counted, plural, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lemmy_safety.records import ScreenStatistics
    from lemmy_safety.scan.progress import PassSummary


def summary_lines(summary: PassSummary) -> list[tuple[str, str]]:
    """Label and text of each line, in the order they are shown."""
    reused = f" ({summary.reused:,} by the same bytes seen before)" if summary.reused else ""
    acted = f"{summary.acted:,}"
    if summary.dry_run:
        acted += " (dry run: the storage was left alone)"
    elif summary.purged:
        acted += f" ({plural(summary.purged, 'picture')} removed through pict-rs, with {_aliases(summary.aliases)})"
    lines = [
        ("seen", f"{summary.seen:,}"),
        ("skipped, unchanged", f"{summary.skipped:,}"),
        ("checked", f"{summary.checked:,}{reused}"),
        ("flagged as possible", f"{summary.flagged:,}"),
        ("acted on", acted),
        ("unreadable", counted(summary.unreadable)),
        *_why(summary, summary.unreadable),
        ("failed, will retry", counted(summary.failed)),
        *_why(summary, summary.failed),
        ("read", amount(summary.bytes_read)),
        ("speed", f"{summary.images_per_s:.1f} images/s over {summary.seconds:.1f} s"),
        ("detectors", ", ".join(summary.detectors)),
    ]
    optional = [
        ("other sizes of pictures judged clear", summary.variants),
        ("borderline", summary.borderline),
        ("not acted on, changed meanwhile", summary.refused),
        ("not acted on, refused by the storage", summary.action_failed),
        ("not acted on, storage or pict-rs not reached", summary.action_postponed),
        ("deleted as files only", summary.as_files),
        ("being removed by pict-rs", summary.removing),
        ("refused again and again", summary.stuck),
        ("waiting for a person", summary.held),
        ("waiting for a decision on each", summary.asks),
        ("still being written", summary.waiting),
    ]
    lines[4:4] = [(label, f"{number:,}") for label, number in optional if number]
    if summary.screen:
        lines.append(("screen", screen_in_words(summary.screen)))
    lines += [("note", note) for note in summary.notes]
    return lines


def _aliases(number: int) -> str:
    return "1 alias" if number == 1 else f"{number:,} aliases"


def _why(summary: PassSummary, numbers: Mapping[str, int]) -> list[tuple[str, str]]:
    """A line for each status: the most common reason, and how many have it."""
    lines = []
    for status, number in sorted(numbers.items()):
        reason = summary.reasons.get(status)
        if reason is not None:
            share = "" if reason.number == number else f" ({reason.number:,} of {number:,})"
            lines.append((f"  {status.replace('_', ' ')} because", f"{printable(reason.text)}{share}"))
    return lines


def screen_in_words(screen: ScreenStatistics) -> str:
    """How much the fast screen saved, and the error bound within which it was trusted."""
    allowed = ", ".join(f"{stage.name} within {stage.error_bound:.4f}" for stage in screen.stages if stage.in_use)
    return (
        f"{screen.cleared:,} of {screen.screened:,} frames proven clear{f' ({allowed})' if allowed else ''}, "
        f"{screen.confirmed:,} judged by the reference, {screen.watched:,} of the clear ones as well"
    )


def show_summary(summary: PassSummary) -> None:
    """Print the table on stdout."""
    rows = summary_lines(summary)
    width = max(len(label) for label, _ in rows)
    how = "stopped before the end" if summary.stopped else "complete" if summary.complete else "incomplete"
    if summary.failed:
        how += f", and {plural(sum(summary.failed.values()), 'object')} could not be checked"
    click.echo(f"Pass {summary.run_id}: {how}")
    for label, text in rows:
        click.echo(f"  {label.ljust(width)}  {text}")
