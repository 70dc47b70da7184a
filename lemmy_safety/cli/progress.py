"""Shows a running pass: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    from lemmy_safety.scan.progress import PassCounts, ProgressListener

log = logging.getLogger("lemmy_safety.progress")

#: Seconds between two progress lines in a log.
LINE_EVERY_S = 60.0


def in_words(counts: PassCounts) -> str:
    """The progress of a pass in one line."""
    parts = [
        f"{counts.seen:,} seen",
        f"{counts.skipped:,} known",
        f"{counts.checked:,} checked",
        f"{counts.flagged:,} flagged",
    ]
    if unreadable := sum(counts.unreadable.values()):
        parts.append(f"{unreadable:,} unreadable")
    if failed := sum(counts.failed.values()):
        parts.append(f"{failed:,} failed")
    return ", ".join(parts) + f" ({counts.images_per_s:.1f} images/s)"


class LogProgress:
    """Writes a line if a minute has passed since the last; has no thread of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every_s: float = LINE_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._last = clock()

    def update(self, counts: PassCounts) -> None:
        now = self._clock()
        if now - self._last >= self._every_s:
            self._last = now
            log.info("%s", in_words(counts))


class BarProgress:
    """Feeds a rich bar. A pass lists lazily, so the total is unknown: the bar shows motion and numbers.

    It appears with the first counts, so that it does not disturb a passphrase prompt or a download's own bar.
    """

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def update(self, counts: PassCounts) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        self._bar.update(self._task, description=in_words(counts), completed=counts.seen)


@contextmanager
def progress() -> Iterator[ProgressListener]:
    """The listener that suits stderr."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    from rich.console import Console  # noqa: PLC0415 - rich costs a tenth of a second
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        yield BarProgress(bar)
    finally:
        bar.stop()
