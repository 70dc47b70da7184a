"""What ``estimate`` found out, as text for a person or as JSON for a program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lemmy_safety.cli.output.tables import show_table
from lemmy_safety.cli.output.text import amount, counted, duration, plural, time_range

if TYPE_CHECKING:
    from lemmy_safety.errors import LemmySafetyError
    from lemmy_safety.scan.estimate import Estimate, Projection, Survey
    from lemmy_safety.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was found out. ``estimates`` are in the order of ``sets``; those with a fault have none.

    ``database_fault``: why it is not known what was judged already.
    """

    storage: str
    counted: Survey
    counting_s: float
    start_up_s: dict[str, float]
    configured: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    faults: dict[tuple[str, ...], LemmySafetyError]
    database_fault: LemmySafetyError | None = None

    @property
    def chosen(self) -> Estimate | None:
        """That of the configured detectors, or else the first one."""
        configured = (one for one in self.estimates if one.detectors == self.configured)
        return next(configured, next(iter(self.estimates), None))

    @property
    def saw_no_picture(self) -> bool:
        """Whether nothing in the sample could be judged."""
        return self.chosen is not None and bool(self.chosen.trial.finished) and not self.chosen.trial.counts.checked


def show(report: Report, settings: Settings) -> None:
    """Print everything on stdout."""
    _show_contents(report)
    if not report.counted.sample:
        click.echo("There is nothing to check.")
        return
    _show_sets(report)
    _show_trial(report)
    if report.saw_no_picture:
        click.echo("None of them could be judged. Is this the folder or bucket of pict-rs?")
        return
    for line in advice(report, settings):
        click.echo(line)


def _show_contents(report: Report) -> None:
    found = report.counted
    click.echo(f"{report.storage} holds {plural(found.objects, 'object')}, {amount(found.size)}.")
    if found.too_large:
        click.echo(
            f"{found.too_large:,} of them ({amount(found.size_too_large)}) are larger than LEMMY_SAFETY_MAX_MB and will "
            "not be read."
        )
    if found.variants:
        click.echo(
            f"{found.variants:,} of them ({amount(found.size_variants)}) are other sizes of pictures and will not be read "
            "where the picture is judged clear."
        )
    if found.known:
        click.echo(
            f"{found.known:,} of them ({amount(found.size_known)}) were already judged by the configured detectors and "
            "will not be read again."
        )
    if report.database_fault is not None:
        click.echo(f"How many were already judged is not known: {report.database_fault.message}")


def _show_sets(report: Report) -> None:
    has_rest = bool(report.counted.known)
    headings = ["detectors", "all of it", *(["not judged yet"] if has_rest else []), "objects/s", "limited by"]
    rows = []
    for estimate in report.estimates:
        is_configured = estimate.detectors == report.configured
        rows.append(
            [
                _named(estimate.detectors, is_configured=is_configured),
                _time(estimate.everything),
                *([_time(estimate.rest) if is_configured else ""] if has_rest else []),
                f"{estimate.everything.per_s:.3g}" if estimate.everything else "",
                _limit(estimate),
            ]
        )
    nothing = [""] * (len(headings) - 2)
    rows += [
        [_named(names, is_configured=names == report.configured), "not measured", *nothing] for names in report.faults
    ]
    click.echo()
    show_table(headings, rows)
    click.echo()
    for reason in dict.fromkeys((fault.message, fault.hint) for fault in report.faults.values()):
        click.echo("Not measured: " + " ".join(part for part in reason if part))


def _named(names: tuple[str, ...], *, is_configured: bool) -> str:
    return ", ".join(names) + (" (configured)" if is_configured else "")


def _time(projection: Projection | None) -> str:
    return "unknown" if projection is None else time_range(projection.low_s, projection.high_s)


def _limit(estimate: Estimate) -> str:
    if estimate.everything is not None and estimate.everything.is_rate_limited:
        return "LEMMY_SAFETY_MAX_MBIT"
    return str(estimate.trial.bottleneck or "")


def _show_trial(report: Report) -> None:
    size = report.counted.size_readable
    click.echo(
        f"A first pass reads {amount(size)}. Measured on {plural(len(report.counted.sample), 'object')} at random."
    )
    chosen = report.chosen
    if chosen is not None:
        trial = chosen.trial
        unread = trial.objects - trial.finished
        parts = [
            f"{trial.counts.checked:,} checked",
            counted(trial.counts.unreadable),
            counted(trial.counts.failed),
        ]
        if unread:
            parts.append(f"{unread:,} not reached in time")
        click.echo(f"With {', '.join(chosen.detectors)}: " + ", ".join(part for part in parts if part != "0") + ".")
    click.echo(
        "Once at the start, not included: "
        + ", ".join(f"{name} {duration(seconds)}" for name, seconds in report.start_up_s.items())
        + f"; counting took {duration(report.counting_s)}."
    )


def advice(report: Report, settings: Settings) -> list[str]:
    """What would make a pass with the configured detectors faster."""
    chosen = next((one for one in report.estimates if one.detectors == report.configured), None)
    if chosen is None:
        return []
    cores = os.cpu_count() or 1
    said = {
        "LEMMY_SAFETY_MAX_MBIT": "A higher LEMMY_SAFETY_MAX_MBIT makes it faster, if the line has room.",
        "fetching": (
            f"More connections may help: LEMMY_SAFETY_THREADS (now {settings.threads}). If they do not, the line or the "
            "storage is the limit: run lemmy-safety closer to it."
        ),
        "decoding": (
            f"More decoders may help: LEMMY_SAFETY_DECODE_WORKERS (now {settings.decode_workers or min(cores, 8)}, on "
            f"{plural(cores, 'core')}). If there are as many as cores, only a faster machine helps."
        ),
        "judging": _about_models(report.configured),
    }
    text = said.get(_limit(chosen))
    return [text] if text else []


def _about_models(names: tuple[str, ...]) -> str:
    if "clip" in names:
        return (
            "The models are the limit. A graphics card helps most; on a CPU, the extra openvino (docs/speed.md). Or begin "
            "with fewer detectors: the others can follow later, and hashes alone find known images."
        )
    return "The models are the limit. Or begin with fewer detectors: the others can follow later."


def as_json(report: Report) -> dict[str, Any]:
    """Plain JSON types. Times are in seconds, sizes in bytes."""
    found = report.counted
    return {
        "storage": report.storage,
        "objects": found.objects,
        "bytes": found.size,
        "too_large": found.too_large,
        "variants": found.variants,
        "bytes_too_large": found.size_too_large,
        "known": found.known,
        "known_fault": report.database_fault.message if report.database_fault else None,
        "bytes_known": found.size_known if found.known is not None else None,
        "bytes_to_read": found.size_readable,
        "counting_s": round(report.counting_s, 3),
        "sample": len(found.sample),
        "start_up_s": {name: round(seconds, 3) for name, seconds in report.start_up_s.items()},
        "sets": [
            *(_set_as_json(one, is_configured=one.detectors == report.configured) for one in report.estimates),
            *(
                {"detectors": list(names), "configured": names == report.configured, "not_measured": fault.message}
                for names, fault in report.faults.items()
            ),
        ],
    }


def _set_as_json(estimate: Estimate, *, is_configured: bool) -> dict[str, Any]:
    trial = estimate.trial
    return {
        "detectors": list(estimate.detectors),
        "configured": is_configured,
        "not_measured": None,
        "everything": _projection_as_json(estimate.everything),
        "rest": _projection_as_json(estimate.rest) if is_configured else None,
        "limited_by": _limit(estimate) or None,
        "measured": trial.finished,
        "measured_s": round(trial.seconds, 3),
        "checked": trial.counts.checked,
        "unreadable": dict(trial.counts.unreadable),
        "failed": dict(trial.counts.failed),
    }


def _projection_as_json(projection: Projection | None) -> dict[str, float] | None:
    if projection is None:
        return None
    return {
        "low_s": _rounded(projection.low_s),
        "high_s": _rounded(projection.high_s),
        "objects_per_s": _rounded(projection.per_s),
    }


def _rounded(number: float) -> float:
    """Four digits, wherever they are: a small store takes milliseconds, a large one days."""
    return float(f"{number:.4g}")
