"""What a recorded object is called in a list: why it is flagged, what was done about it, and all of it as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.output.tables import show_table
from lemmy_safety.cli.output.text import iso, plural
from lemmy_safety.records import ItemStatus, Review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lemmy_safety.ledger import FlaggedRow
    from lemmy_safety.records import Finding

#: What a row says about its medium, besides its anomalies.
_MEDIUM = ("media_type", "width", "height", "frame_count", "duration_s")


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
