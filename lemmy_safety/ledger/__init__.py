"""What was seen, decided and done: one database, and a store for each kind of thing in it."""

from lemmy_safety.ledger.engine import BUSY_TIMEOUT_S
from lemmy_safety.ledger.file_locks import check_locks
from lemmy_safety.ledger.garbled import GarbledCounts
from lemmy_safety.ledger.leases import DAEMON, RECHECK, SWEEP
from lemmy_safety.ledger.passes import Lease, Passes
from lemmy_safety.ledger.repository import Ledger, open_ledger
from lemmy_safety.ledger.rows import (
    ANCESTOR,
    FROM_UPLOAD,
    UNSAID,
    BreakerState,
    EventKind,
    EventRow,
    FlaggedRow,
    GarbledRequests,
    Known,
    KnownVerdict,
    LedgerStats,
    Origin,
    PendingAction,
    ReviewResult,
    RunCounts,
    UploadAnswer,
    UploadResult,
    UploadRow,
)
from lemmy_safety.ledger.uploads.store import Uploads
from lemmy_safety.ledger.urls import sqlite_url

__all__ = [
    "ANCESTOR",
    "BUSY_TIMEOUT_S",
    "DAEMON",
    "FROM_UPLOAD",
    "RECHECK",
    "SWEEP",
    "UNSAID",
    "BreakerState",
    "EventKind",
    "EventRow",
    "FlaggedRow",
    "GarbledCounts",
    "GarbledRequests",
    "Known",
    "KnownVerdict",
    "Lease",
    "Ledger",
    "LedgerStats",
    "Origin",
    "Passes",
    "PendingAction",
    "ReviewResult",
    "RunCounts",
    "UploadAnswer",
    "UploadResult",
    "UploadRow",
    "Uploads",
    "check_locks",
    "open_ledger",
    "sqlite_url",
]
