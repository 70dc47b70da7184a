"""Progress lines, bars and summaries."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from lemmy_safety.cli.output.progress import BarProgress, LogProgress, in_words
from lemmy_safety.cli.output.progress_bar import PassBar
from lemmy_safety.cli.output.summary import show_summary, summary_lines
from lemmy_safety.cli.output.text import amount, duration, time_range
from lemmy_safety.records import ScreenStatistics, StageStatistics
from lemmy_safety.scan.progress import Bottleneck, Outlook, PassCounts, PassSummary, Reason, Total

COUNTS = PassCounts(
    seen=1234, skipped=1000, checked=200, flagged=3, unreadable={"unreadable": 2}, bytes_read=1_300_000, seconds=10.1
)
TOTAL = Total(objects=5000, size=9_000_000_000, to_read=4000, size_to_read=8_000_000_000, is_exact=True)
OUTLOOK = Outlook(total=TOTAL, seconds_left=19_000.0, bytes_per_s=1_012_500.0, bottleneck=Bottleneck.JUDGING)


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
        "bytes_read": 12_340_000,
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
            progress.update(COUNTS, OUTLOOK)
    assert len(caplog.messages) == 3
    assert caplog.messages[0] == in_words(COUNTS, OUTLOOK)


def test_a_line_says_how_far_a_pass_is_and_what_is_left():
    """Finished of all, known, checked, flagged, unreadable, bytes, speed, time left, and the slowest stage."""
    assert in_words(COUNTS, OUTLOOK) == (
        "1,202 of 5,000 objects (24%); 1,000 known, 200 checked, 3 flagged, 2 unreadable; "
        "1.3 MB of 8.0 GB read, 20.0 images/s, 8.1 Mbit/s; about 5 h 17 min left, limited by judging"
    )


def test_a_line_claims_nothing_that_is_not_known():
    """Without a total there is no share and no time; the total of an earlier pass is marked."""
    assert in_words(COUNTS, Outlook()) == (
        "1,234 seen; 1,000 known, 200 checked, 3 flagged, 2 unreadable; 1.3 MB read, 20.0 images/s"
    )
    earlier = Total(objects=5000, size=9_000_000, to_read=None, size_to_read=None, is_exact=False)
    assert in_words(COUNTS, Outlook(total=earlier)).startswith("1,202 of about 5,000 objects (24%); ")


def test_more_finished_than_the_last_pass_had_is_not_more_than_everything():
    """A store may have grown since it was counted, in an earlier pass or in this one: no 130%, and no 100% too early."""
    for is_exact in (False, True):
        total = Total(objects=1000, size=1, to_read=None, size_to_read=None, is_exact=is_exact)
        assert "1,202 of about 1,234 objects (97%)" in in_words(COUNTS, Outlook(total=total))


def test_the_bar_shows_the_share_the_time_left_and_the_numbers():
    """On a terminal: a bar with the percentage and the time left, and the numbers below it; nothing before them."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = PassBar(console)
    listener = BarProgress(bar)
    assert not console.file.getvalue()
    listener.update(COUNTS, OUTLOOK)
    bar.stop()
    shown = console.file.getvalue()
    for text in ("24%", "about 5 h 17 min left, limited by judging", "1,202 of 5,000 objects", "200 checked"):
        assert text in shown


def test_the_bar_shows_no_share_while_the_total_is_unknown():
    """It only moves; the numbers are there."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = PassBar(console)
    BarProgress(bar).update(COUNTS, Outlook())
    bar.stop()
    assert "1,234 seen" in console.file.getvalue()
    assert "%" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7190, "2 h"),
        (19_000, "5 h 17 min"),
        (86_000, "23 h 53 min"),
        (100_000, "28 h"),
        (200_000, "2 d 8 h"),
        (864_000, "10 d"),
    ],
)
def test_durations_are_in_units_that_a_person_uses(seconds, words):
    """Two units at most, and no minutes once it takes days."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_300_000, "1.3 MB"),
        (999_970_000, "1.0 GB"),
        (182_400_000_000, "182 GB"),
        (2_500_000_000_000, "2.5 TB"),
    ],
)
def test_amounts_are_in_decimal_units(size, words):
    """As disks and lines are sold."""
    assert amount(size) == words


def test_the_summary_names_every_count(capsys):
    """The table at the end shows what was seen, skipped, checked, flagged, acted on, unreadable, failed and how fast."""
    show_summary(_summary())
    shown = capsys.readouterr().out
    assert "Pass 7: complete" in shown
    for text in ("1 too large, 2 unreadable", "4 fetch failed", "12 MB", "10.8 images/s over 4.0 s", "clip, hashes"):
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


@pytest.mark.parametrize(
    ("low_s", "high_s", "said"),
    [
        (0.002, 0.005, "less than a second"),
        (0.5, 1.5, "about 0.5 to 1.5 seconds"),
        (20_000, 29_000, "about 5.6 to 8.1 hours"),
    ],
)
def test_a_range_of_times_has_no_more_digits_than_it_is_worth(low_s, high_s, said):
    """A small store is checked in a moment; thousandths of a second would claim to be measured."""
    assert time_range(low_s, high_s) == said
