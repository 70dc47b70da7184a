"""Progress lines, bars and summaries."""

from __future__ import annotations

import io
import logging

from rich.console import Console
from rich.progress import Progress, TextColumn

from lemmy_safety.cli.progress import BarProgress, LogProgress, in_words
from lemmy_safety.cli.summary import show_summary, summary_lines
from lemmy_safety.records import ScreenStatistics, StageStatistics
from lemmy_safety.scan.progress import PassCounts, PassSummary, Reason

COUNTS = PassCounts(seen=1234, skipped=1000, checked=200, flagged=3, unreadable={"unreadable": 2}, seconds=10.1)


def _summary(**changed) -> PassSummary:
    values = {
        "run_id": 7,
        "kind": "sweep",
        "dry_run": False,
        "detectors": ("clip", "hashes"),
        "complete": True,
        "stopped": False,
        "seen": 50,
        "checked": 40,
        "flagged": 3,
        "acted": 3,
        "unreadable": {"unreadable": 2, "too_large": 1},
        "failed": {"fetch_failed": 4},
        "seconds": 4.0,
    }
    return PassSummary(**(values | changed))


def test_a_line_is_logged_once_a_minute(caplog):
    """However often it is called, the log gets one line a minute."""
    now = [0.0]
    progress = LogProgress(clock=lambda: now[0])
    with caplog.at_level(logging.INFO, logger="lemmy_safety.progress"):
        for second in range(185):
            now[0] = float(second)
            progress.update(COUNTS)
    assert len(caplog.messages) == 3
    assert caplog.messages[0] == in_words(COUNTS)


def test_a_line_says_where_a_pass_is():
    """Seen, known, checked, flagged, what could not be read, and the speed."""
    assert in_words(COUNTS) == "1,234 seen, 1,000 known, 200 checked, 3 flagged, 2 unreadable (20.0 images/s)"


def test_the_bar_shows_the_same_words():
    """On a terminal the bar carries the line."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = Progress(TextColumn("{task.description}", markup=False), console=console, auto_refresh=False)
    listener = BarProgress(bar)
    assert not console.file.getvalue()
    listener.update(COUNTS)
    bar.stop()
    assert "1,234 seen" in console.file.getvalue()


def test_the_summary_names_every_count(capsys):
    """The table at the end shows what was seen, skipped, checked, flagged, acted on, unreadable, failed and how fast."""
    show_summary(_summary())
    shown = capsys.readouterr().out
    assert "Pass 7: complete" in shown
    for text in ("1 too large, 2 unreadable", "4 fetch failed", "10.8 images/s over 4.0 s", "clip, hashes"):
        assert text in shown


def test_the_summary_says_why_objects_could_not_be_read(capsys):
    """The commonest reason under each count, and how many have it; control characters in it are escaped."""
    reasons = {"fetch_failed": Reason("it timed out", 3), "too_large": Reason("80 MiB\x1b[31m", 1)}
    show_summary(_summary(reasons=reasons))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.endswith("4 fetch failed"))
    assert lines[at + 1].split(None, 3) == ["fetch", "failed", "because", "it timed out (3 of 4)"]
    assert any(line.startswith("too large because") and line.endswith("80 MiB\\x1b[31m") for line in lines)
    assert _summary(reasons=reasons).as_dict()["reasons"]["fetch_failed"] == {"text": "it timed out", "number": 3}


def test_the_summary_says_how_a_pass_ended(capsys):
    """A stopped pass is not called complete, and a dry run says that the storage was left alone."""
    show_summary(_summary(stopped=True, complete=False, dry_run=True, acted=0))
    shown = capsys.readouterr().out
    assert "stopped before the end" in shown
    assert "the storage was left alone" in shown


def test_rare_counts_are_shown_only_when_there_are_any():
    """Borderline, refused and waiting objects take no line in the usual case."""
    assert len(summary_lines(_summary(borderline=1, refused=1, waiting=1))) == len(summary_lines(_summary())) + 3


def test_the_summary_says_how_far_the_screen_was_believed():
    """How much it cleared, within which error, and how much the reference judged; nothing of it without a screen."""
    stage = StageStatistics(
        name="openvino-int8",
        screened=2000,
        cleared=1980,
        error_bound=0.00912,
        largest_error=0.003,
        widenings=0,
        exceeded=0,
        in_use=True,
    )
    screen = ScreenStatistics(screened=2000, cleared=1980, confirmed=20, watched=16, stages=(stage,))
    assert dict(summary_lines(_summary(screen=screen)))["screen"] == (
        "1,980 of 2,000 frames proven clear (openvino-int8 within 0.0091), 20 judged by the reference, "
        "16 of the clear ones as well"
    )
    assert "screen" not in dict(summary_lines(_summary()))
