"""A verdict on the same bytes, taken over for another object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.records import AnomalyKind, ItemResult, ItemStatus

if TYPE_CHECKING:
    from lemmy_safety.ledger import KnownVerdict
    from lemmy_safety.records import StoredObject


def holds_under(key: str, known: KnownVerdict, *, names_matter: bool) -> bool:
    """Whether a verdict holds under this key too.

    Its name is the one thing about an object that is not in its bytes, and matters where ``Policy.judges_names``.
    """
    if known.info is None or not names_matter:
        return True
    # With this module nothing of the room is loaded.
    from lemmy_safety.media.extensions import lying_extension  # noqa: PLC0415

    lied = any(anomaly.kind is AnomalyKind.LYING_EXTENSION for anomaly in known.info.anomalies)
    return lied == (lying_extension(key, known.info.media_type) is not None)


def taken_over(obj: StoredObject, known: KnownVerdict, *, sha256: str | None) -> ItemResult:
    """What is known of the bytes, as the result for this object."""
    return ItemResult(
        obj=obj,
        status=ItemStatus.CHECKED,
        verdict=known.verdict,
        detectors=known.detectors,
        sha256=sha256,
        pdq=known.pdq,
        info=known.info,
        reused_from=known.key,
    )
