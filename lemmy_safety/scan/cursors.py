"""How far passes got, so that the next one knows where to start. Times are by the storage's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lemmy_safety.ledger import Ledger
    from lemmy_safety.scan.requests import PassRequest
    from lemmy_safety.storage.base import Storage

#: Names of the ledger's cursors.
_WATERMARK = "watermark"
_WATCHING = "watching"
_FULL_LISTING = "full-listing"


class Cursors:
    """For one storage and one set of detectors: a pass with fewer detectors or a narrower prefix does not count for
    others.
    """

    def __init__(self, *, storage: Storage, ledger: Ledger, detector_names: tuple[str, ...], prefix: str) -> None:
        self._storage = storage
        self._passes = ledger.passes
        self._prefix = prefix
        self._compared = False
        #: What a cursor refers to.
        self.scope = f"{storage.name}|{','.join(detector_names)}|{prefix}"

    def watermark(self) -> datetime | None:
        """Everything modified before this time has been through a complete pass with these detectors."""
        return self._passes.cursor(self.scope, _WATERMARK)

    def last_full_listing(self) -> datetime | None:
        """When the last complete pass that listed every key began."""
        return self._passes.cursor(self.scope, _FULL_LISTING)

    def last_pass(self) -> datetime | None:
        """How far any pass over all of this storage got, with any detectors."""
        return self._passes.cursor(self._storage.name, _WATERMARK)

    def in_storage_time(self, moment: datetime) -> datetime:
        """A time of this machine, converted to the storage's clock if that is behind, else unchanged.

        A storage clock that is ahead is not corrected for: pict-rs makes its keys by its own clock.
        """
        return moment + min(self._storage.clock_ahead, timedelta(0))

    def watching_since(self, moment: datetime) -> datetime:
        """The time from which nothing may be missed while no pass is complete yet: ``moment`` on the first call.

        It is recorded before the storage is opened, which may be down. It is opened to compare its clock.
        """
        watching = self._passes.cursor(self.scope, _WATCHING)
        if watching is None:
            watching = moment
            self._passes.set_cursor(self.scope, _WATCHING, watching)
        if not self._compared:
            self._storage.open()
            self._compared = True
        return self.in_storage_time(watching)

    def advance(self, request: PassRequest, began: datetime, newest: datetime | None) -> None:
        """Note how far a complete pass got, in the store's own time: its clock may be behind ours.

        Up to the newest object listed, or to where an earlier pass got; without either, no further than the start of
        the pass's window. Never to a time in the future by the slower of the two clocks.

        Until every key was listed once, a pass that lists only what can be new moves nothing: keys outside pict-rs's
        scheme may be older than what it saw, and the first listing of every key must begin where this one did.
        """
        if not request.exhaustive and self.last_full_listing() is None:
            return
        covered = self.watermark()
        known = [time for time in (newest, covered) if time is not None]
        reached = min(self.in_storage_time(began), max(known, default=request.since or began))
        if request.since is None or covered is None or request.since <= covered:  # never across a gap
            self._passes.set_cursor(self.scope, _WATERMARK, reached)
            if not self._prefix:
                self._passes.set_cursor(self._storage.name, _WATERMARK, reached)
        if request.exhaustive:
            self._passes.set_cursor(self.scope, _FULL_LISTING, began)
