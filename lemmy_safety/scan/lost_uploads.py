"""Removes uploads from the list of unchecked ones that are proved to be gone: no pass will ever find them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.ledger import Ledger
    from lemmy_safety.scan.progress import PassSummary
    from lemmy_safety.scan.requests import PassRequest
    from lemmy_safety.scan.stages.list import Lister

#: An upload accepted this shortly before a pass may not have been stored yet when that pass listed.
_UPLOAD_GRACE = timedelta(hours=1)


def waiting_uploads(ledger: Ledger, request: PassRequest, prefix: str) -> dict[str, datetime]:
    """What was accepted unchecked before this pass began, and when; empty if the pass cannot prove that it is gone."""
    if request.since is not None or not request.exhaustive or prefix:
        return {}
    return {row.sha256: row.last_at for row in ledger.uploads.unchecked()}


def settle_lost_uploads(
    ledger: Ledger,
    storage: str,
    waiting: Mapping[str, datetime],
    *,
    began: datetime,
    lister: Lister,
    summary: PassSummary,
) -> None:
    """Remove from the list what is proved to be gone: it belongs to this storage, and a complete read did not find it.

    Not when anything could not be read, even temporarily: that may be the missing upload. Nor when the storage is
    empty: an empty mount point looks the same.
    """
    if not waiting or lister.newest is None or lister.left_out or summary.failed:
        return
    # It was on the list all the time, so it was accepted before this pass began, whatever the hook's clock says.
    still = {row.sha256 for row in ledger.uploads.unchecked() if waiting.get(row.sha256) == row.last_at}
    gone = still & ledger.uploads.belonging_to(storage)
    if gone:
        ledger.uploads.settle_lost(began - _UPLOAD_GRACE, storage=storage, among=gone)
