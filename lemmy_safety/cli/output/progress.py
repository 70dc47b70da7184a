"""Shows a running pass: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lemmy_safety.cli.output.text import amount, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lemmy_safety.cli.output.progress_bar import PassBar
    from lemmy_safety.scan.progress import Outlook, PassCounts, ProgressListener

log = logging.getLogger("lemmy_safety.progress")

#: Seconds between two progress lines in a log.
LINE_EVERY_S = 60.0


def in_words(counts: PassCounts, outlook: Outlook) -> str:
    """The progress of a pass in one line."""
    parts = (how_far(counts, outlook), what_was_found(counts), how_fast(counts, outlook), what_is_left(counts, outlook))
    return "; ".join(part for part in parts if part)


def how_far(counts: PassCounts, outlook: Outlook) -> str:
    """``1,200 of about 5,000 objects (24 %)``, or what was seen so far while the total is unknown."""
    total = outlook.total
    if total is None:
        return f"{counts.seen:,} seen"
    # A store may have grown since it was counted.
    number = max(total.objects, counts.seen)
    about = "" if total.is_exact and number == total.objects else "about "
    return f"{_finished(counts):,} of {about}{number:,} objects ({share(counts, outlook):.0%})"


def share(counts: PassCounts, outlook: Outlook) -> float:
    """The part of all objects that is finished, from 0 to 1; 0 while the total is unknown."""
    if outlook.total is None or not outlook.total.objects:
        return 0.0
    return min(1.0, _finished(counts) / max(outlook.total.objects, counts.seen))


def _finished(counts: PassCounts) -> int:
    return counts.skipped + counts.variants + counts.waiting + counts.done


def what_was_found(counts: PassCounts) -> str:
    """``1,000 known, 200 checked, 3 flagged, 2 unreadable``."""
    parts = [f"{counts.skipped:,} known", f"{counts.checked:,} checked", f"{counts.flagged:,} flagged"]
    if unreadable := sum(counts.unreadable.values()):
        parts.append(f"{unreadable:,} unreadable")
    if failed := sum(counts.failed.values()):
        parts.append(f"{failed:,} failed")
    return ", ".join(parts)


def how_fast(counts: PassCounts, outlook: Outlook) -> str:
    """``1.2 GB of 4.0 GB read; 20.0 images/s, 8.1 Mbit/s``."""
    to_read = outlook.total.size_to_read if outlook.total else None
    read = amount(counts.bytes_read) + (f" of {amount(max(to_read, counts.bytes_read))}" if to_read else "")
    speed = f"{counts.images_per_s:.1f} images/s"
    if outlook.bytes_per_s is not None:
        speed += f", {outlook.bytes_per_s * 8 / 1e6:.1f} Mbit/s"
    return f"{read} read, {speed}"


def what_is_left(counts: PassCounts, outlook: Outlook) -> str:
    """``about 5 h 20 min left, limited by judging``, or ``paused until 07:00``."""
    if counts.paused_until is not None:
        return f"paused until {counts.paused_until:%H:%M}"
    parts = []
    if outlook.seconds_left is not None:
        parts.append(f"about {duration(outlook.seconds_left)} left")
    if outlook.bottleneck is not None:
        parts.append(f"limited by {outlook.bottleneck}")
    return ", ".join(parts)


class LogProgress:
    """Writes a line if a minute has passed since the last; has no thread of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every_s: float = LINE_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._last = clock()

    def update(self, counts: PassCounts, outlook: Outlook) -> None:
        if counts.paused_until is not None:  # the beginning and the end of a pause are in the log
            return
        now = self._clock()
        if now - self._last >= self._every_s:
            self._last = now
            log.info("%s", in_words(counts, outlook))


class BarProgress:
    """Feeds a bar (``PassBar``).

    It appears with the first counts, so that it does not disturb a passphrase prompt or a download's own bar.
    """

    def __init__(self, bar: PassBar) -> None:
        self._bar = bar

    def update(self, counts: PassCounts, outlook: Outlook) -> None:
        self._bar.show(
            finished=_finished(counts),
            total=max(outlook.total.objects, counts.seen) if outlook.total else None,
            left=what_is_left(counts, outlook),
            numbers=(how_far(counts, outlook), what_was_found(counts), how_fast(counts, outlook)),
        )


@contextmanager
def progress() -> Iterator[ProgressListener]:
    """The listener that suits stderr."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    from lemmy_safety.cli.output.progress_bar import PassBar  # noqa: PLC0415 - rich costs a tenth of a second

    bar = PassBar()
    try:
        yield BarProgress(bar)
    finally:
        bar.stop()
