"""What was seen, decided and done: one database, one class."""

from lemmy_safety.ledger.engine import BUSY_TIMEOUT_S
from lemmy_safety.ledger.repository import Ledger, open_ledger
from lemmy_safety.ledger.rows import (
    ANCESTOR,
    EventKind,
    EventRow,
    FlaggedRow,
    Known,
    KnownVerdict,
    LedgerStats,
    Origin,
    PendingAction,
    ReviewResult,
    RunCounts,
)
from lemmy_safety.ledger.urls import sqlite_url

__all__ = [
    "ANCESTOR",
    "BUSY_TIMEOUT_S",
    "EventKind",
    "EventRow",
    "FlaggedRow",
    "Known",
    "KnownVerdict",
    "Ledger",
    "LedgerStats",
    "Origin",
    "PendingAction",
    "ReviewResult",
    "RunCounts",
    "open_ledger",
    "sqlite_url",
]
