"""Reports progress without delaying the work: a separate thread prints the lines.

A reader that pauses (``| less``) fills the pipe, and printing then waits for it. Deletions must not.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from types import TracebackType


class Teller:
    """Call it with a line for stdout. At the end of the ``with`` all lines are printed, however long that takes."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._print, name="tell", daemon=True)

    def __call__(self, line: str) -> None:
        self._lines.put(line)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.put(None)
        self._thread.join()

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            click.echo(line)
