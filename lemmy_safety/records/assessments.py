"""What is known about some bytes, independent of their source."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lemmy_safety.records.verdicts import Finding, Outcome, Verdict

if TYPE_CHECKING:
    from lemmy_safety.records.media import MediaInfo, Pdq
    from lemmy_safety.records.objects import ItemStatus, StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known about some bytes, wherever they come from: a storage, an upload, or a remote worker.

    There is a verdict exactly if ``status`` is CHECKED. ``detectors`` are the names of those that judged.
    ``decoder_broke``: the decoder crashed, hung or ran out of memory, so the content of the unreadable bytes is
    unknown. ``sha256`` is None if the bytes were never read.
    """

    status: ItemStatus
    reason: str = ""
    sha256: str | None = None
    pdq: Pdq | None = None
    info: MediaInfo | None = None
    verdict: Verdict | None = None
    detectors: frozenset[str] = frozenset()
    decoder_broke: bool = False

    @property
    def outcome(self) -> Outcome | None:
        return None if self.verdict is None else self.verdict.outcome

    @property
    def findings(self) -> tuple[Finding, ...]:
        return () if self.verdict is None else self.verdict.findings

    @property
    def flagged(self) -> bool:
        return self.outcome is Outcome.FLAGGED

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types (numbers may be infinite or NaN), for scripts and other machines."""
        plain = asdict(replace(self, verdict=None))
        plain["verdict"] = None if self.verdict is None else self.verdict.as_dict()
        plain["detectors"] = sorted(self.detectors)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What a pass learned about one object; what the ledger records.

    ``reused_from`` is the key whose verdict is used because the bytes are the same. ``variant_of`` is the key of the
    original, exactly if the status is VARIANT.
    """

    obj: StoredObject
    assessment: Assessment
    reused_from: str | None = None
    variant_of: str | None = None
