"""The bar of a running pass on a terminal. Imports rich, which takes a tenth of a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType
    from rich.progress import TaskID


class PassBar(Progress):
    """A row with bar, share, elapsed time and time left; below it the numbers, in as many rows as they need.

    While the total is unknown, the bar only shows that the pass is running.
    """

    def __init__(self, console: Console | None = None) -> None:
        columns = (
            SpinnerColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._numbers = ""
        self._task: TaskID | None = None
        super().__init__(*columns, console=console or Console(stderr=True), transient=True)

    def show(self, *, finished: int, total: int | None, left: str, numbers: Sequence[str]) -> None:
        """The first call makes the bar appear."""
        self._numbers = "; ".join(numbers)
        if self._task is None:
            self._task = self.add_task("", total=None)
            self.start()
        self.update(self._task, description=left, total=total, completed=finished)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._numbers:
            yield Text(f"  {self._numbers}")
