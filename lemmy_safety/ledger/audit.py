"""Entries of the append-only audit, as rows of ``events``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.ledger.schema.values import EventKind


def place_of(row: AnyRow) -> dict[str, Any]:
    """The object and bytes of an entry; ``row`` is one of ``images``."""
    return {"storage_id": row.storage_id, "key": row.key, "sha256": row.sha256}


def entry(
    place: Mapping[str, Any], kind: EventKind, detail: Mapping[str, Any], now: datetime, *, run_id: int | None = None
) -> dict[str, Any]:
    """One row to insert."""
    return {**place, "kind": kind, "detail": detail, "at": now, "run_id": run_id}
