"""The data types that all rooms share: frozen records and the enumerations stored in the ledger.

This room imports no other room and no heavy library, so that importing these records costs nothing. The terms are those
of ``docs/architecture.md``: an *object* is in a storage, *frames* are decoded from it, *findings* are what detectors
report about them, and the policy turns findings into a *verdict*.
"""

from lemmy_safety.records.actions import (
    ActionPlan,
    ActionState,
    PassSoFar,
    PurgeState,
    Review,
)
from lemmy_safety.records.assessments import (
    Assessment,
    ItemResult,
)
from lemmy_safety.records.media import (
    Anomaly,
    AnomalyKind,
    Frame,
    MediaInfo,
    Pdq,
    Refusal,
    Sample,
)
from lemmy_safety.records.objects import (
    UNDECODED,
    UNKNOWN_TIME,
    ItemStatus,
    StoredObject,
)
from lemmy_safety.records.screening import (
    ScreenStatistics,
    StageStatistics,
)
from lemmy_safety.records.verdicts import (
    DOMAIN_NAME,
    MOST_DOMAINS,
    Domain,
    Finding,
    Outcome,
    Ruleset,
    Verdict,
    worst,
)

__all__ = [
    "DOMAIN_NAME",
    "MOST_DOMAINS",
    "UNDECODED",
    "UNKNOWN_TIME",
    "ActionPlan",
    "ActionState",
    "Anomaly",
    "AnomalyKind",
    "Assessment",
    "Domain",
    "Finding",
    "Frame",
    "ItemResult",
    "ItemStatus",
    "MediaInfo",
    "Outcome",
    "PassSoFar",
    "Pdq",
    "PurgeState",
    "Refusal",
    "Review",
    "Ruleset",
    "Sample",
    "ScreenStatistics",
    "StageStatistics",
    "StoredObject",
    "Verdict",
    "worst",
]
