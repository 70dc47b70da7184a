"""Ready-made objects and results for tests that write to a ledger."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from lemmy_safety.ledger import EventKind
from lemmy_safety.ledger.schema.tables import events, flags, storages
from lemmy_safety.records import (
    ActionPlan,
    ActionState,
    Anomaly,
    AnomalyKind,
    Assessment,
    Finding,
    ItemResult,
    ItemStatus,
    MediaInfo,
    Outcome,
    Pdq,
    Ruleset,
    StoredObject,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lemmy_safety.ledger import Ledger, PendingAction

STORAGE = "s3:https://objects.example/pictrs"
DETECTORS = frozenset({"hashes", "clip"})
DECODER = "pillow-1"
RULES_VERSION = "rules-1"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def rules(
    *, detectors: frozenset[str] = DETECTORS, decoder: str = DECODER, rules_version: str = RULES_VERSION
) -> Ruleset:
    """What the results of this module are judged by, unless told otherwise."""
    return Ruleset(detectors=detectors, decoder=decoder, rules_version=rules_version)


RULES = rules()

TRAILING = Anomaly(kind=AnomalyKind.TRAILING_DATA, detail="bytes after the end", offset=900, size=100)


class StepClock:
    """A clock that goes one second forward each time it is read."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def sha256_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def stored(key: str, content: str = "", *, etag: bool = True) -> StoredObject:
    """An object whose size and tag follow from its content, and its content from its key unless given."""
    content = content or key
    digest = sha256_of(content)
    return StoredObject(
        key=key,
        size=1000 + len(content),
        modified_at=NOON + timedelta(seconds=int(digest[:4], 16)),
        etag=digest[:32] if etag else None,
    )


def result(
    *, obj: StoredObject, reused_from: str | None = None, variant_of: str | None = None, **assessment: Any
) -> ItemResult:
    """What a pass has learned of an object."""
    return ItemResult(obj=obj, assessment=Assessment(**assessment), reused_from=reused_from, variant_of=variant_of)


def checked(key: str, outcome: Outcome = Outcome.CLEAR, content: str = "", **more: Any) -> ItemResult:
    """A result with a verdict."""
    findings = (
        Finding(detector="clip", version="ViT-L-14", label="csam", score=0.25, threshold=0.2, details={"words": [1]}),
    )
    fields: dict[str, Any] = {
        "status": ItemStatus.CHECKED,
        "verdict": Verdict(outcome=outcome, nsfw=None, findings=findings, rules_version=RULES_VERSION),
        "detectors": DETECTORS,
        "sha256": sha256_of(content or key),
        "pdq": Pdq(hex="0f" * 32, quality=90),
        "info": MediaInfo(media_type="image/webp", width=640, height=480, anomalies=(TRAILING,)),
    }
    return result(**{"obj": stored(key, content), **fields, **more})


def flagged(key: str, content: str = "", **more: Any) -> ItemResult:
    return checked(key, Outcome.FLAGGED, content, **more)


def failed(key: str, status: ItemStatus = ItemStatus.FETCH_FAILED, content: str = "", **more: Any) -> ItemResult:
    """A result without a verdict."""
    fields: dict[str, Any] = {"obj": stored(key, content), "status": status, "reason": f"why {status.value}"}
    if status is ItemStatus.VARIANT:
        fields["variant_of"] = "the original"
    return result(**{**fields, **more})


def record(
    ledger: Ledger,
    results: Iterable[ItemResult],
    *,
    storage: str = STORAGE,
    dry_run: bool = False,
    action: str | None = "delete",
    unreadable_action: str | None = None,
    decoder: str = DECODER,
    **more: Any,
) -> list[PendingAction]:
    """Record in a run of its own."""
    plan = ActionPlan() if dry_run else ActionPlan(action, unreadable_action)
    run_id = ledger.passes.start(storage, "sweep", dry_run=dry_run, detectors=DETECTORS)
    return ledger.objects.record(
        storage, list(results), run_id=run_id, dry_run=dry_run, plan=plan, decoder=decoder, **more
    )


def row_of(ledger: Ledger, key: str) -> Any:
    """The flagged row of a key, open or not; None when it is not flagged."""
    rows = [row for row in ledger.reviews.flagged(include_settled=True) if row.key == key]
    assert len(rows) <= 1
    return rows[0] if rows else None


def fill(ledger: Ledger) -> None:
    """Some thousand rows in each large table, few of which are flagged, intended, failed, refused or unreadable.

    The history is that of objects which were deleted long ago, as most of a grown ledger's is.
    """
    from support.ledger.uploads import judged, upload  # noqa: PLC0415 - it takes from here

    record(ledger, [checked(f"k{number}") for number in range(4000)])
    record(ledger, [flagged(f"f{number}") for number in range(20)], dry_run=True)
    record(ledger, [flagged(f"i{number}") for number in range(5)])
    states = (ActionState.FAILED, ActionState.REFUSED, ActionState.REFUSED)
    for action, state in zip(record(ledger, [flagged(f"t{number}") for number in range(3)]), states, strict=True):
        ledger.actions.finish(action.id, state)
    record(ledger, [failed(f"e{number}") for number in range(20)])
    record(ledger, [failed(f"n{number}", ItemStatus.UNREADABLE) for number in range(20)])
    ledger.uploads.record([judged(f"u{number}") for number in range(2000)])
    ledger.uploads.record([upload(f"w{number}") for number in range(20)])
    ledger.uploads.record([judged(f"k{number}", Outcome.FLAGGED) for number in range(5)])
    old = {"at": NOON, "kind": EventKind.FAILED, "detail": {}}
    bytes_of = {"detectors": DETECTORS, "rules_version": RULES_VERSION, "nsfw": None, "findings": [], "at": NOON}
    with ledger.database.writing() as connection:
        (storage_id,) = connection.execute(select(storages.c.id).where(storages.c.name == STORAGE)).one()
        gone = [(f"g{number}", sha256_of(f"g{number}")) for number in range(4000)]
        connection.execute(
            events.insert(), [{**old, "storage_id": storage_id, "key": key, "sha256": digest} for key, digest in gone]
        )
        connection.execute(flags.insert(), [{**bytes_of, "sha256": digest, "found_under": key} for key, digest in gone])
