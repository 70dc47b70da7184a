"""A verdict that is known for some bytes, and how it lies in the rows of objects, uploads and flags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lemmy_safety.ledger.schema.codec import assessment_of, verdict_columns, verdict_with
from lemmy_safety.records import Assessment, ItemStatus, Outcome, Review

if TYPE_CHECKING:
    from lemmy_safety.ledger.schema.codec import AnyRow
    from lemmy_safety.records import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVerdict:
    """A verdict for some bytes, and the key under which they were judged; ``FROM_UPLOAD`` where that was at the door."""

    key: str
    assessment: Assessment
    review: Review

    @property
    def verdict(self) -> Verdict:
        """:raises ValueError: the assessment has none."""
        if self.assessment.verdict is None:
            raise ValueError(f"no verdict is known for {self.key!r}")
        return self.assessment.verdict

    def laid_over(self, assessment: Assessment) -> Assessment:
        """The assessment of the same bytes with this verdict in the place of its own; both sides' detectors have judged."""
        detectors = self.assessment.detectors | assessment.detectors
        return replace(assessment, verdict=self.verdict, detectors=detectors)

    @property
    def stands(self) -> bool:
        """Whether it is a flag that no human has cleared."""
        return self.assessment.flagged and self.review is not Review.CLEARED


def known_verdict_of(row: AnyRow, *, key: str, review: Review) -> KnownVerdict:
    """``row`` is one of ``images`` or ``uploads`` that has a verdict."""
    assessment = replace(assessment_of(row), status=ItemStatus.CHECKED, reason="")
    return KnownVerdict(key=key, assessment=assessment, review=review)


def flag_of(row: AnyRow) -> KnownVerdict:
    """``row`` is one of ``flags``."""
    verdict = verdict_with(row, Outcome.FLAGGED)
    assessment = Assessment(status=ItemStatus.CHECKED, sha256=row.sha256, verdict=verdict, detectors=row.detectors)
    return KnownVerdict(key=row.found_under, assessment=assessment, review=Review.NONE)


def flag_columns(flag: KnownVerdict) -> dict[str, Any]:
    """A flag in the place of whatever a row says by way of judgement."""
    return {**verdict_columns(flag.assessment), "status": ItemStatus.CHECKED, "reason": ""}
