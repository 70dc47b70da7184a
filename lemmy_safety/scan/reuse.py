"""When a verdict on the same bytes is also valid for another object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lemmy_safety.records import AnomalyKind, ItemResult

if TYPE_CHECKING:
    from lemmy_safety.ledger import KnownVerdict, Ledger
    from lemmy_safety.records import Ruleset, StoredObject


class FromLedger:
    """Reuses the verdicts in the ledger, whichever object they were given for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __call__(self, obj: StoredObject, sha256: str, ruleset: Ruleset) -> ItemResult | None:
        known = self._ledger.objects.verdict_for(sha256, ruleset)
        if known is None or not valid_under(obj.key, known, ruleset=ruleset):
            return None
        return ItemResult(obj=obj, assessment=known.assessment, reused_from=known.key)


def judge_all(_obj: StoredObject, _sha256: str, _ruleset: Ruleset) -> None:
    """Reuses no verdict."""
    return


def valid_under(key: str, known: KnownVerdict, *, ruleset: Ruleset) -> bool:
    """Whether a verdict is valid under this key too.

    An object's name is the only thing judged that is not in its bytes; it matters if ``Ruleset.names_matter``.
    """
    info = known.assessment.info
    if info is None or not ruleset.names_matter:
        return True
    # Importing this module must not load the rest of the package.
    from lemmy_safety.media.extensions import lying_extension  # noqa: PLC0415

    lied = any(anomaly.kind is AnomalyKind.LYING_EXTENSION for anomaly in info.anomalies)
    return lied == (lying_extension(key, info.media_type) is not None)
