"""One changing line on a terminal that says what a command is doing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.status import Status as RichStatus


class Status:
    """Shows nothing if stderr is not a terminal. Appears with the first text, so that it disturbs no prompt."""

    def __init__(self) -> None:
        self._shown: RichStatus | None = None

    def show(self, text: str) -> None:
        if not sys.stderr.isatty():
            return
        if self._shown is None:
            from rich.console import Console  # noqa: PLC0415 - rich costs a tenth of a second

            self._shown = Console(stderr=True, markup=False).status(text)
            self._shown.start()
        else:
            self._shown.update(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()
