"""A known verdict on some bytes, and how it is stored in the rows of objects, uploads and flags."""

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
    """A verdict on some bytes, and the key under which they were judged; ``FROM_UPLOAD`` if the hook judged them."""

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
        """The assessment of the same bytes with this verdict in place of its own; the detectors are those of both."""
        detectors = self.assessment.detectors | assessment.detectors
        return replace(assessment, verdict=self.verdict, detectors=detectors)

    @property
    def stands(self) -> bool:
        """Whether it is a flag that no person has cleared."""
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
    """The columns of a flag, which replace a row's own judgement."""
    return {**verdict_columns(flag.assessment), "status": ItemStatus.CHECKED, "reason": ""}
