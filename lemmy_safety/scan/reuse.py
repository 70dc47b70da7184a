"""When a verdict on the same bytes also holds for another object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.records import AnomalyKind

if TYPE_CHECKING:
    from lemmy_safety.ledger import KnownVerdict
    from lemmy_safety.records import Ruleset


def holds_under(key: str, known: KnownVerdict, *, ruleset: Ruleset) -> bool:
    """Whether a verdict holds under this key too.

    Its name is the one thing about an object that is not in its bytes, and matters where ``Ruleset.names_matter``.
    """
    info = known.assessment.info
    if info is None or not ruleset.names_matter:
        return True
    # With this module nothing of the room is loaded.
    from lemmy_safety.media.extensions import lying_extension  # noqa: PLC0415

    lied = any(anomaly.kind is AnomalyKind.LYING_EXTENSION for anomaly in info.anomalies)
    return lied == (lying_extension(key, info.media_type) is not None)
