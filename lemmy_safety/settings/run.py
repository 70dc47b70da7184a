"""Options: what a run does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lemmy_safety.pauses import why_no_pauses
from lemmy_safety.settings.option import option

SECTION = "What a run does"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run does."""

    all: bool = option(
        False,
        "Check everything in the storage once, then exit. Without it: run as a daemon.",
        kind=bool,
        section=SECTION,
        flag=True,
    )
    minutes: int = option(
        20,
        "Daemon: check what was uploaded in the last N minutes, each time.",
        kind=int,
        section=SECTION,
        flag=True,
        short="-m",
        minimum=1,
        maximum=525_600,
    )
    interval_s: float = option(
        30.0,
        "Daemon: seconds of rest between the end of one pass and the start of the next.",
        kind=float,
        section=SECTION,
        minimum=0.1,
        maximum=86_400,
    )
    full_listing_hours: float = option(
        24.0,
        "Daemon: hours between passes that list every key, also those outside pict-rs's time-ordered scheme.",
        kind=float,
        section=SECTION,
        minimum=0.01,
        maximum=8760,
    )
    pause: tuple[str, ...] = option(
        (),
        "Hours in which sweeps and the daemon's listings of every key pause, as 22:00-07:00, separated by commas; local "
        "time, that of TZ if it is set. New uploads are checked all the same.",
        kind=tuple,
        section=SECTION,
        refuse=why_no_pauses,
        refuse_hint="Write local times as in 22:00-07:00, several periods separated by commas.",
        example="22:00-07:00",
    )
    dry_run: bool = option(
        False,
        "Record what would be done and do nothing to the storage.",
        kind=bool,
        section=SECTION,
        flag=True,
        brake=True,
    )
    action: str = option(
        "delete",
        "What is done with a flagged object; report only records it, and then nothing else is deleted either.",
        kind=str,
        section=SECTION,
        flag=True,
        choices=("delete", "report"),
        brake=True,
    )
    unreadable_action: str = option(
        "report",
        "What is done with an object that no decoder can read; report only records it.",
        kind=str,
        section=SECTION,
        env=("UNREADABLE_ACTION",),
        choices=("report", "delete"),
    )
    anomaly_flags: tuple[str, ...] = option(
        (),
        "Oddities of a file that flag it by themselves, separated by commas; without any they are only recorded.",
        kind=tuple,
        section=SECTION,
        env=("ANOMALY_FLAGS",),
        choices=(
            "trailing_data",
            "embedded_picture",
            "embedded_file",
            "oversized_metadata",
            "other_thumbnail",
            "lying_extension",
            "frames_left_out",
        ),
    )
    max_actions_per_day: int = option(
        200,
        "How many images may be deleted in a day (UTC) without a person. Past it nothing is deleted until 'resume'.",
        kind=int,
        section=SECTION,
        minimum=1,
        maximum=100_000_000,
        brake=True,
    )
    max_action_share: float = option(
        2.0,
        "How many percent of the images that a pass has checked it may delete; of 1,000 if it has checked fewer.",
        kind=float,
        section=SECTION,
        minimum=0.001,
        maximum=100,
        brake=True,
    )
    max_first_actions: int = option(
        20,
        "How many images may be deleted in all until a person has decided once (resume, review or delete-flagged).",
        kind=int,
        section=SECTION,
        minimum=1,
        maximum=100_000_000,
        brake=True,
    )
    skip_unreadable: bool = option(
        False,
        "Never delete what cannot be read, whatever UNREADABLE_ACTION says.",
        kind=bool,
        section=SECTION,
        flag=True,
    )
    threads: int = option(
        10,
        "How many objects are fetched at the same time.",
        kind=int,
        section=SECTION,
        flag=True,
        short="-t",
        minimum=1,
        maximum=256,
    )
    exit_code_flagged: int = option(
        0,
        "Exit code of --all when something was flagged.",
        kind=int,
        section=SECTION,
        flag=True,
        minimum=0,
        maximum=255,
    )
    fault_file: Path | None = option(
        None,
        "For containers: a service with a fault that only a person can fix writes it to this file and waits to be stopped, "
        "instead of ending and being started again.",
        kind=Path,
        section=SECTION,
        example="/tmp/fault",  # noqa: S108 - in a container that is its own
    )
    debug: bool = option(False, "Show tracebacks and every step.", kind=bool, section=SECTION, flag=True)
