"""What was seen, decided and done: one database, with a store for each kind of record."""

from lemmy_safety.ledger.actions.breaker import Turn
from lemmy_safety.ledger.actions.records import BreakerState, PendingAction
from lemmy_safety.ledger.actions.store import Actions
from lemmy_safety.ledger.database.engine import BUSY_TIMEOUT_S
from lemmy_safety.ledger.database.file_locks import check_locks
from lemmy_safety.ledger.database.urls import is_sqlite, parse_url, sqlite_file, sqlite_url
from lemmy_safety.ledger.maintenance import LedgerStats
from lemmy_safety.ledger.objects.records import OnRecord, OriginalOnRecord
from lemmy_safety.ledger.passes.leases import DAEMON, RECHECK, SWEEP
from lemmy_safety.ledger.passes.store import Lease, Passes, RunCounts
from lemmy_safety.ledger.purges.records import Purge, PurgeAlias
from lemmy_safety.ledger.repository import Ledger, open_ledger
from lemmy_safety.ledger.reviews.records import EventRow, FlaggedRow, ReviewResult
from lemmy_safety.ledger.rules import Known
from lemmy_safety.ledger.schema.values import FROM_UPLOAD, LEGACY, UNSAID, EventKind, Origin, UploadAnswer
from lemmy_safety.ledger.uploads.garbled import GarbledCounts
from lemmy_safety.ledger.uploads.records import MOST_GARBLED_IN_A_ROW, GarbledRequests, UploadResult, UploadRow
from lemmy_safety.ledger.uploads.store import Uploads
from lemmy_safety.ledger.verdicts.records import KnownVerdict

__all__ = [
    "BUSY_TIMEOUT_S",
    "DAEMON",
    "FROM_UPLOAD",
    "LEGACY",
    "MOST_GARBLED_IN_A_ROW",
    "RECHECK",
    "SWEEP",
    "UNSAID",
    "Actions",
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
    "OnRecord",
    "Origin",
    "OriginalOnRecord",
    "Passes",
    "PendingAction",
    "Purge",
    "PurgeAlias",
    "ReviewResult",
    "RunCounts",
    "Turn",
    "UploadAnswer",
    "UploadResult",
    "UploadRow",
    "Uploads",
    "check_locks",
    "is_sqlite",
    "open_ledger",
    "parse_url",
    "sqlite_file",
    "sqlite_url",
]
