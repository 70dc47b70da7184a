"""One fast encoder of the screen: the bound on its errors, and its results so far."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lemmy_safety.records import StageStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound

logger = logging.getLogger(__name__)


class Stage:
    """A fast encoder, the bound on its errors, and its results for the pictures it saw."""

    def __init__(
        self, encoder: PictureEncoder, bound: ErrorBound, *, keep: Callable[[ErrorBound], None] | None = None
    ) -> None:
        """``keep`` is called with the bound when it has changed."""
        self.encoder = encoder
        self.bound = bound
        self.screened = 0
        self.cleared = 0
        self.widenings = 0
        self.exceeded = 0
        self.in_use = True
        self._keep = keep

    def observe(self, error: float) -> bool:
        """Whether the bound grew by this error."""
        before = self.bound.value
        grew = self.bound.observe(error)
        if error > before:
            self.exceeded += 1
            logger.warning("The error of %s was %.5f, beyond its bound %.5f.", self.encoder.name, error, before)
        if grew:
            self.widenings += 1
            self.keep()
        return grew

    def keep(self) -> None:
        if self._keep is not None:
            self._keep(self.bound)

    def leave_out(self, why: str) -> None:
        """Stop using it in this run."""
        self.in_use = False
        logger.warning("Screening goes on without %s: %s.", self.encoder.name, why)

    def statistics(self) -> StageStatistics:
        return StageStatistics(
            name=self.encoder.name,
            screened=self.screened,
            cleared=self.cleared,
            error_bound=self.bound.value,
            largest_error=self.bound.largest,
            widenings=self.widenings,
            exceeded=self.exceeded,
            in_use=self.in_use,
        )
