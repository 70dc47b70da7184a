"""``lemmy-safety flagged``: what is flagged and not yet acted on, as table, JSON or CSV.

The JSON is a list of rows; ``as_json`` says what a row holds. Fields are only ever added.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.commands.database import existing_ledger
from lemmy_safety.cli.input.flag_reasons import counted_by
from lemmy_safety.cli.input.invocation import current, settings_options
from lemmy_safety.cli.output.tables import form_options, show_table, write_csv
from lemmy_safety.cli.output.text import iso, plural, printable, write_json
from lemmy_safety.records import ItemStatus, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.cli.input.flag_reasons import By
    from lemmy_safety.cli.input.invocation import Invocation
    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.records import Finding

_CSV_HEADER = ("key", "checked_at", "why", "action_state", "action_detail", "review", "sha256", "storage")


#: Most reasons listed for objects that could not be judged, the most common first.
_MOST_REASONS = 10

#: What a row says about its medium, besides its anomalies.
_MEDIUM = ("media_type", "width", "height", "frame_count", "duration_s")


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
    if form == "json":
        write_json([as_json(row) for row in rows])
    elif form == "csv":
        write_csv(_CSV_HEADER, (_csv_cells(row) for row in rows))
    else:
        show_rows(rows)
        if unchecked:
            click.echo(
                f"{plural(unchecked, 'upload')} accepted unchecked and not judged yet; the next pass looks first."
            )
        if reasons:
            _show_unjudged(reasons)


def _show_unjudged(reasons: Counter[str]) -> None:
    """So that "nothing is flagged" is not mistaken for "all is clear"."""
    click.echo(f"{plural(reasons.total(), 'object')} could not be judged (see lemmy-safety unreadable):")
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


def storage_filter(invocation: Invocation) -> str | None:
    """The name in the ledger of the storage that ``--storage`` chooses, or None without the flag."""
    if "storage" not in invocation.flags:
        return None
    from lemmy_safety import wiring  # noqa: PLC0415 - heavy

    return wiring.build_storage(invocation.settings()).name


def why(row: FlaggedRow) -> str:
    """The findings that count and where in the file, such as ``hashes: canary (frame 412 at 13.7 s); clip: ...``."""
    hits = sorted(
        {f"{finding.detector}: {finding.label}{place(finding)}" for finding in row.assessment.findings if finding.hit}
    )
    if hits:
        return "; ".join(hits)
    return "flagged by the earlier tool, reason not kept" if row.origin == "ancestor" else "no single finding"


def place(finding: Finding) -> str:
    """Where in the file a finding was made, in brackets; empty for the whole first frame."""
    parts = []
    if finding.at_s is not None and (finding.frame or finding.at_s):
        parts.append(f"frame {finding.frame} at {finding.at_s:.1f} s")
    elif finding.frame:
        parts.append(f"frame {finding.frame}")
    if finding.view:
        parts.append(finding.view)
    return f" ({', '.join(parts)})" if parts else ""


def state(row: FlaggedRow) -> str:
    """What was done about it, in a few words."""
    words = {
        "none": "nothing yet (dry run)" if row.dry_run else "nothing yet",
        "intended": f"{row.action_wanted} is due",
        "done": f"{row.action_wanted} done",
        "refused": f"{row.action_wanted} refused",
        "failed": f"{row.action_wanted} failed",
        "unknown": "unknown",
    }[row.action_state.value]
    if row.refusals > 1:
        words += f" ({row.refusals:,} times)"
    if row.action_detail and row.action_state.value != "done":
        words += f": {row.action_detail}"
    if row.assessment.outcome is not None and row.assessment.status not in (ItemStatus.CHECKED, ItemStatus.GONE):
        words += f"; could not be read again since: {row.assessment.reason}"
    return words


def as_json(row: FlaggedRow) -> dict[str, Any]:
    """One row as plain JSON types; times are ISO 8601 in UTC."""
    known = row.assessment.as_dict()
    verdict = known["verdict"] or {"outcome": None, "outcomes": {}, "nsfw": None, "rules_version": ""}
    info = known["info"] or {"anomalies": [], **dict.fromkeys(_MEDIUM)}
    return {
        "id": row.id,
        "storage": row.storage,
        "key": row.key,
        "checked_at": iso(row.checked_at),
        "status": known["status"],
        "reason": known["reason"],
        "decoder_broke": known["decoder_broke"],
        "to_be_read": row.to_be_read,
        "failed_passes": row.failed_passes,
        "outcome": verdict["outcome"],
        "outcomes": verdict["outcomes"],
        "nsfw": verdict["nsfw"],
        "why": why(row),
        "findings": [{**asdict(finding), "hit": finding.hit} for finding in row.assessment.findings],
        "detectors": known["detectors"],
        "rules_version": verdict["rules_version"],
        "sha256": known["sha256"],
        "size": row.obj.size if row.obj else None,
        "modified_at": iso(row.obj.modified_at) if row.obj else None,
        **{name: info[name] for name in (*_MEDIUM, "anomalies")},
        "reused_from": row.reused_from,
        "dry_run": row.dry_run,
        "action_wanted": row.action_wanted,
        "action_state": row.action_state.value,
        "action_at": iso(row.action_at),
        "action_detail": row.action_detail,
        "action_refusals": row.refusals,
        "review": row.review.value,
        "review_note": row.review_note,
        "review_at": iso(row.review_at),
        "origin": row.origin.value,
    }


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


def show_rows(rows: Sequence[FlaggedRow]) -> None:
    """Print the rows for a person."""
    if not rows:
        click.echo("Nothing is flagged.")
        return
    reviewed = any(row.review is not Review.NONE for row in rows)
    several = len({row.storage for row in rows}) > 1
    show_table(
        ("judged (UTC)", "key", "possible because", "action", *["review"] * reviewed, *["storage"] * several),
        (
            (
                row.checked_at.strftime("%Y-%m-%d %H:%M"),
                row.key,
                why(row),
                state(row),
                *[f"{row.review.value} {row.review_note}".strip()] * reviewed,
                *[row.storage] * several,
            )
            for row in rows
        ),
    )
    cleared = sum(row.review is Review.CLEARED for row in rows)
    click.echo(
        f"{plural(len(rows), 'object')} flagged as possible{f', {cleared:,} of them cleared' if cleared else ''}."
    )
